// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// How the ranks that hold the same shard of a parameter, and see different data, share it out among them (ZeRO).
///
/// The shard counts as one row of elements, of which member r of d owns [⌊r·n/d⌋, ⌊(r+1)·n/d⌋); n need not divide.
package struct ParameterSharing: Hashable, Sendable {
  package let stage: ZeROStage
  /// The mesh axes along which it is shared out, all with more than one device; none where every rank holds and updates all of it.
  package let axes: [Int]

  /// Nothing is shared out.
  package static let none = ParameterSharing(stage: .none, axes: [])

  private init(stage: ZeROStage, axes: [Int]) {
    self.stage = stage
    self.axes = axes
  }

  /// How a decision shares out the parameter that is an operand of an operator.
  ///
  /// - Parameters:
  ///   - use: how the operator takes the operand.
  ///   - isLearned: whether training needs the parameter's gradient.
  package init(of tensor: TensorID, readBy op: OperatorID, _ use: Strategy.Use, in decision: Decision, isLearned: Bool) {
    let axes = use.sharingAxes(mesh: decision.mesh(ofOperator: op))
    // What several operators read has contributions to its gradient from all of them, and stays whole.
    let isShared = isLearned && !axes.isEmpty && decision.zero[op] != .none && decision.graph.consumers[tensor].count == 1
    self = isShared ? ParameterSharing(stage: decision.zero[op], axes: axes) : .none
  }

  /// What the rank at `coordinates` owns of a shard of `count` elements.
  package func part(of count: Int, mesh: [Int], coordinates: [Int]) -> Range<Int> {
    // Members are in the row-major order of their coordinates, as in `Program.group(over:)`.
    let (member, members) = axes.reduce((0, 1)) { ($0.0 * mesh[$1] + coordinates[$1], $0.1 * mesh[$1]) }
    return Shard.part(of: 0..<count, index: member, parts: members)
  }

  /// The number of elements that each member of a group owns of a shard of `count` elements.
  package func partCounts(of count: Int, mesh: [Int]) -> [Int] {
    let members = axes.reduce(1) { $0 * mesh[$1] }
    return (0..<members).map { Shard.part(of: 0..<count, index: $0, parts: members).count }
  }
}
