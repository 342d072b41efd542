// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Strategies

extension DecisionReader {
  /// How ranks share the samples of a micro-batch out; nil where nothing is given.
  func shares(_ node: Node?, _ stages: [Stage]) throws(DocumentError) -> BatchShares? {
    guard let node else { return nil }
    guard stages.count == 1, BatchShares.isPossible(in: graph) else {
      throw node.invalid(
        expected: stages.count == 1
          ? "nothing: an operator makes one number of several samples" : "nothing: only plans of one stage share the batch out unevenly")
    }
    guard let axis = BatchShares.axis(of: mesh) else { throw node.invalid(expected: "nothing: the plan has one device") }
    let entries = try node.elements()
    guard entries.count == mesh[axis] else {
      throw node.invalid(expected: "\(mesh[axis]) numbers of samples, one for each rank along mesh axis \(axis)")
    }
    // Extents and counts are at most 2^24, and so is the number of devices.
    let samples = try entries.map { entry throws(DocumentError) in try entry.int(.within(1, GraphBuilder.largestExtent)) }
    let shares = BatchShares(samples, mesh: mesh)
    let batch = job.batch / job.microBatches
    guard shares.total == batch else {
      throw node.invalid(expected: "the \(batch) samples of a micro-batch together, not \(shares.total)")
    }
    return shares
  }

  /// Where the batch is shared out unevenly, every rank has a sample.
  func checkShares(of strategy: Strategy, _ rule: OperatorRule, _ node: Node) throws(DocumentError) {
    guard let shares, !shares.allow(strategy, rule: rule, mesh: mesh) else { return }
    throw node.invalid(expected: "no further split of the batch than of the smallest share, \(shares.samples.min() ?? 0)")
  }

  func checkShares(of tensor: TensorID, _ layout: Layout, _ node: Node) throws(DocumentError) {
    guard let shares, !shares.allow(layout, of: tensor, in: graph, mesh: mesh) else { return }
    throw node.invalid(expected: "a step that leaves every rank a sample; the smallest share is \(shares.samples.min() ?? 0)")
  }
}
