// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

@testable import Search

/// Problems of a planner's size and shape.
@Suite struct BlockTests {
  /// Where memory binds, elimination over Pareto sets and GLPK agree.
  @Test(arguments: 1...4) func labelsAndGLPKAgreeWhereMemoryBinds(seed: Int) throws {
    let shape = BlockProblem(blocks: 2, choicesPerAxis: 3, objectiveRows: 1 + seed % 2, memoryRows: 1 + seed / 3, tightness: 0.1, seed: seed)
    let problem = try shape.problem()
    let full = try problem.solve()
    let byProgram = try problem.solve(SolveOptions(bounds: .all.subtracting(.labels)))
    #expect(full.status == .optimal && byProgram.status == .optimal)
    let objective = try #require(full.objective)
    #expect(objective == byProgram.objective)
    let choice = try #require(full.choice)
    #expect(problem.evaluate(choice).isLegal)
    // Memory binds: without it there is something cheaper.
    var unlimited = problem
    unlimited.limits = problem.limits.map { _ in Problem.largestSum }
    let free = try #require(unlimited.solve().objective)
    #expect(free < objective)
  }

  @Test func memoryThatNeverBindsNeedsNoGLPK() throws {
    let outcome = try BlockProblem(blocks: 3, choicesPerAxis: 3, tightness: 2).problem().solve()
    #expect(outcome.status == .optimal && outcome.statistics.programsSolved == 0 && outcome.statistics.labelSearches == 0)
  }

  /// Prints solve times: `TPPLAN_MEASURE=1 swift test -c release -Xswiftc -enable-testing --filter measureSolveTimes`.
  @Test(.enabled(if: ProcessInfo.processInfo.environment["TPPLAN_MEASURE"] != nil)) func measureSolveTimes() throws {
    let sizes = [(3, 4, 2), (5, 4, 2), (3, 6, 2), (6, 6, 2), (3, 5, 3)]
    let kinds = [(1, 1, 2.0), (1, 1, 0.5), (1, 1, 0.2), (1, 4, 0.2), (1, 1, 0.05), (3, 1, 2.0), (3, 1, 0.2), (3, 4, 0.1)]
    for (blocks, choices, axes) in sizes {
      for (rows, memoryRows, tightness) in kinds {
        let problem = try BlockProblem(
          blocks: blocks, choicesPerAxis: choices, axes: axes, objectiveRows: rows, memoryRows: memoryRows, tightness: tightness
        ).problem()
        let outcome = try problem.solve(SolveOptions(stop: StopCondition(after: .seconds(20))))
        #expect(outcome.status == .optimal)
        print(
          "\(problem.nodeCount) nodes × \(problem.strategyCount(of: 0)), K \(rows), \(memoryRows) memory rows, tightness \(tightness):",
          "\(outcome.status) \(String(format: "%.1f", outcome.seconds * 1000)) ms, \(outcome.statistics)")
      }
    }
  }
}
