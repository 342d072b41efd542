// SPDX-License-Identifier: GPL-3.0-or-later

/// Collects nodes, loads and edges, and refuses what could not be solved exactly.
package struct ProblemBuilder {
  private var problem: Problem
  private var magnitudes: [Int64]
  private var usageMagnitude: Int64 = 0
  private let checksSums: Bool

  /// - Parameters:
  ///   - offsets: what each objective row has before any choice; one row unless more are given.
  ///   - limits: the limit of each memory row, in the unit of the usages.
  ///   - checksSums: whether to refuse what adds up to more than `Problem.largestSum`. Without, the problem must only be evaluated.
  /// - Throws: `SearchError` where there is no objective row or an offset is too large.
  package init(offsets: [Int64] = [0], limits: [Int64] = [], checksSums: Bool = true) throws(SearchError) {
    guard !offsets.isEmpty else { throw .noObjectiveRows }
    problem = Problem(offsets: offsets, limits: limits)
    self.checksSums = checksSums
    magnitudes = [Int64](repeating: 0, count: offsets.count)
    for (row, offset) in offsets.enumerated() {
      guard offset.magnitude <= Problem.largestSum.magnitude else { throw .sumOutOfRange(what: "offset of objective row \(row)") }
      magnitudes[row] = abs(offset)
    }
  }

  /// Adds a node and returns its number.
  /// - Parameter costs: one cost for each strategy; with K objective rows, K neighbouring costs for each strategy.
  package mutating func addNode(costs: [Int64]) throws(SearchError) -> Int {
    let rows = problem.offsets.count
    let node = problem.nodeCount
    guard !costs.isEmpty, costs.count.isMultiple(of: rows) else {
      throw .wrongCount(what: "costs of node \(node)", found: costs.count, expected: "a positive multiple of \(rows)")
    }
    problem.nodeCosts += try normalised(costs) { "node \(node)" }
    problem.strategyStarts.append(problem.strategyCount + costs.count / rows)
    return node
  }

  /// Adds `usages[s]` to every memory row of `rows` where `node` takes strategy s.
  package mutating func addLoad(node: Int, rows: Range<Int>, usages: [Int64]) throws(SearchError) {
    try check(node: node)
    guard rows.lowerBound >= 0, rows.upperBound <= problem.limits.count else { throw .unknownMemoryRows(rows, count: problem.limits.count) }
    guard usages.count == problem.strategyCount(of: node) else {
      throw .wrongCount(what: "usages of node \(node)", found: usages.count, expected: "\(problem.strategyCount(of: node))")
    }
    if let strategy = usages.firstIndex(where: { $0 < 0 }) { throw .negativeUsage(usages[strategy], node: node, strategy: strategy) }
    guard !rows.isEmpty, let largest = usages.max(), largest > 0 else { return }
    if checksSums {
      let (sum, overflow) = usageMagnitude.addingReportingOverflow(largest)
      guard !overflow, sum <= Problem.largestSum else { throw .sumOutOfRange(what: "usages up to node \(node)") }
      usageMagnitude = sum
    }
    problem.loads.append(Problem.Load(node: node, rows: rows, start: problem.usages.count))
    problem.usages += usages
  }

  /// Adds an edge; edges that join the same nodes, in either direction, add up.
  /// - Parameter costs: row-major, strategies of `tail` × strategies of `head`; with K objective rows, K neighbouring costs for each entry.
  package mutating func addEdge(_ tail: Int, _ head: Int, costs: [Int64]) throws(SearchError) {
    try check(node: tail)
    try check(node: head)
    guard tail != head else { throw .edgeToItself(node: tail) }
    let expected = problem.strategyCount(of: tail) * problem.strategyCount(of: head) * problem.offsets.count
    guard costs.count == expected else {
      throw .wrongCount(what: "costs of the edge from node \(tail) to node \(head)", found: costs.count, expected: "\(expected)")
    }
    let start = problem.edgeCosts.count
    problem.edgeCosts += try normalised(costs) { "edge from node \(tail) to node \(head)" }
    problem.edges.append(Problem.Edge(tail: tail, head: head, start: start))
  }

  /// The finished problem.
  package consuming func build() -> Problem { problem }

  private func check(node: Int) throws(SearchError) {
    guard node >= 0, node < problem.nodeCount else { throw .unknownNode(node, count: problem.nodeCount) }
  }

  /// The costs with every objective row of a forbidden entry forbidden, so that looking at one row is enough; counts their magnitude.
  private mutating func normalised(_ costs: [Int64], what: () -> String) throws(SearchError) -> [Int64] {
    let rows = problem.offsets.count
    let bound = Problem.forbidden
    var costs = costs
    var largest = [Int64](repeating: 0, count: rows)
    for entry in stride(from: 0, to: costs.count, by: rows) {
      var isForbidden = false
      for row in 0..<rows {
        guard costs[entry + row] <= bound, costs[entry + row] >= -bound else { throw .costOutOfRange(costs[entry + row], what: what()) }
        if costs[entry + row] == bound { isForbidden = true }
      }
      for row in 0..<rows {
        if isForbidden { costs[entry + row] = bound } else { largest[row] = max(largest[row], abs(costs[entry + row])) }
      }
    }
    for row in 0..<rows where checksSums {
      guard magnitudes[row] + largest[row] <= Problem.largestSum else { throw .sumOutOfRange(what: "costs up to \(what())") }
      magnitudes[row] += largest[row]
    }
    return costs
  }
}
