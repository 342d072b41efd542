// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner
import Plans
import Strategies

/// What the operators of a plan are chosen from, with everything around them as in the plan.
struct OperatorSpace {
  private let graph: Graph
  /// Nil where the plan's layers are written as it searches them.
  private let kinds: LayerKinds?
  private let request: SearchRequest

  /// - Throws: `HardwareError`.
  init(_ plan: Plan) throws {
    graph = plan.decision.graph
    kinds = LayerKinds(plan.decision)
    request = try plan.request(kinds)
  }

  /// The search with one operator pinned: in all layers that are alike.
  func request(pinning op: OperatorID, to strategy: Strategy, _ rule: OperatorRule) -> SearchRequest {
    var request = request
    let name = request.graph.operators[kinds?.origins[op] ?? op].name
    request.constraints = [StrategyConstraint(operator: name, strategy: strategy, rule: rule, kind: kinds?.kind(of: op))]
    return request
  }

  /// The copies of an operator in all layers that are alike.
  func copies(of op: OperatorID) -> Int {
    graph.operators.indices.filter { areOne($0, op) }.reduce(0) { $0 + graph.segments[graph.segmentOfOperator[$1]].repeats }
  }

  /// Whether two operators of the plan are one of the search's.
  func areOne(_ a: OperatorID, _ b: OperatorID) -> Bool { kinds?.areOne(a, b) ?? (a == b) }
}
