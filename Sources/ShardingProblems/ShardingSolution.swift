// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Search

/// What solving a sharding problem came to.
package struct ShardingSolution: Equatable, Sendable {
  package enum Status: String, Sendable {
    /// The cost is the least, within `Outcome.tolerance`; almost always it equals the bound.
    case optimal
    /// The time limit, or an interruption, came first.
    case timeLimit = "time_limit"
    case infeasible
  }

  package var status: Status
  /// A strategy for each node; nil where none was found.
  package var choice: [Int]?
  /// What the choice costs in the original problem.
  package var cost: Int128?
  /// No legal choice costs less; nil where there is none.
  package var lowerBound: Int128?
  /// Why there is no legal choice, in words.
  package var reason: String?

  /// (cost − bound) / |cost|; nil without a choice.
  package var gap: Double? {
    guard let cost, let lowerBound else { return nil }
    return cost == lowerBound ? 0 : Double(cost - lowerBound) / max(1, abs(Double(cost)))
  }

  /// `{"cost", "gap", "lower_bound", "solution", "status"}`, and a line feed. JSON's numbers have no limit, so costs beyond 64 bits are written out.
  package var text: String {
    let solution = choice.map { "[\($0.map(String.init).joined(separator: ","))]" } ?? "null"
    return "{\(figures),\"solution\":\(solution),\"status\":\"\(status.rawValue)\"}\n"
  }

  /// The members `cost`, `gap` and `lower_bound`.
  package var figures: String {
    func number(_ value: Int128?) -> String { value.map { "\($0)" } ?? "null" }
    let gap = gap.map { JSON.double($0).canonicalText } ?? "null"
    return "\"cost\":\(number(cost)),\"gap\":\(gap),\"lower_bound\":\(number(lowerBound))"
  }

  /// Writes `text` to a file; `-` is standard output.
  package func write(to path: String) throws(ShardingProblemError) {
    do { try atomicWrite(Array(text.utf8), to: path) } catch { throw .document(error) }
  }
}

extension ProblemFile {
  /// Solves the problem. The choice is priced again on the problem as it is in the file, in 128 bits.
  /// - Parameter threads: how many parts of a large problem may be worked on at a time.
  package func solve(stop: StopCondition, threads: Int) throws(SearchError) -> ShardingSolution {
    let original = try problem()
    let shifts = shifts
    var options = SolveOptions(stop: stop)
    options.isExact = true
    options.threads = threads
    if shifts == (0, 0) { return ShardingSolution(try original.solve(options), of: original, shift: 0, file: self) }

    // Rounded down it gives a bound, and often a choice that is legal as it is; else usages rounded up give one.
    let relaxed = try problem(rounding: .down(costShift: shifts.cost, usageShift: shifts.usage)).solve(options)
    var solution = ShardingSolution(relaxed, of: original, shift: shifts.cost, file: self)
    if solution.choice == nil, solution.status != .infeasible, !stop.isReached {
      let safe = try problem(rounding: .usagesUp(costShift: shifts.cost, usageShift: shifts.usage)).solve(options)
      let bound = solution.lowerBound
      solution = ShardingSolution(safe, of: original, shift: shifts.cost, file: self)
      solution.lowerBound = bound
      solution.status = .timeLimit
    }
    return solution
  }
}

extension ShardingSolution {
  /// - Parameters:
  ///   - outcome: of the problem, or of one with its costs divided by 2^shift and rounded down.
  ///   - original: the problem as it is in the file.
  init(_ outcome: Outcome, of original: Problem, shift: Int, file: ProblemFile) {
    if case .infeasible(let why) = outcome.status {
      self.init(status: .infeasible, reason: file.words(for: why, rows: original.limits.count))
      return
    }
    let evaluation = outcome.choice.map { original.evaluate($0) }
    self.init(status: .timeLimit, lowerBound: Int128(outcome.lowerBound) << Int128(shift))
    guard let evaluation, evaluation.isLegal else { return }
    choice = outcome.choice.map { Array($0.prefix(file.nodeCosts.count)) }
    cost = evaluation.objective
    lowerBound = min(lowerBound ?? evaluation.objective, evaluation.objective)
    let isWithinTolerance = evaluation.objective - (lowerBound ?? 0) <= max(1, evaluation.objective.magnitude / 1_000_000)
    if outcome.status == .optimal, isWithinTolerance { status = .optimal }
  }
}

extension ProblemFile {
  /// Why no choice is legal, and what would help.
  fileprivate func words(for why: Outcome.Infeasibility, rows: Int) -> String {
    switch why {
    case .forbidden: "every choice has a forbidden entry (a cost of 10^18 or more)"
    case .memory(_, let least, let limit):
      shifts.usage > 0
        ? "at some moment every choice uses more than usage_limit"
        : "at some moment every choice uses at least \(least), and usage_limit leaves \(limit)"
    case .memoryTogether, .memoryUndetermined: "every choice without forbidden entries exceeds usage_limit at some moment"
    }
  }
}
