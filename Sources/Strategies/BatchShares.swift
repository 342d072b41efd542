// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// How the samples of a micro-batch are shared out over the ranks along one axis of a mesh, where these are devices of several kinds: the faster ones
/// take more of them.
///
/// Shares belong to the mesh axis and to the batch, as the order of a sequence belongs to the sequence, so that everything that is split along the
/// batch there shares them: a layout cuts in the mesh's shares, and there is no conversion to others. All else that is split on the axis is split evenly.
/// The axis is the outermost one of several devices, so that no other cuts the batch before it.
package struct BatchShares: Hashable, Sendable {
  /// The mesh axis.
  package let axis: Int
  /// For each rank along it, its samples; one or more.
  package let samples: [Int]

  /// - Parameter mesh: of which the outermost axis of several devices has as many as there are shares.
  package init(_ samples: [Int], mesh: [Int]) {
    guard let axis = Self.axis(of: mesh) else { preconditionFailure("one device shares nothing") }
    precondition(mesh[axis] == samples.count && samples.allSatisfy { $0 > 0 })
    (self.axis, self.samples) = (axis, samples)
  }

  /// The axis of a mesh that may have shares.
  package static func axis(of mesh: [Int]) -> Int? { mesh.firstIndex { $0 > 1 } }

  /// Whether the batch of a model can be cut unevenly: no operator makes one number of several samples.
  package static func isPossible(in graph: Graph) -> Bool { !graph.couplesBatch && graph.axes.contains { $0.role == .batch } }

  package var total: Int { samples.reduce(0, +) }

  /// The samples of one rank.
  package func part(_ index: Int) -> Range<Int> {
    let start = samples[..<index].reduce(0, +)
    return start..<start + samples[index]
  }

  /// Whether every rank has a sample where these mesh axes split the batch.
  package func allow(_ axes: [Int], mesh: [Int]) -> Bool {
    !axes.contains(axis) || axes.reduce(1) { $1 == axis ? $0 : $0 * mesh[$1] } <= samples.min()!
  }

  /// Whether every rank has a sample under a strategy.
  package func allow(_ strategy: Strategy, rule: OperatorRule, mesh: [Int]) -> Bool {
    rule.iteration.indices.allSatisfy { loop in
      rule.iteration[loop].role != .batch || allow(strategy.meshAxes(cutting: loop, rule), mesh: mesh)
    }
  }

  /// Whether every rank has a sample of a tensor in a layout.
  package func allow(_ layout: Layout, of tensor: TensorID, in graph: Graph, mesh: [Int]) -> Bool {
    graph.tensors[tensor].dimensions.enumerated().allSatisfy { dimension, axis in
      graph.axes[axis].role != .batch || allow(layout.axesSplitting(dimension), mesh: mesh)
    }
  }
}

extension Strategy {
  /// The mesh axes that cut a loop, by itself or together with others.
  package func meshAxes(cutting loop: Int, _ rule: OperatorRule) -> [Int] {
    assignment.indices.filter { axis in assignment[axis].map { rule.iteration[$0].splits.contains(loop) } ?? false }
  }
}

extension Shard {
  /// The part of an axis of the model, or of what an outer mesh axis leaves of it, that a rank has on a mesh axis.
  package static func part(
    of range: Range<Int>, isBatch: Bool, on axis: Int, of mesh: [Int], coordinates: [Int], shares: BatchShares?
  ) -> Range<Int> {
    if isBatch, let shares, shares.axis == axis { return shares.part(coordinates[axis]) }
    return part(of: range, index: coordinates[axis], parts: mesh[axis])
  }

  /// The ranges of a tensor's dimensions that the rank at `coordinates` holds.
  package static func region(
    of tensor: TensorID, in graph: Graph, layout: Layout, mesh: [Int], coordinates: [Int], shares: BatchShares?
  ) -> [Range<Int>] {
    guard let shares else { return region(shape: graph.shape(tensor), layout: layout, mesh: mesh, coordinates: coordinates) }
    let dimensions = graph.tensors[tensor].dimensions
    var region = graph.shape(tensor).map { 0..<$0 }
    for axis in 0..<layout.axes {
      guard case .split(let dimension) = layout[axis] else { continue }
      region[dimension] = part(
        of: region[dimension], isBatch: graph.axes[dimensions[dimension]].role == .batch, on: axis, of: mesh, coordinates: coordinates,
        shares: shares)
    }
    return region
  }
}
