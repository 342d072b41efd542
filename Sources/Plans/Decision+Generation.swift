// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

extension Decision {
  /// The decision for generating text: forward, for other numbers of samples and positions, all in one micro-batch.
  ///
  /// Tensor and pipeline splits, ZeRO and samples shared out stay. What shares out positions, of which there is one at a time, is done by all
  /// instead, and so is what has fewer parts than devices.
  package func generating(batch: Int, sequence: Int) -> Decision {
    let single = graph.sized(batch: batch, sequence: 1).withSlotsForEveryPosition ?? graph.sized(batch: batch, sequence: 1)
    var decision = self
    decision.graph = graph.sized(batch: batch, sequence: sequence)
    decision.job.batch = batch
    decision.job.microBatches = 1
    decision.job.sequence = sequence
    decision.job.mode = .forward
    decision.shares = nil
    decision.orders = graph.axes.map { _ in .natural }
    decision.recompute = graph.segments.map { _ in .none }
    decision.assignments = assignments.enumerated().map { op, assignment in
      let (axes, mesh) = (OperatorRules.rule(for: op, in: single).iteration, mesh(ofOperator: op))
      var kept = assignment
      var parts = [Int](repeating: 1, count: axes.count)
      for (axis, iteration) in assignment.enumerated() {
        guard let iteration else { continue }
        parts[iteration] *= mesh[axis]
        let splits = axes[iteration].splits.map { axes[$0] }
        if splits.contains(where: { [.sequence, .slots].contains($0.role) || $0.extent < parts[iteration] }) {
          kept[axis] = nil
          parts[iteration] /= mesh[axis]
        }
      }
      return kept
    }
    decision.conversions = Decision.shortestConversions(of: decision.graph, decision.assignments, mesh: mesh(ofOperator:))
    return decision
  }
}
