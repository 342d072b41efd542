// SPDX-License-Identifier: GPL-3.0-or-later

/// The problem with its memory rows and its maximum relaxed into one sum, which elimination minimises exactly:
///
///     L(w, λ) = min_s  Σ_k w_k row_k(s) + Σ_r λ_r (usage_r(s) − limit_r)      w ≥ 0, Σ_k w_k = 1, λ ≥ 0
///
/// For every w and λ it is a lower bound: max_k row_k ≥ Σ_k w_k row_k, and the second sum is at most 0 where s is legal. All of it is computed in
/// integers, each term rounded down and the limits' part up, so that no rounding can make the bound too high.
struct Relaxation {
  let problem: Problem
  let plan: EliminationPlan
  private let totalUsages: [Int64]

  /// Nil where the tables of `plan` would be too large.
  init?(_ problem: Problem, largestTable: Int = 1 << 22, mostWork: Int = 1 << 28) {
    guard let plan = EliminationPlan(problem, largestTable: largestTable, mostWork: mostWork) else { return nil }
    self.problem = problem
    self.plan = plan
    var change = [Int64](repeating: 0, count: problem.limits.count + 1)
    for load in problem.loads {
      let most = problem.usages[load.start..<load.start + problem.strategyCount(of: load.node)].max() ?? 0
      change[load.rows.lowerBound] += most
      change[load.rows.upperBound] -= most
    }
    var total: Int64 = 0
    totalUsages = problem.limits.indices.map { row in
      total += change[row]
      return total
    }
  }

  struct Solution {
    /// L(w, λ), rounded down; `Problem.forbidden` or more where no choice is free of forbidden entries.
    let bound: Int64
    let choice: [Int]
    let elimination: Elimination
    /// What the tables' sums lack to the bound: offsets, less the priced limits.
    let constant: Int64

    /// For each strategy a lower bound of every legal choice that takes it.
    func boundsByStrategy() -> [Int64] {
      elimination.secondPass().byStrategy.map { $0 >= Problem.blocked ? Problem.forbidden : $0 + constant }
    }
  }

  /// - Parameters:
  ///   - weights: w, one for each objective row; scaled to add up to 1.
  ///   - multipliers: λ, by memory row, in cost per usage; rows that are absent have 0.
  func solve(weights: [Double], multipliers: [(row: Int, value: Double)]) -> Solution {
    let shares = Relaxation.shares(of: weights)
    // Together the penalties stay far enough below `blocked`.
    let room = 5e16 / Double(max(1, multipliers.count))
    let active = multipliers.compactMap { row, value -> (row: Int, factor: Dyadic)? in
      let factor = Dyadic(min(value, room / Double(max(1, totalUsages[row]))))
      return factor.significand == 0 ? nil : (row, factor)
    }
    var nodeCosts = combined(problem.nodeCosts, shares)
    for load in problem.loads {
      let start = problem.strategyStarts[load.node]
      for (row, factor) in active where load.rows.contains(row) {
        for strategy in 0..<problem.strategyCount(of: load.node) where nodeCosts[start + strategy] < Problem.forbidden {
          nodeCosts[start + strategy] += Int64(factor.timesRoundedDown(problem.usages[load.start + strategy]))
        }
      }
    }
    let edgeTables = edgeTables { combined($0, shares) }
    let elimination = Elimination(plan, nodeCosts: nodeCosts, edgeTables: edgeTables)
    var constant = Int128(combined(problem.offsets, shares)[0])
    for (row, factor) in active { constant -= factor.timesRoundedUp(problem.limits[row]) }
    let clamped = Int64(max(min(constant, Int128(Problem.blocked)), -Int128(Problem.forbidden)))
    let bound = elimination.minimum >= Problem.blocked ? Problem.forbidden : elimination.minimum + clamped
    return Solution(bound: bound, choice: elimination.minimiser(), elimination: elimination, constant: clamped)
  }

  /// Minimises the use of one memory row alone.
  func minimiseUsage(ofRow row: Int) -> Elimination {
    let rows = problem.objectiveRowCount
    var nodeCosts = (0..<problem.strategyCount).map { problem.nodeCosts[$0 * rows] >= Problem.forbidden ? Problem.forbidden : 0 }
    for load in problem.loads where load.rows.contains(row) {
      let start = problem.strategyStarts[load.node]
      for strategy in 0..<problem.strategyCount(of: load.node) where nodeCosts[start + strategy] < Problem.forbidden {
        nodeCosts[start + strategy] += problem.usages[load.start + strategy]
      }
    }
    let edgeTables = edgeTables { entries in
      stride(from: 0, to: entries.count, by: rows).map { entries[$0] >= Problem.forbidden ? Problem.forbidden : 0 }
    }
    return Elimination(plan, nodeCosts: nodeCosts, edgeTables: edgeTables)
  }

