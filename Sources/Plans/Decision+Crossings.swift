// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// One tensor that a stage gets from a stage with another mesh. It comes in the layouts in which it is read, and its gradient leaves in those in
/// which it is given: between meshes a tensor is sent box by box, and layouts of two meshes do not compare.
package struct Crossing: Hashable, Sendable {
  /// The tensor as the sending stage's last segment names it, and as the receiving stage's first one does.
  package let exit: TensorID
  package let entry: TensorID
  /// The layouts in which it is read, each once, in the order of the readers.
  package let forward: [Layout]
  /// The layouts in which readers give its gradient, each once; empty where none is wanted.
  package let gradients: [Layout]
  /// The messages before this tensor's among those of one pass, forward and backward.
  package let firstForward: Int
  package let firstGradient: Int
}

extension Decision {
  /// What a segment's first copy gets from the segment before, where that is on another mesh.
  ///
  /// - Parameters:
  ///   - strategies: of all operators.
  ///   - needsGradient: for each tensor.
  package func crossings(into segment: SegmentID, _ strategies: [Strategy], needsGradient: [Bool]) -> [Crossing] {
    guard changesMesh(beforeSegment: segment) else { return [] }
    var crossings: [Crossing] = []
    var (forward, backward) = (0, 0)
    for (exit, entry) in zip(graph.segments[segment - 1].exits, graph.segments[segment].entries) {
      let readers = graph.consumers[entry]
      let uses = readers.map { strategies[$0.op].operands[$0.operand] }
      let learned = zip(readers, uses).filter { needsGradient[entry] && needsGradient[exit] && needsGradient[graph.operators[$0.0.op].result] }
      let crossing = Crossing(
        exit: exit, entry: entry, forward: uses.map(\.forward).uniqued, gradients: learned.map(\.1.gradient).uniqued, firstForward: forward,
        firstGradient: backward)
      crossings.append(crossing)
      forward += crossing.forward.count
      backward += crossing.gradients.count
    }
    return crossings
  }
}

extension [Layout] {
  /// Each layout once, where it occurs first.
  fileprivate var uniqued: [Layout] {
    var known: [Layout] = []
    for layout in self where !known.contains(layout) { known.append(layout) }
    return known
  }
}
