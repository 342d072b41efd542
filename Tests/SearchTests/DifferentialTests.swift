// SPDX-License-Identifier: GPL-3.0-or-later
import TestSupport
import Testing

@testable import Search

/// Every solver path against trying all choices.
@Suite struct DifferentialTests {
  /// Checks an outcome against the exhaustive optimum.
  private func check(_ outcome: Outcome, _ problem: Problem, optimum: Int64?, _ note: Comment) {
    guard let optimum else {
      guard case .infeasible = outcome.status else {
        Issue.record("\(note): \(outcome.status), expected infeasible")
        return
      }
      #expect(outcome.choice == nil, note)
      return
    }
    #expect(outcome.status == .optimal, note)
    #expect(outcome.objective == optimum, note)
    #expect(outcome.lowerBound <= optimum, note)
    guard let choice = outcome.choice else { return }
    let evaluation = problem.evaluate(choice)
    #expect(evaluation.isLegal, note)
    #expect(evaluation.objective == Int128(optimum), note)
  }

  @Test(arguments: 0..<600) func solveFindsTheExhaustiveOptimum(seed: Int) throws {
    let problem = try randomProblem(seed: seed)
    check(try problem.solve(), problem, optimum: exhaustiveOptimum(problem), "seed \(seed)")
  }

  /// The random problems are worth testing on: many are feasible, many are not, and many have memory rows that bind.
  @Test func randomProblemsAreOfAllKinds() throws {
    let problems = try (0..<300).map { try randomProblem(seed: $0) }
    let optima = problems.map { exhaustiveOptimum($0) }
    #expect(optima.filter { $0 == nil }.count > 30)
    #expect(optima.filter { $0 != nil }.count > 100)
    let binding = zip(problems, optima).filter { problem, optimum in
      var unlimited = problem
      unlimited.limits = problem.limits.map { _ in Problem.largestSum }
      return optimum != nil && exhaustiveOptimum(unlimited) != optimum
    }
    #expect(binding.count > 20)
  }

  @Test(arguments: 0..<60) func turningAnyStepOffChangesNothing(seed: Int) throws {
    let problem = try randomProblem(seed: 10_000 + seed)
    let optimum = exhaustiveOptimum(problem)
    for bit in 0..<8 {
      let options = SolveOptions(reductions: Reductions.all.subtracting(Reductions(rawValue: 1 << bit)))
      check(try problem.solve(options), problem, optimum: optimum, "seed \(seed) without reduction \(bit)")
    }
    for bit in 0..<6 {
      let options = SolveOptions(bounds: SolveOptions.Bounds.all.subtracting(SolveOptions.Bounds(rawValue: 1 << bit)))
      check(try problem.solve(options), problem, optimum: optimum, "seed \(seed) without bound \(bit)")
    }
  }

  /// Without presolve, GLPK alone decides, or elimination over Pareto sets, or bounds and GLPK together.
  @Test(arguments: 0..<150) func eachSolverAloneFindsTheExhaustiveOptimum(seed: Int) throws {
    let problem = try randomProblem(seed: 20_000 + seed, largestNodeCount: 5)
    let optimum = exhaustiveOptimum(problem)
    let paths: [SolveOptions.Bounds] = [
      [], [.aggregation], [.elimination, .labels], [.elimination, .lagrangian, .strategyFixing], [.messages], [.messages, .aggregation],
    ]
    for bounds in paths {
      check(try problem.solve(SolveOptions(reductions: [], bounds: bounds)), problem, optimum: optimum, "seed \(seed)")
    }
  }

  @Test(arguments: 0..<150) func cutoffKeepsExactlyWhatIsBelowIt(seed: Int) throws {
    let problem = try randomProblem(seed: 30_000 + seed)
    guard let optimum = exhaustiveOptimum(problem) else { return }
    let above = try problem.solve(SolveOptions(cutoff: optimum + 1))
    check(above, problem, optimum: optimum, "seed \(seed), cutoff above")
    let at = try problem.solve(SolveOptions(cutoff: optimum))
    #expect(at.status == .cutoff, "seed \(seed)")
    #expect(at.choice == nil && at.lowerBound == optimum, "seed \(seed)")
  }

