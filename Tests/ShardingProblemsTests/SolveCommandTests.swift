// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Foundation
import Search
import Testing

@testable import ShardingProblems
@testable import tpplan

/// `tpplan solve` on input at the edge of what the format allows: what it writes, and the exit codes that scripts rely on.
@Suite struct SolveCommandTests {
  /// Runs the command on a file with this text; the exit code, the message and what was written.
  private func solve(_ text: String, _ arguments: String...) throws -> (code: Int32, message: String, written: String?) {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let (problem, output) = (folder.appendingPathComponent("p.json"), folder.appendingPathComponent("s.json"))
    try Data(text.utf8).write(to: problem)
    var (code, message): (Int32, String) = (0, "")
    do {
      let command = try SolveCommand.parse([problem.path, "-o", output.path] + arguments)
      try command.run()
    } catch {
      let failure = try #require(error as? Failure ?? Failure(error), "\(error)")
      (code, message) = (failure.code, failure.message)
    }
    return (code, message, try? String(contentsOf: output, encoding: .utf8))
  }

  private func text(costs: String, usages: String = "[[1,2],[2,1]]", edge: String = "[0,0,0,0]", limit: String = "3") -> String {
    """
    {"problem":{"name":"p","nodes":{"intervals":[[0,2],[1,3]],"costs":\(costs),"usages":\(usages)},\
    "edges":{"nodes":[[0,1]],"costs":[\(edge)]},"usage_limit":\(limit)}}
    """
  }

  private let empty = #"{"problem":{"nodes":{"intervals":[],"costs":[],"usages":[]},"edges":{"nodes":[],"costs":[]},"usage_limit":0}}"#

  @Test func anEmptyProblemIsSolvedByNothing() throws {
    let result = try solve(empty)
    #expect(result.code == 0 && result.written == "{\"cost\":0,\"gap\":0,\"lower_bound\":0,\"solution\":[],\"status\":\"optimal\"}\n")
  }

  @Test func costsOfZeroAreOptimalWithoutAGap() throws {
    let result = try solve(text(costs: "[[0,0],[0,0]]"))
    #expect(result.code == 0 && result.written?.hasPrefix("{\"cost\":0,\"gap\":0,\"lower_bound\":0,") == true)
  }

  /// Costs above 10^15, up to the last one that is not forbidden, are added up exactly.
  @Test func costsBeyondTenToTheFifteenthAreExact() throws {
    let result = try solve(
      text(costs: "[[2000000000000000,100000000000000000],[50000000000000000,1000000000000001]]", edge: "[0,3,1,999999999999999999]"))
    #expect(result.code == 0 && result.written?.contains("\"cost\":3000000000000004,") == true)
    #expect(result.written?.contains("\"solution\":[0,1],\"status\":\"optimal\"") == true)
    // Their sum is beyond 64 bits.
    let count = 50
    func list(_ count: Int, _ item: String) -> String { "[\([String](repeating: item, count: count).joined(separator: ","))]" }
    let large = """
      {"problem":{"nodes":{"intervals":\(list(count, "[0,1]")),"costs":\(list(count, "[900000000000000000,900000000000000007]")),\
      "usages":\(list(count, "[0,0]"))},"edges":{"nodes":[],"costs":[]},"usage_limit":1}}
      """
    #expect(try solve(large).written?.hasPrefix("{\"cost\":45000000000000000000,") == true)
  }

  @Test(arguments: ["0", "0s", "0ms"]) func aTimeLimitOfZeroEndsAtOnce(limit: String) throws {
    // Presolve alone solves the empty problem; on the other one nothing is claimed that was not found.
    #expect(try solve(empty, "--time-limit", limit).code == 0)
    let result = try solve(chainFile(seed: 1, count: 30).text, "--time-limit", limit)
    #expect(result.code == 3 && result.message.contains("within \(limit), and none was excluded. Give more time with --time-limit"))
    #expect(result.written?.contains("\"solution\":null,\"status\":\"time_limit\"") == true)
  }

  @Test(arguments: ["1e9", "1e30", "1e300h"]) func aTimeLimitBeyondAllClocksIsNone(limit: String) throws {
    #expect(try solve(text(costs: "[[1,2],[3,4]]"), "--time-limit", limit).code == 0)
  }

  @Test(arguments: ["-1", "nan", "inf", "soon", "1e400"]) func whatIsNoTimeIsAUsageError(limit: String) throws {
    let result = try solve(text(costs: "[[1,2],[3,4]]"), "--time-limit=\(limit)")
    #expect(result.code == 64 && result.message.contains("--time-limit \(limit): expected a time such as 30s") && result.written == nil)
  }

  @Test func whatIsInfeasibleSaysWhy() throws {
    let far = "1000000000000000000"
    let forbidden = try solve(text(costs: "[[\(far),\(far)],[1,2]]"))
    #expect(forbidden.code == 2 && forbidden.message.contains("no choice is legal: every choice has a forbidden entry"))
    let full = try solve(text(costs: "[[1,2],[3,4]]", limit: "1"))
    #expect(full.code == 2 && full.message.contains("every choice uses at least 2, and usage_limit leaves 1"))
    #expect(full.written?.hasSuffix("\"solution\":null,\"status\":\"infeasible\"}\n") == true)
  }

  @Test(arguments: [
    ("", "found the end of the file"), ("[]", "found '[', expected an object"), ("{}", "the key \"problem\" is missing"),
    (#"{"problem":{}}"#, "the key \"nodes\" is missing"),
  ])
  func whatIsNoProblemIsRefused(text: String, message: String) throws {
    let result = try solve(text)
    #expect(result.code == 65 && result.message.contains(message) && result.written == nil, "\(result)")
  }

  @Test func aLimitBelowZeroAndCostsWithoutMeaningAreRefused() throws {
    let limit = try solve(text(costs: "[[1,2],[3,4]]", limit: "-1"))
    #expect(limit.code == 65 && limit.message.contains("$.problem.usage_limit: found -1, expected 0 or more"))
    let cost = try solve(text(costs: "[[1,-1000000000000000000],[3,4]]"))
    #expect(cost.code == 65 && cost.message.contains("$.problem.nodes.costs[0][1]: found -1000000000000000000"))
    #expect(try solve(text(costs: "[[1,0.5],[3,4]]")).code == 65)
  }

  @Test func whereNothingCanBeReadOrWrittenItSaysSo() throws {
    let missing = try #require(throws: (any Error).self) { try SolveCommand.parse(["/nonexistent/p.json"]).run() }
    #expect(Failure(missing)?.code == 65)
    let result = try solve(text(costs: "[[1,2],[3,4]]"), "-o", "/nonexistent/s.json")
    #expect(result.code == 73 && result.message.contains("/nonexistent/s.json"))
  }
}
