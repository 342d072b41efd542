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
  enum Result {
    /// The best step with this strategy; `isProven` is false where the time limit came first.
    case step(Seconds, isProven: Bool)
    /// No plan was found in time; none takes less.
    case atLeast(Seconds)
    case tooMuchMemory(least: Bytes, limit: Bytes)
    /// Neighbours, or another reader of a tied parameter, have no strategy that goes with it.
    case noCommonLayout

    /// Whether more time would tell no more.
    var isFinal: Bool {
      switch self {
      case .step(_, let isProven): isProven
      case .atLeast: false
      case .tooMuchMemory, .noCommonLayout: true
      }
    }
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

  /// Wall-clock seconds for all alternatives, where nothing else is said.
  static let usualSeconds = 30.0
  /// The part of it in which each alternative has the same time; after that those that may be the best have what they need.
  private static let shareForAll = 0.5

  let plan: Plan
  let op: OperatorID
  let rule: OperatorRule
  let chosen: Strategy
  /// The fastest first; the impossible last. Where the plan is not proven best, its own strategy is among them: others may do better around it.
  let alternatives: [Alternative]

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
    let name = graph.operators[op].name
    let priced = try Self.compare(
      others, try plan.request(), { StrategyConstraint(operator: name, strategy: $0, rule: rule) }, seconds: seconds, stop: stop, progress: progress)
    alternatives = priced.enumerated().sorted { a, b in
      let (left, right) = (a.element.rank, b.element.rank)
      return left == right ? a.offset < b.offset : left < right
    }.map(\.element)
  }

  /// Searches with each strategy pinned: first with the same time for all, then with what is left, in the order of what is known.
  private static func compare(
    _ strategies: [Strategy], _ request: SearchRequest, _ pin: (Strategy) -> StrategyConstraint, seconds: Double, stop: StopCondition,
    progress: @escaping @Sendable (Int, Int) -> Void
  ) throws -> [Alternative] {
    var priced = strategies.map { Alternative(strategy: $0, result: .atLeast(.zero)) }
    let deadline = ContinuousClock.now + .seconds(seconds)
    func left() -> Double { stop.isReached ? 0 : max(0, (deadline - .now) / .seconds(1)) }
    func look(at index: Int, seconds: Double) throws {
      var request = request
      request.constraints = [pin(strategies[index])]
      let inner = StopCondition(after: .seconds(seconds), within: stop)
      let (known, count) = (priced.count { $0.result.isFinal }, priced.count)
      progress(known, count)
      let result = try price(
        request,
        SearchMonitor(stop: inner) { _ in progress(known, count) })
      // Of two searches that were cut short, the earlier may have the better bound.
      if case .atLeast(let bound) = result, case .atLeast(let known) = priced[index].result, bound < known { return }
      priced[index] = Alternative(strategy: strategies[index], result: result)
    }
    for index in priced.indices {
      let shared = left() - seconds * (1 - shareForAll)
      if shared > 0 { try look(at: index, seconds: shared / Double(priced.count - index)) }
    }
    let unfinished = priced.indices.filter { !priced[$0].result.isFinal }.sorted {
      let (left, right) = (priced[$0].rank, priced[$1].rank)
      return left == right ? $0 < $1 : left < right
    }
    for index in unfinished where left() > 0 { try look(at: index, seconds: left()) }
    return priced
  }

  private static func price(_ request: SearchRequest, _ monitor: SearchMonitor) throws -> Result {
    switch try Planner.search(request, monitor) {
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
