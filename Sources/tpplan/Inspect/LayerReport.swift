// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

/// One operator of a plan, with what every other strategy of it would make of the whole step.
///
/// Each alternative is a search of its own with the operator pinned, everything around the operators (mesh, stages, micro-batches, schedule)
/// as in the plan, and all other operators free: so the difference is what the choice is worth, not what an inconsistent plan would lose.
struct LayerReport {
  enum Result {
    /// The best step with this strategy; `isProven` is false where the time limit came first.
    case step(Seconds, isProven: Bool)
    /// No plan was found in time; none takes less.
    case atLeast(Seconds)
    case tooMuchMemory(least: Bytes, limit: Bytes)
    /// Neighbours, or another reader of a tied parameter, have no strategy that goes with it.
    case noCommonLayout
  }

  struct Alternative {
    let strategy: Strategy
    let result: Result

    /// Sorts what is possible by its time, before what is not.
    fileprivate var rank: (Int, Double) {
      switch result {
      case .step(let time, _): (0, time.value)
      case .atLeast(let time): (1, time.value)
      case .tooMuchMemory(let least, _): (2, least.value)
      case .noCommonLayout: (3, 0)
      }
    }
  }

  /// Wall-clock seconds for one alternative.
  private static let timeLimit = 30.0

  let plan: Plan
  let op: OperatorID
  let rule: OperatorRule
  let chosen: Strategy
  /// The fastest first; the impossible last. Where the plan is not proven best, its own strategy is among them: others may do better around it.
  let alternatives: [Alternative]

  /// - Parameters:
  ///   - layer: an operator's name, or that of one of its copies.
  ///   - progress: called with the number of alternatives done and their whole number.
  /// - Throws: `UsageError` where no operator has the name; what the search throws.
  init(_ plan: Plan, layer: String, progress: (Int, Int) -> Void = { _, _ in }) throws {
    self.plan = plan
    let decision = plan.decision
    let graph = decision.graph
    op = try graph.op(named: layer)
    let rule = OperatorRules.rule(for: op, in: graph)
    let chosen = Strategy(assignment: decision.assignments[op], rule: rule)
    self.rule = rule
    self.chosen = chosen
    var request = try plan.request()
    request.timeLimit = Self.timeLimit
    let isProven = plan.certificate.status == .optimal
    let others = Strategy.all(for: rule, mesh: decision.mesh(ofOperator: op)).filter { !isProven || $0.assignment != chosen.assignment }
    var priced: [Alternative] = []
    for strategy in others {
      progress(priced.count, others.count)
      request.constraints = [StrategyConstraint(operator: graph.operators[op].name, strategy: strategy, rule: rule)]
      priced.append(Alternative(strategy: strategy, result: try Self.price(request)))
    }
    progress(others.count, others.count)
    alternatives = priced.enumerated().sorted { a, b in
      let (left, right) = (a.element.rank, b.element.rank)
      return left == right ? a.offset < b.offset : left < right
    }.map(\.element)
  }

  private static func price(_ request: SearchRequest) throws -> Result {
    switch try Planner.search(request) {
    case .planned(let planned): .step(planned.prediction.step, isProven: planned.certificate.status == .optimal)
    case .timeLimit(let bound): .atLeast(bound)
    case .infeasible(let why): why.memory.map { .tooMuchMemory(least: $0.least, limit: $0.limit) } ?? .noCommonLayout
    }
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
