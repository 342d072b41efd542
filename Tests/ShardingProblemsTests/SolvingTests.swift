// SPDX-License-Identifier: GPL-3.0-or-later
import Search
import Testing

@testable import ShardingProblems

/// Against trying all choices, priced moment by moment by code that shares nothing with the solver.
@Suite struct SolvingTests {
  private func check(_ file: ProblemFile, least: Int128?, _ note: Comment) throws {
    let solution = try file.solve(stop: StopCondition(), threads: 2)
    guard let least else {
      #expect(solution.status == .infeasible && solution.choice == nil && solution.cost == nil, note)
      return
    }
    #expect(solution.status == .optimal && solution.cost == least && solution.lowerBound == least && solution.gap == 0, note)
    #expect(solution.choice.flatMap { file.priceByMoments($0) } == least, note)
  }

  @Test(arguments: 0..<300) func solveFindsTheLeastCost(seed: Int) throws {
    let file = randomFile(seed: seed)
    try check(file, least: file.leastCost(), "seed \(seed)")
  }

  @Test func randomFilesAreOfAllKinds() {
    let costs = (0..<300).map { randomFile(seed: $0).leastCost() }
    #expect(costs.filter { $0 == nil }.count > 30 && costs.filter { $0 != nil }.count > 150)
  }

  @Test(arguments: 0..<100) func anotherOrderOfNodesStrategiesAndEdgesCostsTheSame(seed: Int) throws {
    let file = randomFile(seed: 1_000 + seed)
    let least = file.leastCost()
    for order in 0..<3 { try check(file.permuted(seed: 100 * seed + order), least: least, "seed \(seed), order \(order)") }
  }

  /// What is too large to be tried costs the same in any order, too, and memory matters in it.
  @Test(arguments: 0..<6) func anotherOrderOfALargerProblemCostsTheSame(seed: Int) throws {
    let file = chainFile(seed: seed, count: 14)
    let solution = try file.solve(stop: StopCondition(), threads: 2)
    let least = try #require(solution.cost)
    try check(file, least: least, "seed \(seed)")
    for order in 0..<3 { try check(file.permuted(seed: 10 * seed + order), least: least, "seed \(seed), order \(order)") }
    var roomy = file
    roomy.usageLimit *= 2
    #expect(try #require(roomy.solve(stop: StopCondition(), threads: 1).cost) < least, "seed \(seed): the limit matters")
  }

  /// Sums of costs and of usages beyond what the solver adds up safely: a coarser unit leaves a gap, and a legal choice.
  @Test(arguments: 0..<60) func hugeNumbersLeaveALegalChoiceAndATrueBound(seed: Int) throws {
    var file = randomFile(seed: 2_000 + seed, scale: 33_333_333_333_333_333)
    file.nodeUsages.values = file.nodeUsages.values.map { $0 * 100_000_000_000_000_001 }
    // Rounding takes less than 10^12 of what the limit leaves.
    file.usageLimit = file.usageLimit * 100_000_000_000_000_001 + 1_000_000_000_000
    let least = file.leastCost()
    let solution = try file.solve(stop: StopCondition(), threads: 1)
    guard let least else {
      #expect(solution.choice == nil, "seed \(seed)")
      return
    }
    let cost = try #require(solution.cost, "seed \(seed)")
    #expect(solution.choice.flatMap { file.priceByMoments($0) } == cost, "seed \(seed)")
    #expect(solution.lowerBound ?? .max <= least && cost >= least, "seed \(seed)")
    #expect(cost - least <= least / 1_000_000, "seed \(seed)")
  }

  @Test func aLimitOfZeroAllowsOnlyWhatUsesNothing() throws {
    var file = randomFile(seed: 7)
    file.usageLimit = 0
    try check(file, least: file.leastCost(), "limit 0")
  }

  @Test func emptyIntervalsUseNothing() throws {
    var file = randomFile(seed: 11)
    file.usageLimit = 0
    file.intervals = file.intervals.map { ($0.from, $0.from) }
    let free = try #require(file.leastCost())
    try check(file, least: free, "all intervals empty")
  }

  @Test func noNodesCostNothing() throws {
    try check(ProblemFile.empty, least: 0, "no nodes")
  }

  @Test func aTimeLimitOfZeroGivesABoundAndWhatIsWrittenIsJSON() throws {
    let file = randomFile(seed: 3)
    let solution = try file.solve(stop: StopCondition(after: .zero), threads: 1)
    let least = try #require(file.leastCost())
    #expect(solution.lowerBound ?? .max <= least && solution.cost ?? least >= least)
    let text = ShardingSolution(status: .timeLimit, choice: [1, 0], cost: 4, lowerBound: 3).text
    #expect(text == "{\"cost\":4,\"gap\":0.25,\"lower_bound\":3,\"solution\":[1,0],\"status\":\"time_limit\"}\n")
    let infeasible = ShardingSolution(status: .infeasible).text
    #expect(infeasible == "{\"cost\":null,\"gap\":null,\"lower_bound\":null,\"solution\":null,\"status\":\"infeasible\"}\n")
  }
}
