// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A sharding problem as the ASPLOS 2025 / EuroSys 2025 contest on intra-operator parallelism writes it (github.com/google/iopddl):
///
///     {"problem": {"name": …,
///       "nodes": {"intervals": [[from, to), …], "costs": [[…], …], "usages": [[…], …]},
///       "edges": {"nodes": [[u, v], …], "costs": [[…], …]},
///       "usage_limit": N}}
///
/// Keys may come in any order; keys that the format does not have are passed over. The numbers lie in flat arrays.
package struct ProblemFile: Equatable, Sendable {
  /// Rows of different lengths, one after the other.
  package struct Rows: Equatable, Sendable {
    package var values: [Int64] = []
    package var starts: [Int] = [0]
    package var count: Int { starts.count - 1 }
    package subscript(row: Int) -> ArraySlice<Int64> { values[starts[row]..<starts[row + 1]] }
    package init() {}
    package mutating func append(_ row: [Int64]) {
      values += row
      starts.append(values.count)
    }
  }

  package var name: String?
  /// When each node is live, half open; nothing is live where `from` ≥ `to`.
  package var intervals: [(from: Int64, to: Int64)] = []
  package var nodeCosts = Rows()
  package var nodeUsages = Rows()
  package var edges: [(tail: Int, head: Int)] = []
  package var edgeCosts = Rows()
  package var usageLimit: Int64 = 0
  /// For messages.
  package var file = ""

  package static func == (a: Self, b: Self) -> Bool {
    a.name == b.name && a.nodeCosts == b.nodeCosts && a.nodeUsages == b.nodeUsages && a.edgeCosts == b.edgeCosts && a.usageLimit == b.usageLimit
      && a.intervals.elementsEqual(b.intervals, by: ==) && a.edges.elementsEqual(b.edges, by: ==)
  }

  /// A problem without nodes.
  static let empty = ProblemFile()
  private init() {}

  /// Reads a file, compressed by gzip or not; `-` is standard input.
  package init(readingFrom path: String) throws(ShardingProblemError) {
    let bytes: [UInt8]
    do { bytes = try readFile(path) } catch { throw .document(error) }
    try self.init(parsing: bytes, file: path == "-" ? "standard input" : path)
  }

  /// Parses the text of a file, or the compressed text.
  package init(parsing bytes: [UInt8], file: String) throws(ShardingProblemError) {
    self.file = file
    let text = Gzip.isGzip(bytes) ? try Gzip.decompressed(bytes, file: file, limit: 1 << 32) : bytes
    var failure: ShardingProblemError?
    text.withUnsafeBufferPointer { buffer in
      do throws(ShardingProblemError) { try read(buffer) } catch { failure = error }
    }
    if let failure { throw failure }
    try validate()
  }

  private mutating func read(_ buffer: UnsafeBufferPointer<UInt8>) throws(ShardingProblemError) {
    var scanner = Scanner(buffer, file: file)
    var parsed = self
    var keys = Set<String>()
    try scanner.object { (scanner, key) throws(ShardingProblemError) in
      guard key == "problem" else { return try scanner.skipValue() }
      keys.insert(key)
      try scanner.object { (scanner, key) throws(ShardingProblemError) in
        keys.insert("problem.\(key)")
        switch key {
        case "name": parsed.name = try scanner.string()
        case "usage_limit": parsed.usageLimit = try scanner.number()
        case "nodes":
          try scanner.object { (scanner, key) throws(ShardingProblemError) in
            keys.insert("problem.nodes.\(key)")
            switch key {
            case "intervals": parsed.intervals = try scanner.pairs().map { ($0, $1) }
            case "costs": parsed.nodeCosts = try scanner.rows()
            case "usages": parsed.nodeUsages = try scanner.rows()
            default: try scanner.skipValue()
            }
          }
        case "edges":
          try scanner.object { (scanner, key) throws(ShardingProblemError) in
            keys.insert("problem.edges.\(key)")
            switch key {
            case "nodes": parsed.edges = try scanner.pairs().map { (Int($0), Int($1)) }
            case "costs": parsed.edgeCosts = try scanner.rows()
            default: try scanner.skipValue()
            }
          }
        default: try scanner.skipValue()
        }
      }
    }
    try scanner.expectEnd()
    self = parsed
    for (path, key) in [
      ("", "problem"), ("problem", "nodes"), ("problem", "edges"), ("problem", "usage_limit"), ("problem.nodes", "intervals"),
      ("problem.nodes", "costs"), ("problem.nodes", "usages"), ("problem.edges", "nodes"), ("problem.edges", "costs"),
    ] where !keys.contains(path.isEmpty ? key : "\(path).\(key)") {
      throw .missingKey(file: file, path: path.isEmpty ? "$" : "$.\(path)", key: key)
    }
  }

  /// Checks what one part of the file says about another.
  private func validate() throws(ShardingProblemError) {
    func invalid(_ path: String, _ found: String, _ expected: String) -> ShardingProblemError {
      .invalid(file: file, path: "$.problem.\(path)", found: found, expected: expected)
    }
    // What nobody uses would exceed it.
    guard usageLimit >= 0 else { throw invalid("usage_limit", "\(usageLimit)", "0 or more") }
    let count = nodeCosts.count
    guard intervals.count == count else {
      throw invalid("nodes.intervals", "\(intervals.count) intervals", "\(count), one for each array of nodes.costs")
    }
    guard nodeUsages.count == count else {
      throw invalid("nodes.usages", "\(nodeUsages.count) arrays", "\(count), one for each array of nodes.costs")
    }
    for node in 0..<count {
      let strategies = nodeCosts[node].count
      guard strategies > 0 else { throw invalid("nodes.costs[\(node)]", "no strategies", "at least one") }
      guard nodeUsages[node].count == strategies else {
        throw invalid("nodes.usages[\(node)]", "\(nodeUsages[node].count) usages", "\(strategies), one for each cost of the node")
      }
      if let at = nodeUsages[node].firstIndex(where: { $0 < 0 }) {
        throw invalid("nodes.usages[\(node)][\(at - nodeUsages.starts[node])]", "\(nodeUsages.values[at])", "0 or more")
      }
    }
    guard edgeCosts.count == edges.count else {
      throw invalid("edges.costs", "\(edgeCosts.count) arrays", "\(edges.count), one for each pair of edges.nodes")
    }
    for (number, edge) in edges.enumerated() {
      for (end, node) in [edge.tail, edge.head].enumerated() where node < 0 || node >= count {
        throw invalid("edges.nodes[\(number)][\(end)]", "node \(node)", "0 to \(count - 1), as the problem has \(count) nodes")
      }
      let expected = nodeCosts[edge.tail].count * nodeCosts[edge.head].count
      guard edgeCosts[number].count == expected else {
        throw invalid(
          "edges.costs[\(number)]", "\(edgeCosts[number].count) costs",
          "\(expected), \(nodeCosts[edge.tail].count) strategies of node \(edge.tail) × \(nodeCosts[edge.head].count) of node \(edge.head)")
      }
    }
    try validateCosts(nodeCosts, path: "nodes.costs")
    try validateCosts(edgeCosts, path: "edges.costs")
  }

  /// Costs from 10^18 on are forbidden; as far below 0 there is no meaning.
  private func validateCosts(_ costs: Rows, path: String) throws(ShardingProblemError) {
    guard let at = costs.values.firstIndex(where: { $0 <= -1_000_000_000_000_000_000 }) else { return }
    let row = (0..<costs.count).first { costs.starts[$0 + 1] > at } ?? 0
    throw .invalid(
      file: file, path: "$.problem.\(path)[\(row)][\(at - costs.starts[row])]", found: "\(costs.values[at])",
      expected: "more than -10^18 (from 10^18 on: forbidden)")
  }
}

extension Scanner {
  /// An array of arrays of numbers.
  fileprivate mutating func rows() throws(ShardingProblemError) -> ProblemFile.Rows {
    var rows = ProblemFile.Rows()
    try array { (scanner, _) throws(ShardingProblemError) in
      try scanner.numbers(into: &rows.values)
      rows.starts.append(rows.values.count)
    }
    return rows
  }

  /// An array of pairs of numbers.
  fileprivate mutating func pairs() throws(ShardingProblemError) -> [(Int64, Int64)] {
    var pairs: [(Int64, Int64)] = []
    var pair: [Int64] = []
    try array { (scanner, _) throws(ShardingProblemError) in
      pair.removeAll(keepingCapacity: true)
      try scanner.numbers(into: &pair)
      guard pair.count == 2 else { throw scanner.failure(expected: "two numbers in each array here, not \(pair.count)") }
      pairs.append((pair[0], pair[1]))
    }
    return pairs
  }
}