  /// For each edge the entries of its classes' representatives, combined over the objective rows.
  private func edgeTables(_ combine: ([Int64]) -> [Int64]) -> [[Int64]] {
    problem.edges.indices.map { edge in
      let ends = problem.edges[edge]
      let rows = problem.objectiveRowCount
      let width = problem.strategyCount(of: ends.head)
      var entries: [Int64] = []
      for p in plan.tailClasses[edge].representatives {
        for q in plan.headClasses[edge].representatives {
          let start = ends.start + (p * width + q) * rows
          entries.append(contentsOf: problem.edgeCosts[start..<start + rows])
        }
      }
      return combine(entries)
    }
  }

  private static let shareBits = 20

  /// Whole shares of 2^20 in the proportion of the weights.
  private static func shares(of weights: [Double]) -> [Int64] {
    let total = weights.reduce(0) { $0 + max(0, $1) }
    let one = Int64(1) << shareBits
    guard total > 0, total.isFinite else { return weights.indices.map { $0 == 0 ? one : 0 } }
    var shares = weights.map { Int64(max(0, $0) / total * Double(one)) }
    // What rounding down left goes to the largest.
    let largest = shares.indices.reduce(0) { shares[$1] > shares[$0] ? $1 : $0 }
    shares[largest] += one - shares.reduce(0, +)
    return shares
  }

  /// Σ_k w_k c_k of each entry, rounded down.
  private func combined(_ costs: [Int64], _ shares: [Int64]) -> [Int64] {
    let rows = shares.count
    guard rows > 1 else { return costs }
    return stride(from: 0, to: costs.count, by: rows).map { entry in
      guard costs[entry] < Problem.forbidden else { return Problem.forbidden }
      var sum: Int128 = 0
      for row in 0..<rows { sum += Int128(costs[entry + row]) * Int128(shares[row]) }
      return Int64(sum >> Int128(Relaxation.shareBits))
    }
  }
}

/// A non-negative double as a whole number over a power of two, so that its products with integers round in a known direction.
struct Dyadic {
  let significand: Int64
  let shift: Int

  /// The value itself; at most 2^52, and 0 where it is below 2^-60.
  init(_ value: Double) {
    let value = min(value, 0x1p52)
    guard value > 0x1p-60 else {
      (significand, shift) = (0, 0)
      return
    }
    significand = Int64(value.significand * 0x1p52)
    shift = 52 - Int(value.exponent)
  }

  func timesRoundedDown(_ factor: Int64) -> Int128 { (Int128(significand) * Int128(factor)) >> Int128(shift) }
  func timesRoundedUp(_ factor: Int64) -> Int128 { -((-Int128(significand) * Int128(factor)) >> Int128(shift)) }
}

extension Problem {
  /// The exact minimum of one objective row with its memory rows relaxed, and the choice that attains it.
  ///
  /// - Parameters:
  ///   - row: the objective row.
  ///   - multipliers: for each memory row the price λ ≥ 0 of a unit above its limit; empty: all 0. Any prices give a valid bound.
  /// - Returns: `bound` ≤ the objective of every legal choice (`Problem.forbidden` where every choice is forbidden); nil where the
  ///   elimination tables would hold more than `largestTable` entries.
  package func eliminationBound(row: Int = 0, multipliers: [Double] = [], largestTable: Int = 1 << 22) -> (bound: Int64, choice: [Int])? {
    precondition(offsets.indices.contains(row), "the objective row exists")
    precondition(multipliers.isEmpty || multipliers.count == limits.count, "one multiplier for each memory row")
    guard let relaxation = Relaxation(self, largestTable: largestTable) else { return nil }
    let weights = offsets.indices.map { $0 == row ? 1.0 : 0.0 }
    let solution = relaxation.solve(weights: weights, multipliers: multipliers.enumerated().map { (row: $0.offset, value: $0.element) })
    return (solution.bound, solution.choice)
  }
}
