// SPDX-License-Identifier: GPL-3.0-or-later

/// How to solve a problem.
package struct SolveOptions: Sendable {
  /// When the best choice and bound so far are returned.
  package var stop: StopCondition
  /// Only choices with an objective below it are of interest.
  package var cutoff: Int64?
  package var reductions: Reductions
  package var bounds: Bounds
  /// Whether to go on until objective and bound are equal, instead of within `Outcome.tolerance`.
  package var isExact = false
  /// How many neighbourhoods are solved at a time.
  package var threads = 1
  /// Bounds the work on what elimination and labels leave, so that it ends soon, and after the same steps every time: the largest program that
  /// is tried, and the simplex iterations and branch-and-bound nodes that it may take; nil: no bound, and neighbourhoods are searched.
  var programLimit: ProgramLimit?
  /// Whether a choice found is moved to the least memory and the lowest strategies among those of its objective.
  var settlesTies = true

  package init(stop: StopCondition = StopCondition(), cutoff: Int64? = nil, reductions: Reductions = .all, bounds: Bounds = .all) {
    self.stop = stop
    self.cutoff = cutoff
    self.reductions = reductions
    self.bounds = bounds
  }

  /// See `programLimit`.
  struct ProgramLimit: Sendable {
    let columns: Int
    let iterations: Int
    let branchNodes: Int
  }

  /// The steps between presolve and GLPK. Turning one off changes the time and not the objective.
  package struct Bounds: OptionSet, Sendable {
    package let rawValue: Int
    package init(rawValue: Int) { self.rawValue = rawValue }

    /// Minimise with memory relaxed, exactly, by variable elimination.
    package static let elimination = Bounds(rawValue: 1 << 0)
    /// Price the memory rows and weigh the objective rows; needs `elimination`.
    package static let lagrangian = Bounds(rawValue: 1 << 1)
    /// Drop strategies whose bound reaches the best choice known; needs `elimination`.
    package static let strategyFixing = Bounds(rawValue: 1 << 2)
    /// Let strategies that an edge cannot tell apart share its marginals in the program that GLPK solves.
    package static let aggregation = Bounds(rawValue: 1 << 3)

    /// Solve what is left by elimination over Pareto sets, where they stay small enough, instead of GLPK; needs `elimination`.
    package static let labels = Bounds(rawValue: 1 << 4)

    /// Bound what is too large for elimination by message passing, round its messages to choices, and improve them by neighbourhoods.
    package static let messages = Bounds(rawValue: 1 << 5)

    package static let all: Bounds = [.elimination, .lagrangian, .strategyFixing, .aggregation, .labels, .messages]
  }
}

/// What solving a problem came to.
package struct Outcome: Sendable {
  package enum Status: Equatable, Sendable {
    /// `objective − lowerBound ≤ max(1, 10^-6 × |objective|)`, and below the cutoff.
    case optimal
    /// No choice is legal.
    case infeasible(Infeasibility)
    /// No legal choice is below the cutoff (there may be none at all).
    case cutoff
    /// The time limit struck (or costs differ by so many orders of magnitude that GLPK's precision leaves the gap open).
    case timeLimit
  }

  package enum Infeasibility: Equatable, Sendable {
    /// The forbidden entries leave no choice.
    case forbidden
    /// No choice uses less than `least` of this memory row.
    case memory(row: Int, least: Int64, limit: Int64)
    /// Each memory row can be held, but not all of them at once.
    case memoryTogether
    /// Some memory row is in the way; the time limit or the problem's size left open which, and by how much.
    case memoryUndetermined
  }

  package let status: Status
  /// A strategy for each node: the optimal one, or the best found within the time limit.
  package let choice: [Int]?
  /// The objective of `choice`, from `Problem.evaluate`.
  package let objective: Int64?
  /// No legal choice is below it (or, with status `cutoff`, no choice of interest).
  package let lowerBound: Int64
  package let statistics: SolveStatistics
  /// Wall-clock time; everything else is the same for the same input, unless the time limit struck.
  package let seconds: Double

  /// objective − lowerBound over the objective's magnitude; nil without a choice.
  package var gap: Double? {
    guard let objective else { return nil }
    return objective == lowerBound ? 0 : (Double(objective) - Double(lowerBound)) / max(1, abs(Double(objective)))
  }

  /// The largest difference between objective and bound that counts as proof.
  package static func tolerance(of objective: Int64) -> Int64 { max(1, Int64(1e-6 * abs(Double(objective)))) }
}

/// How much work a problem was: the same every time.
package struct SolveStatistics: Equatable, Sendable {
  package var nodes = 0
  package var strategies = 0
  package var presolvedNodes = 0
  package var presolvedStrategies = 0
  /// What was left for GLPK; 0 where it was not needed.
  package var programNodes = 0
  package var programStrategies = 0
  package var eliminations = 0
  package var labelSearches = 0
  package var messagePasses = 0
  package var neighbourhoods = 0
  package var memoryRowsAdded = 0
  package var programsSolved = 0
  package var branchNodes = 0
}
