// SPDX-License-Identifier: GPL-3.0-or-later
import TestSupport

@testable import Search

/// A small problem of random shape: parallel edges, ties, forbidden entries, several objective and memory rows, loads that overlap.
func randomProblem(seed: Int, largestNodeCount: Int = 6, scale: Int64 = 1) throws -> Problem {
  var random = SeededGenerator(seed: seed)
  let objectiveRows = Int.random(in: 1...3, using: &random)
  let memoryRows = Int.random(in: 0...3, using: &random)
  let nodeCount = Int.random(in: 1...largestNodeCount, using: &random)
  let forbiddenShare = [0.0, 0.05, 0.2][Int.random(in: 0...2, using: &random)]
  let counts = (0..<nodeCount).map { _ in Int.random(in: 1...4, using: &random) }
  let tightness = Double.random(in: 0.35...1.1, using: &random)
  func entry(_ range: ClosedRange<Int64>) -> [Int64] {
    if random.chance(forbiddenShare) { return [Int64](repeating: Problem.forbidden, count: objectiveRows) }
    return (0..<objectiveRows).map { _ in scale * Int64.random(in: range, using: &random) }
  }
  var usages: [(node: Int, rows: Range<Int>, values: [Int64])] = []
  for node in 0..<nodeCount where memoryRows > 0 {
    for _ in 0..<Int.random(in: 0...2, using: &random) {
      let from = Int.random(in: 0..<memoryRows, using: &random)
      let to = Int.random(in: from...memoryRows, using: &random)
      usages.append((node, from..<to, (0..<counts[node]).map { _ in Int64.random(in: 0...9, using: &random) }))
    }
  }
  let limits = (0..<memoryRows).map { row in
    let most = usages.filter { $0.rows.contains(row) }.reduce(Int64(0)) { $0 + ($1.values.max() ?? 0) }
    return Int64(Double(most) * tightness)
  }
  let offsets = (0..<objectiveRows).map { _ in scale * Int64.random(in: -20...20, using: &random) }
  var builder = try ProblemBuilder(offsets: offsets, limits: limits)
  for count in counts { _ = try builder.addNode(costs: (0..<count).flatMap { _ in entry(-5...20) }) }
  for usage in usages { try builder.addLoad(node: usage.node, rows: usage.rows, usages: usage.values) }
  guard nodeCount > 1 else { return builder.build() }
  for _ in 0..<Int.random(in: 0...2 * nodeCount, using: &random) {
    let tail = Int.random(in: 0..<nodeCount, using: &random)
    let head = (tail + Int.random(in: 1..<nodeCount, using: &random)) % nodeCount
    let isTie = random.chance(0.2)
    var costs: [Int64] = []
    for p in 0..<counts[tail] {
      for q in 0..<counts[head] {
        costs += isTie && p % counts[head] != q ? [Int64](repeating: Problem.forbidden, count: objectiveRows) : entry(-3...12)
      }
    }
    try builder.addEdge(tail, head, costs: costs)
  }
  return builder.build()
}

/// The least objective over all choices, by trying them all; nil where none is legal.
func exhaustiveOptimum(_ problem: Problem) -> Int64? {
  var choice = [Int](repeating: 0, count: problem.nodeCount)
  var best: Int128?
  while true {
    let evaluation = problem.evaluate(choice)
    if evaluation.isLegal, evaluation.objective < best ?? .max { best = evaluation.objective }
    var node = 0
    while node < choice.count {
      choice[node] += 1
      if choice[node] < problem.strategyCount(of: node) { break }
      choice[node] = 0
      node += 1
    }
    if node == choice.count { return best.map { Int64($0) } }
  }
}
