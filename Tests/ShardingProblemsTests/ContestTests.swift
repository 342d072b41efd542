// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Search
import Testing

@testable import ShardingProblems

/// Real instances of the contest, which lie beside the package where there are any: `make bench-solve` solves all of them.
@Suite struct ContestTests {
  private static let folder = "../shared/iopddl"

  /// The least costs that are known, all proven.
  @Test(arguments: [("B", 532_843 as Int128), ("G", 217_039), ("P", 651_833_115_436)])
  func provenOptimaAreFoundInAnyOrder(name: String, cost: Int128) throws {
    let path = "\(Self.folder)/asplos-2025-iopddl-\(name).json.gz"
    guard FileManager.default.fileExists(atPath: path) else {
      print("skipped: there is no \(path); it comes from github.com/google/iopddl")
      return
    }
    let file = try ProblemFile(readingFrom: path)
    for file in [file, file.permuted(seed: 5)] {
      let solution = try file.solve(stop: StopCondition(after: .seconds(600)), threads: 2)
      #expect(solution.status == .optimal && solution.cost == cost && solution.lowerBound == cost)
      let choice = try #require(solution.choice)
      #expect(try file.problem().evaluate(choice).objective == cost)
    }
  }

  /// A hub with thousands of neighbours, ties, chains and memory at every moment takes seconds at most.
  @Test func aHubOfEightThousandNeighboursIsReducedQuickly() throws {
    var file = ProblemFile.empty
    let count = 8_000
    for node in 0...count {
      file.intervals.append((Int64(node), Int64(node) + 3))
      file.nodeCosts.append(node == 0 ? [5, 0, 7] : [Int64(node % 7), Int64(node % 5), Int64(node % 3)])
      file.nodeUsages.append([Int64(node % 11), 4, 3])
      guard node > 0 else { continue }
      file.edges.append((0, node))
      let far = Problem.forbidden
      file.edgeCosts.append(node % 2 == 0 ? [0, far, far, far, 1, far, far, far, 2] : [0, 3, 9, 4, 0, 1, 2, 2, 0])
    }
    file.usageLimit = 30
    let start = ContinuousClock.now
    let solution = try file.solve(stop: StopCondition(after: .seconds(120)), threads: 2)
    #expect(solution.status == .optimal && solution.gap == 0)
    #expect(ContinuousClock.now - start < .seconds(60))
    // With memory out of the way each neighbour answers the hub for itself.
    let least = (0..<3).map { hub in
      (1...count).reduce(file.nodeCosts.values[hub]) { sum, node in
        let costs = file.edgeCosts[node - 1]
        let answers = (0..<3).map { costs[costs.startIndex + hub * 3 + $0] }
        return sum + (zip(answers, file.nodeCosts[node]).map { $0 >= Problem.forbidden ? $0 : $0 + $1 }.min() ?? 0)
      }
    }
    #expect(solution.cost == least.min().map { Int128($0) })
  }
}
