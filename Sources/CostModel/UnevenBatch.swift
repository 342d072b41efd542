// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies

/// Prices where the batch is not shared out evenly over devices of several kinds.
///
/// The prices of one kind are at its own rates, with the most samples that a rank of the kind has. Those of the mesh are, of each operator, the longest
/// of any kind: ranks wait for each other in collectives. What is sent has the size of the largest part of any rank.
package struct UnevenBatch: Sendable {
  package let shares: BatchShares
  /// The most samples of a rank: of the kind whose prices these are, or of any.
  package let samples: Int
  /// The same with the prices of each kind of devices; empty in those.
  package let kinds: [Pricing]

  package init(_ shares: BatchShares, samples: Int, kinds: [Pricing]) {
    (self.shares, self.samples, self.kinds) = (shares, samples, kinds)
  }

  /// The largest part of an extent that some mesh axes cut in turn.
  fileprivate func largest(_ extent: Int, isBatch: Bool, axes: [Int], mesh: [Int]) -> Int {
    axes.reduce(extent) { isBatch && $1 == shares.axis ? samples : ($0 + mesh[$1] - 1) / mesh[$1] }
  }
}

extension Pricing {
  /// The prices of each kind of devices, where they share the batch out unevenly.
  package var kinds: [Pricing] { uneven?.kinds ?? [] }

  /// A set with bit d for each dimension d that is cut in the mesh's shares; empty where these are even.
  package func unevenDimensions(of tensor: TensorID) -> Int {
    if uneven == nil { return 0 }
    return graph.tensors[tensor].dimensions.enumerated().reduce(0) { graph.axes[$1.element].role == .batch ? $0 | 1 << $1.offset : $0 }
  }

  /// The number of elements of a tensor's largest shard.
  ///
  /// - Parameter unevenDimensions: those that are cut in the mesh's shares.
  package func largestCount(_ shape: [Int], _ layout: Layout, unevenDimensions: Int) -> Double {
    guard let uneven, unevenDimensions != 0 else { return largestCount(shape, layout) }
    return shape.indices.reduce(1.0) { count, dimension in
      count
        * Double(
          uneven.largest(
            shape[dimension], isBatch: unevenDimensions >> dimension & 1 == 1, axes: layout.axesSplitting(dimension), mesh: mesh))
    }
  }

  /// Whether some rank would have no sample of a tensor.
  package func leavesSomeEmpty(_ layout: Layout, unevenDimensions: Int) -> Bool {
    guard let uneven, unevenDimensions != 0 else { return false }
    return (0..<Int.bitWidth - unevenDimensions.leadingZeroBitCount).contains { dimension in
      unevenDimensions >> dimension & 1 == 1 && !uneven.shares.allow(layout.axesSplitting(dimension), mesh: mesh)
    }
  }

  /// The extents of an operator's largest part.
  package func largestExtents(_ op: OperatorID, _ strategy: Strategy) -> [Int] {
    let rule = rules[op]
    guard let uneven else { return strategy.localExtents(rule, mesh: mesh) }
    return rule.iteration.indices.map { loop in
      uneven.largest(
        rule.iteration[loop].extent, isBatch: rule.iteration[loop].role == .batch, axes: strategy.meshAxes(cutting: loop, rule), mesh: mesh)
    }
  }

  /// The time in which every device updates weights whose bytes are so many.
  package func update(_ bytes: Bytes) -> Seconds {
    uneven == nil || kinds.isEmpty ? rates.update(bytes) : kinds.map { $0.rates.update(bytes) }.max() ?? .zero
  }
}

extension OperatorCost {
  /// Of each part the most.
  init(slowest costs: [OperatorCost]) {
    self = costs[0]
    for cost in costs.dropFirst() {
      (forward, backward) = (max(forward, cost.forward), max(backward, cost.backward))
      (interior, backwardInterior) = (max(interior, cost.interior), max(backwardInterior, cost.backwardInterior))
      (extras, transient) = (max(extras, cost.extras), max(transient, cost.transient))
    }
  }
}
