// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Plans
import Strategies

extension Pricing {
  /// The order in which the positions of an axis stand under a choice of strategies: that with the fewest chunks which has every price true.
  func order(ofAxis axis: AxisID, under strategies: [Strategy]) -> SequenceOrder {
    var splitting = Set<Int>()
    for (op, strategy) in strategies.enumerated() { splitting.formUnion(meshAxes(splitting: axis, inCausal: op, strategy)) }
    if splitting.isEmpty { return .natural }
    let fewest = SequenceOrder(pairs: splitting.reduce(1) { $0 * mesh[$1] })
    return orders[axis].pairs % fewest.pairs == 0 ? fewest : orders[axis]
  }

  /// The mesh axes on which a strategy of a causal attention splits an axis.
  func meshAxes(splitting axis: AxisID, inCausal op: OperatorID, _ strategy: Strategy) -> [Int] {
    guard case .attention(let attention) = rules[op].work, attention.isCausal,
      let dimension = rules[op].operands[0].firstIndex(of: attention.queries),
      graph.tensors[graph.operators[op].operands[0]].dimensions[dimension] == axis
    else { return [] }
    return mesh.indices.filter { mesh[$0] > 1 && strategy.operands[0].forward[$0] == .split(dimension) }
  }
}

extension Decision {
  /// Whether its prices are those of zig-zag order: a causal attention splits no axis, or splits it in that order.
  package var isZigzag: Bool {
    if orders.contains(where: { !$0.isNatural }) { return true }
    let rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
    return !zip(assignments.enumerated(), rules).contains { assignment, rule in
      guard case .attention(let attention) = rule.work, attention.isCausal else { return false }
      return Strategy(assignment: assignment.element, rule: rule).parts(rule, mesh: mesh(ofOperator: assignment.offset))[attention.queries] > 1
    }
  }
}