  @Test(arguments: 0..<150) func eliminationBoundsFromBelow(seed: Int) throws {
    let problem = try randomProblem(seed: 40_000 + seed)
    guard let optimum = exhaustiveOptimum(problem) else { return }
    var random = SeededGenerator(seed: seed)
    for row in 0..<problem.objectiveRowCount {
      let multipliers = problem.limits.map { _ in Double.random(in: 0...3, using: &random) }
      for multipliers in [[], multipliers] {
        let bound = try #require(problem.eliminationBound(row: row, multipliers: multipliers))
        #expect(bound.bound <= optimum, "seed \(seed), row \(row)")
      }
    }
  }

  /// Without memory and with one objective row the relaxation is the problem.
  @Test(arguments: 0..<100) func eliminationIsExactWithoutMemory(seed: Int) throws {
    var problem = try randomProblem(seed: 50_000 + seed)
    guard problem.objectiveRowCount == 1 else { return }
    problem.loads = []
    let bound = try #require(problem.eliminationBound())
    guard let optimum = exhaustiveOptimum(problem) else {
      #expect(bound.bound >= Problem.forbidden, "seed \(seed)")
      return
    }
    #expect(bound.bound == optimum, "seed \(seed)")
    #expect(problem.evaluate(bound.choice).objective == Int128(optimum), "seed \(seed)")
  }

  /// The bound of a strategy is the least cost of a choice that takes it.
  @Test(arguments: 0..<60) func boundsByStrategyAreMinimaOverItsChoices(seed: Int) throws {
    var problem = try randomProblem(seed: 60_000 + seed, largestNodeCount: 5)
    guard problem.objectiveRowCount == 1 else { return }
    problem.loads = []
    let bounds = try #require(Relaxation(problem)).solve(weights: [1], multipliers: []).boundsByStrategy()
    for node in 0..<problem.nodeCount {
      for strategy in 0..<problem.strategyCount(of: node) {
        let pinned = exhaustiveOptimum(problem.restricting(node: node, to: [strategy]))
        #expect(bounds[problem.strategyStarts[node] + strategy] == pinned ?? Problem.forbidden, "seed \(seed), node \(node), strategy \(strategy)")
      }
    }
  }

  @Test(arguments: 0..<100) func presolveKeepsTheOptimumAndExpandsChoices(seed: Int) throws {
    let problem = try randomProblem(seed: 70_000 + seed)
    let optimum = exhaustiveOptimum(problem)
    var presolve = Presolve(problem, reductions: .all, cutoff: nil)
    guard presolve.run() else {
      #expect(optimum == nil, "seed \(seed)")
      return
    }
    let (reduced, reconstruction, _) = presolve.result()
    #expect(exhaustiveOptimum(reduced) == optimum, "seed \(seed)")
    // Any choice of the reduced problem costs the same, in every row, and is as legal as the choice it stands for.
    var random = SeededGenerator(seed: seed)
    for _ in 0..<20 {
      let choice = (0..<reduced.nodeCount).map { Int.random(in: 0..<reduced.strategyCount(of: $0), using: &random) }
      let (before, after) = (reduced.evaluate(choice), problem.evaluate(reconstruction.expand(choice)))
      #expect(before.isLegal == after.isLegal, "seed \(seed)")
      if before.isLegal { #expect(before.rowValues == after.rowValues, "seed \(seed)") }
    }
  }

  @Test(arguments: 0..<60) func minimumUsageIsTheLeastOverAllowedChoices(seed: Int) throws {
    let problem = try randomProblem(seed: 80_000 + seed, largestNodeCount: 5)
    for row in problem.limits.indices {
      #expect(try problem.minimumUsage(ofRow: row) == exhaustiveOptimum(problem.minimisingUsage(ofRow: row)), "seed \(seed), row \(row)")
    }
  }

  @Test(arguments: 0..<40) func hugeCostsStayWithinTheTolerance(seed: Int) throws {
    let problem = try randomProblem(seed: 90_000 + seed, scale: 500_000_000_000_003)
    let optimum = exhaustiveOptimum(problem)
    let outcome = try problem.solve()
    guard let optimum else {
      #expect(outcome.choice == nil, "seed \(seed)")
      return
    }
    let objective = try #require(outcome.objective)
    #expect(outcome.status == .optimal, "seed \(seed)")
    #expect(objective >= optimum && objective - optimum <= Outcome.tolerance(of: objective), "seed \(seed)")
  }

  @Test(arguments: 0..<40) func sameInputSameOutput(seed: Int) throws {
    let problem = try randomProblem(seed: 95_000 + seed)
    let (first, second) = (try problem.solve(), try problem.solve())
    #expect(first.choice == second.choice && first.statistics == second.statistics && first.lowerBound == second.lowerBound, "seed \(seed)")
  }
}
