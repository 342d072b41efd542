// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Planner
import Plans
import Quantities
import Search
import Strategies

/// One operator of a plan, with what every other strategy of it would make of the whole step.
///
/// Each alternative is a search of its own with the operator pinned, everything around the operators (mesh, stages, micro-batches, schedule)
/// as in the plan, and all other operators free: so the difference is what the choice is worth, not what an inconsistent plan would lose.
struct LayerReport {
  /// Wall-clock seconds for all alternatives, where nothing else is said.
  static let usualSeconds = 30.0

  let plan: Plan
  let op: OperatorID
  let rule: OperatorRule
  let chosen: Strategy
  /// The copies of the operator that have its strategy: where each stage has layers of two kinds, those of its kind on all stages.
  let copies: Int
  /// The fastest first; the impossible last. Where the plan is not proven best, its own strategy is among them: others may do better around it.
  let alternatives: [Alternative<Strategy>]

  /// - Parameters:
  ///   - layer: an operator's name, or that of one of its copies.
  ///   - seconds: wall-clock time for all alternatives; what it does not suffice for is told apart.
  ///   - stop: ends the comparison before that.
  ///   - progress: called with the number of alternatives that are known and their whole number.
  /// - Throws: `UsageError` where no operator has the name; what the search throws.
  init(
    _ plan: Plan, layer: String, seconds: Double = usualSeconds, stop: StopCondition = StopCondition(),
    progress: @escaping @Sendable (Int, Int) -> Void = { _, _ in }
  ) throws {
    self.plan = plan
    let decision = plan.decision
    let graph = decision.graph
    op = try graph.op(named: layer)
    let rule = OperatorRules.rule(for: op, in: graph)
    let chosen = Strategy(assignment: decision.assignments[op], rule: rule)
    self.rule = rule
    self.chosen = chosen
    let isProven = plan.certificate.status == .optimal
    let others = Strategy.all(for: rule, mesh: decision.mesh(ofOperator: op)).filter { !isProven || $0.assignment != chosen.assignment }
    let space = try OperatorSpace(plan)
    copies = space.copies(of: op)
    let choices = others.map { [op] in (choice: $0, request: space.request(pinning: op, to: $0, rule)) }
    alternatives = Alternative.sortedByResult(try Alternative.compare(choices, seconds: seconds, stop: stop, progress: progress))
  }

  /// Which loop axis each mesh axis splits: tells strategies apart that have one name.
  func split(_ strategy: Strategy) -> String {
    let axes = zip(strategy.assignment, plan.decision.mesh(ofOperator: op)).compactMap { axis, parts in
      axis.map { "\(rule.iteration[$0].name)/\(parts)" }
    }
    return axes.isEmpty ? "nothing" : axes.joined(separator: " ")
  }

  func layouts(_ strategy: Strategy) -> String {
    strategy.operands.map(\.forward.notation).joined(separator: " ") + " -> " + strategy.result.notation
  }
}
