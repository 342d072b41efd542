// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Plans
import Quantities
import Search

/// What forcing a choice makes of the whole step.
enum AlternativeResult: Hashable {
  /// The best step with this choice; `isProven` is false where the time limit came first.
  case step(Seconds, isProven: Bool)
  /// No plan was found in time; none takes less.
  case atLeast(Seconds)
  case tooMuchMemory(least: Bytes, limit: Bytes)
  /// Neighbours, or another reader of a tied parameter, have no strategy that goes with it.
  case noCommonLayout
  /// The choice goes against the model or the job, for this reason.
  case impossible(String)

  /// Whether more time would tell no more.
  var isFinal: Bool {
    switch self {
    case .step(_, let isProven): isProven
    case .atLeast: false
    case .tooMuchMemory, .noCommonLayout, .impossible: true
    }
  }

  /// Sorts what is possible by its time, before what is not.
  fileprivate var rank: (Int, Double) {
    switch self {
    case .step(let time, _): (0, time.value)
    case .atLeast(let time): (1, time.value)
    case .tooMuchMemory(let least, _): (2, least.value)
    case .noCommonLayout: (3, 0)
    case .impossible: (4, 0)
    }
  }

  /// For a table: the step, how much longer it is than the plan's, and what is to be said of it.
  func cells(beside step: Seconds) -> (step: String, difference: String, note: String) {
    func signed(_ time: Seconds) -> String { time < .zero ? "\(time)" : "+\(time)" }
    func signedPercent(_ time: Seconds) -> String {
      guard step > .zero else { return "" }
      let fraction = (time - step) / step
      return (fraction < 0 ? "" : "+") + percent(fraction)
    }
    return switch self {
    case .step(let time, let isProven): ("\(time)", signed(time - step), isProven ? signedPercent(time) : signedPercent(time) + ", or less")
    case .atLeast(let time): (time > .zero ? "≥ \(time)" : "", "", obstacle)
    case .tooMuchMemory, .noCommonLayout, .impossible: ("-", "", obstacle)
    }
  }

  /// Why there is no step; empty where there is one.
  var obstacle: String {
    switch self {
    case .step: ""
    case .atLeast: "not finished in the time given"
    case .tooMuchMemory(let least, let limit): "does not fit: \(least) of \(limit), \(least - limit) too much"
    case .noCommonLayout: "no layout in common with its neighbours"
    case .impossible(let reason): reason
    }
  }

  func members(beside step: Seconds) -> [(String, JSON)] {
    switch self {
    case .step(let time, let isProven):
      [
        ("result", .string(isProven ? "optimal" : "time_limit")), ("step_seconds", .double(time.value)),
        ("difference_seconds", .double((time - step).value)),
      ]
    case .atLeast(let time): [("result", "time_limit"), ("lower_bound_seconds", .double(time.value))]
    case .tooMuchMemory(let least, let limit):
      [("result", "too_much_memory"), ("least_memory_bytes", .double(least.value)), ("memory_limit_bytes", .double(limit.value))]
    case .noCommonLayout: [("result", "no_common_layout")]
    case .impossible(let reason): [("result", "impossible"), ("reason", .string(reason))]
    }
  }
}

/// A choice that a plan does not make, and the best plan that makes it.
struct Alternative<Choice> {
  let choice: Choice
  let result: AlternativeResult
  /// Nil where there is none.
  let decision: Decision?

  /// Searches with each choice forced: first with the same time for all in half of the time, then with what is left, in the order of what is known, for those that may be the best.
  ///
  /// - Parameters:
  ///   - seconds: wall-clock time for all of them; what it does not suffice for is told apart.
  ///   - stop: ends the comparison before that.
  ///   - progress: called with the number of choices whose result is known and their whole number.
  /// - Throws: what a search throws but that a request asks for the impossible.
  static func compare(
    _ choices: [(choice: Choice, request: SearchRequest)], seconds: Double, stop: StopCondition, progress: @escaping @Sendable (Int, Int) -> Void
  ) throws -> [Alternative] {
    var priced = choices.map { Alternative(choice: $0.choice, result: .atLeast(.zero), decision: nil) }
    let deadline = ContinuousClock.now + .seconds(seconds)
    func left() -> Double { stop.isReached ? 0 : max(0, (deadline - .now) / .seconds(1)) }
    func look(at index: Int, seconds: Double) throws {
      let inner = StopCondition(after: .seconds(seconds), within: stop)
      let (known, count) = (priced.count { $0.result.isFinal }, priced.count)
      let (result, decision) = try price(choices[index].request, SearchMonitor(stop: inner) { _ in progress(known, count) })
      if case .atLeast(let bound) = result, case .atLeast(let known) = priced[index].result, bound < known { return }
      priced[index] = Alternative(choice: choices[index].choice, result: result, decision: decision)
    }
    for index in priced.indices {
      let shared = left() - seconds / 2
      if shared > 0 { try look(at: index, seconds: shared / Double(priced.count - index)) }
    }
    let unfinished = priced.indices.filter { !priced[$0].result.isFinal }.sorted {
      let (left, right) = (priced[$0].result.rank, priced[$1].result.rank)
      return left == right ? $0 < $1 : left < right
    }
    for index in unfinished where left() > 0 { try look(at: index, seconds: left()) }
    return priced
  }

  private static func price(_ request: SearchRequest, _ monitor: SearchMonitor) throws -> (AlternativeResult, Decision?) {
    do {
      switch try Planner.search(request, monitor) {
      case .planned(let planned): return (.step(planned.prediction.step, isProven: planned.certificate.status == .optimal), planned.decision)
      case .timeLimit(let bound): return (.atLeast(bound), nil)
      case .infeasible(let why): return (why.memory.map { .tooMuchMemory(least: $0.least, limit: $0.limit) } ?? .noCommonLayout, nil)
      }
    } catch PlannerError.usage(let reason) {
      return (.impossible(reason), nil)
    }
  }

  /// The fastest first, the impossible last; equal ones as they were.
  static func sortedByResult(_ list: [Alternative]) -> [Alternative] {
    list.enumerated().sorted { a, b in
      let (left, right) = (a.element.result.rank, b.element.result.rank)
      return left == right ? a.offset < b.offset : left < right
    }.map(\.element)
  }

  /// What is to be said where the time ended first.
  static func unfinishedLines(_ list: [Alternative]) -> [String] {
    let unfinished = list.count { !$0.result.isFinal }
    return unfinished == 0
      ? []
      : [
        "  \(unfinished) of \(counted(list.count, "alternative")) \(unfinished == 1 ? "is" : "are") not known exactly: the time ended (--time-limit)"
      ]
  }
}
