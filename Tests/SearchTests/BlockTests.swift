// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

@testable import Search

/// Problems of a planner's size and shape.
@Suite struct BlockTests {
  @Test(.enabled(if: ProcessInfo.processInfo.environment["TPPLAN_MEASURE"] != nil)) func measureSolveTimes() throws {
    for (blocks, choices, axes) in [(3, 4, 2), (5, 4, 2), (3, 6, 2), (6, 6, 2), (3, 5, 3)] {
      for (rows, memoryRows, tightness) in [(1, 1, 2.0), (1, 1, 0.5), (1, 1, 0.2), (1, 4, 0.2), (1, 1, 0.05), (3, 1, 2.0), (3, 1, 0.2), (3, 4, 0.1)] {
        let problem = try BlockProblem(
          blocks: blocks, choicesPerAxis: choices, axes: axes, objectiveRows: rows, memoryRows: memoryRows, tightness: tightness
        ).problem()
        let outcome = try problem.solve(SolveOptions(timeLimit: .seconds(20)))
        print(
          "\(blocks * 10) nodes × \(problem.strategyCount(of: 0)), K \(rows), \(memoryRows) memory rows, tightness \(tightness):",
          "\(outcome.status) \(String(format: "%.1f", outcome.seconds * 1000)) ms, gap \(outcome.gap ?? .nan), \(outcome.statistics)")
      }
    }
  }
}
