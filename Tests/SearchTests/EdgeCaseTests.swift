// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

@testable import Search

@Suite struct EdgeCaseTests {
  @Test func aProblemWithoutNodesCostsItsOffset() throws {
    let outcome = try ProblemBuilder(offsets: [7, 9], limits: [0]).build().solve()
    #expect(outcome.status == .optimal && outcome.objective == 9 && outcome.choice == [] && outcome.lowerBound == 9)
  }

  @Test func aProblemWithoutNodesCanBeInfeasible() throws {
    let outcome = try ProblemBuilder(limits: [-1]).build().solve()
    #expect(outcome.status == .infeasible(.memory(row: 0, least: 0, limit: -1)))
  }

  @Test func oneNodeTakesItsLeastCost() throws {
    var builder = try ProblemBuilder()
    _ = try builder.addNode(costs: [3, 1, 2])
    let outcome = try builder.build().solve()
    #expect(outcome.choice == [1] && outcome.objective == 1 && outcome.gap == 0)
  }

  @Test func oneForbiddenNodeIsInfeasible() throws {
    var builder = try ProblemBuilder()
    _ = try builder.addNode(costs: [Problem.forbidden, Problem.forbidden])
    let outcome = try builder.build().solve()
    #expect(outcome.status == .infeasible(.forbidden) && outcome.choice == nil)
  }

  @Test func zeroCostsAreOptimalAtZeroAndTiesTakeTheLowestStrategies() throws {
    var builder = try ProblemBuilder()
    for _ in 0..<4 { _ = try builder.addNode(costs: [0, 0, 0]) }
    try builder.addEdge(0, 1, costs: [Int64](repeating: 0, count: 9))
    let outcome = try builder.build().solve()
    #expect(outcome.objective == 0 && outcome.choice == [0, 0, 0, 0])
  }

  @Test func tiesTakeLessMemory() throws {
    var builder = try ProblemBuilder(limits: [100])
    let node = try builder.addNode(costs: [5, 5, 6])
    try builder.addLoad(node: node, rows: 0..<1, usages: [9, 4, 0])
    #expect(try builder.build().solve().choice == [1])
  }

  @Test func infeasibilitySaysByHowMuch() throws {
    var builder = try ProblemBuilder(limits: [10, 10])
    for _ in 0..<3 {
      let node = try builder.addNode(costs: [1, 2])
      try builder.addLoad(node: node, rows: 1..<2, usages: [9, 5])
    }
    #expect(try builder.build().solve().status == .infeasible(.memory(row: 1, least: 15, limit: 10)))
    #expect(try builder.build().minimumUsage(ofRow: 1) == 15)
  }

  @Test func rowsThatHoldOnlySinglyAreInfeasibleTogether() throws {
    var builder = try ProblemBuilder(limits: [5, 5])
    let node = try builder.addNode(costs: [1, 2])
    try builder.addLoad(node: node, rows: 0..<1, usages: [9, 5])
    try builder.addLoad(node: node, rows: 1..<2, usages: [5, 9])
    #expect(try builder.build().solve().status == .infeasible(.memoryTogether))
  }

  @Test func aTimeLimitOfZeroReturnsAValidBound() throws {
    let problem = try BlockProblem(blocks: 2, tightness: 0.3).problem()
    let limited = try problem.solve(SolveOptions(stop: StopCondition(after: .zero)))
    let optimum = try #require(problem.solve().objective)
    #expect(limited.status == .timeLimit)
    #expect(limited.lowerBound <= optimum)
    #expect(limited.objective ?? optimum >= optimum)
  }

  @Test func pinsKeepNumbersAndHold() throws {
    let problem = try BlockProblem(blocks: 1).problem()
    let pinned = problem.restricting(node: 3, to: [5])
    #expect(try pinned.solve().choice?[3] == 5)
  }

  @Test func evaluateNamesTheFirstViolation() throws {
    var builder = try ProblemBuilder(offsets: [1, 2], limits: [10, 3])
    let a = try builder.addNode(costs: [1, 10, Problem.forbidden, 0])
    let b = try builder.addNode(costs: [2, 20])
    try builder.addLoad(node: a, rows: 0..<2, usages: [5, 0])
    try builder.addEdge(a, b, costs: [100, 200, 1, 1])
    let problem = builder.build()
    let evaluation = problem.evaluate([0, 0])
    #expect(evaluation.rowValues == [104, 232] && evaluation.objective == 232)
    #expect(evaluation.memory == [5, 5] && evaluation.violation == .memory(row: 1, excess: 2))
    #expect(problem.evaluate([1, 0]).violation == .forbiddenStrategy(node: 0))
    #expect(problem.evaluate([1, 0]).rowValues[1] == 2 + Int128(Problem.forbidden) + 21)
  }

