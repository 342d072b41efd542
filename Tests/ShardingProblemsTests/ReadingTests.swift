// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Search
import Testing

@testable import ShardingProblems

@Suite struct ReadingTests {
  private let small = """
    {"problem": {"name": "two", "usage_limit": 7, "version": {"a": [1.5, null, "x\\""]},
      "nodes": {"intervals": [[0, 3], [2, 2]], "costs": [[1, 1e3], [1000000000000000000]], "usages": [[4, 0], [9]]},
      "edges": {"nodes": [[1, 0]], "costs": [[-2, 99999999999999999999]]}}, "comment": [true]}
    """

  /// gzip of `{"problem":{"edges":{"costs":[],"nodes":[]},"nodes":{"costs":[[5]],"intervals":[[0,1]],"usages":[[2]]},"usage_limit":3}}`.
  private let compressed = [UInt8](
    Data(
      base64Encoded:
        "H4sIAAAAAAAC/6tWKijKT8pJzVWyqlZKTUlPLQYxkvOLS4CM6Fgdpbz8lFQwsxbORshHm8YClWTmlaQWlSXmgEUMdAxBYqXFiWCzoqONYkFawfz4nMzczBIlK+PaWgCW30S4eAAAAA=="
    )
      ?? Data())

  @Test func keysComeInAnyOrderAndUnknownOnesArePassedOver() throws {
    let file = try ProblemFile(parsing: Array(small.utf8), file: "p.json")
    #expect(file.name == "two" && file.usageLimit == 7)
    #expect(Array(file.nodeCosts[0]) == [1, 1000] && Array(file.nodeCosts[1]) == [Problem.forbidden])
    #expect(Array(file.edgeCosts[0]) == [-2, .max] && file.edges[0] == (1, 0) && file.intervals[1] == (2, 2))
  }

  @Test(arguments: 0..<40) func whatIsWrittenIsRead(seed: Int) throws {
    let file = randomFile(seed: seed)
    #expect(try ProblemFile(parsing: Array(file.text.utf8), file: "") == file)
  }

  /// Each way to spoil the small problem, and what the message says.
  @Test(arguments: [
    ("[4, 0]", "[4]", "$.problem.nodes.usages[0]: found 1 usages, expected 2"),
    ("[-2, 9999", "[-2, 1, 9999", "$.problem.edges.costs[0]: found 3 costs, expected 2, 1 strategies of node 1 × 2 of node 0"),
    ("[[1, 0]]", "[[1, 2]]", "$.problem.edges.nodes[0][1]: found node 2, expected 0 to 1"),
    ("[[1, 0]]", "[[1]]", "two numbers in each array here, not 1"),
    ("[[1, 0]]", "[]", "$.problem.edges.costs: found 1 arrays, expected 0"),
    ("[[0, 3], [2, 2]]", "[[0, 3]]", "$.problem.nodes.intervals: found 1 intervals, expected 2"),
    ("[9]", "[-9]", "$.problem.nodes.usages[1][0]: found -9, expected 0 or more"),
    ("[9]", "[NaN]", "$.problem.nodes.usages[1][0], byte 191 of the text: found NaN, expected a whole number"),
    ("[9]", "[0.5]", "found 0.5, expected a whole number"), ("[9]", "[01]", "found 01, expected a whole number"),
    ("[9]", "[]", "$.problem.nodes.usages[1]: found 0 usages, expected 1"), ("[9]", "9", "found 9, expected an array of whole numbers"),
    ("[1, 1e3]", "[1, -1e18]", "$.problem.nodes.costs[0][1]: found -1000000000000000000, expected more than -10^18"),
    ("\"usage_limit\"", "\"limit\"", "$.problem: the key \"usage_limit\" is missing"),
    ("\"usage_limit\": 7", "\"usage_limit\": -1", "$.problem.usage_limit: found -1, expected 0 or more"),
    ("\"name\"", "\"nodes\"", "expected an object"), ("\"version\"", "\"usage_limit\"", "the key \"usage_limit\" occurs twice"),
    ("\"comment\": [true]}", "\"comment\": [true]", "found the end of the file, expected ',' or '}'"),
    ("\"comment\": [true]}", "\"comment\": [true]} 1", "found 1, expected the end of the file"), ("\"x\\\"\"", "\"x\\\"", "expected"),
    ("[true]", "[treu]", "found treu, expected a JSON value"),
    ("[[1, 1e3], [1000000000000000000]]", "[[], [1]]", "$.problem.nodes.costs[0]: found no strategies"),
  ])
  func aSpoiltFileIsRefusedByPlace(old: String, new: String, message: String) throws {
    let spoilt = small.replacingOccurrences(of: old, with: new)
    #expect(spoilt != small)
    let error = try #require(throws: ShardingProblemError.self) { try ProblemFile(parsing: Array(spoilt.utf8), file: "p.json") }
    #expect(error.description.contains(message) && error.description.hasPrefix("p.json: ") && error.exitCode == 65, "\(error)")
  }

  /// No prefix of a file is a file, and none is a crash.
  @Test func everyPrefixIsRefused() {
    let bytes = Array(small.utf8)
    for count in 0..<bytes.count - 1 {
      #expect(throws: ShardingProblemError.self) { try ProblemFile(parsing: Array(bytes.prefix(count)), file: "") }
    }
  }

  @Test func compressedFilesAreRead() throws {
    let file = try ProblemFile(parsing: compressed, file: "p.json.gz")
    #expect(Array(file.nodeCosts[0]) == [5] && file.usageLimit == 3)
    // Two members in a row are one text: here one problem too many.
    #expect(throws: ShardingProblemError.self) { try ProblemFile(parsing: compressed + compressed, file: "p.json.gz") }
    // Zeros after the last member are padding.
    #expect(try ProblemFile(parsing: compressed + [0, 0, 0], file: "p.json.gz") == file)
  }

  @Test func damagedCompressionIsNamed() throws {
    for count in 2..<compressed.count {
      let error = try #require(throws: ShardingProblemError.self) { try ProblemFile(parsing: Array(compressed.prefix(count)), file: "p.json.gz") }
      #expect(error.description.contains("not a whole gzip file"), "\(error)")
    }
    for index in 10..<compressed.count {
      var damaged = compressed
      damaged[index] ^= 0x5a
      #expect(throws: ShardingProblemError.self) { try ProblemFile(parsing: damaged, file: "p.json.gz") }
    }
  }

  @Test func deepNestingIsRefused() {
    let text = "{\"x\": " + String(repeating: "[", count: 100_000)
    #expect(throws: ShardingProblemError.self) { try ProblemFile(parsing: Array(text.utf8), file: "") }
  }
}