  @Test func theBuilderRefusesWhatCannotBeSolved() throws {
    #expect(throws: SearchError.noObjectiveRows) { try ProblemBuilder(offsets: []) }
    var builder = try ProblemBuilder(offsets: [0, 0], limits: [1])
    _ = try builder.addNode(costs: [1, 1])
    #expect(throws: SearchError.wrongCount(what: "costs of node 1", found: 3, expected: "a positive multiple of 2")) {
      try builder.addNode(costs: [1, 2, 3])
    }
    #expect(throws: SearchError.costOutOfRange(Problem.forbidden + 1, what: "node 1")) { try builder.addNode(costs: [Problem.forbidden + 1, 0]) }
    #expect(throws: SearchError.sumOutOfRange(what: "costs up to node 1")) { try builder.addNode(costs: [Problem.largestSum, 0]) }
    #expect(throws: SearchError.unknownNode(7, count: 1)) { try builder.addEdge(0, 7, costs: []) }
    #expect(throws: SearchError.edgeToItself(node: 0)) { try builder.addEdge(0, 0, costs: [1, 1]) }
    #expect(throws: SearchError.unknownMemoryRows(0..<2, count: 1)) { try builder.addLoad(node: 0, rows: 0..<2, usages: [1]) }
    #expect(throws: SearchError.negativeUsage(-1, node: 0, strategy: 0)) { try builder.addLoad(node: 0, rows: 0..<1, usages: [-1]) }
  }

  @Test func theProgramIsWrittenWithReadableNames() throws {
    var builder = try ProblemBuilder(offsets: [3], limits: [10])
    let a = try builder.addNode(costs: [1, 2])
    let b = try builder.addNode(costs: [5, Problem.forbidden])
    try builder.addLoad(node: a, rows: 0..<1, usages: [4, 0])
    try builder.addEdge(a, b, costs: [7, 8, 9, 1])
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString).lp").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try builder.build().writeLP(to: path) { ["qkv", "out"][$0] }
    let text = try String(contentsOfFile: path, encoding: .utf8)
    let lines = ["one_qkv: + x_qkv_1 + x_qkv_0 = 1", "memory_0: + 4 x_qkv_0 <= 10", "tail_qkv_out_0_0: - x_qkv_0 + y_qkv_out_0_0_1", "+ 3 offset"]
    for line in lines {
      #expect(text.contains(line), "\(line) in \(text)")
    }
    #expect(throws: SearchError.cannotWrite(path: "/nonexistent/p.lp")) { try builder.build().writeLP(to: "/nonexistent/p.lp") }
  }

  /// Objective rows of large costs are written in a larger unit, digit for digit; the objective is what it was.
  @Test func largeObjectiveRowsAreWrittenInALargerUnit() throws {
    var builder = try ProblemBuilder(offsets: [30_000_000_000, 0])
    _ = try builder.addNode(costs: [12_345_678_901, 7, 2, 40_000_000_003])
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString).lp").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try builder.build().writeLP(to: path) { "node\($0)" }
    let text = try String(contentsOfFile: path, encoding: .utf8)
    for line in ["obj: + 100000 T", "x_node0_0 <= -300000", "123456.78901 x_node0_0", "400000.00003 x_node0_1", "2e-05 x_node0_1"] {
      #expect(text.contains(line), "\(line) in \(text)")
    }
  }

  /// GLPK would abort the process on a column that does not exist; here it is an error, and GLPK can be used again.
  @Test func aFatalErrorInGLPKIsThrown() throws {
    var program = LinearProgram()
    let x = program.add(.init(kind: .binary, cost: 1))
    program.rows = [.equal(1, [(x + 5, 1)])]
    #expect(throws: SearchError.solverFailed(function: "glp_load_matrix", code: 1)) { _ = try GLPK(program) }
    program.rows = [.equal(1, [(x, 1)])]
    var glpk = try GLPK(program)
    #expect(try glpk.solveInteger(stop: StopCondition(), stopsAt: .infinity).objective == 1)
  }
}
