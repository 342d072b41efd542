// SPDX-License-Identifier: GPL-3.0-or-later
import Search
import TestSupport

@testable import ShardingProblems

/// A small problem of random shape in the contest's terms: empty and nested intervals, usages where nothing is live, edges both ways, parallel and
/// from a node to itself, forbidden entries.
func randomFile(seed: Int, scale: Int64 = 1) -> ProblemFile {
  var random = SeededGenerator(seed: seed)
  var file = ProblemFile.empty
  let count = Int.random(in: 1...6, using: &random)
  let forbiddenShare = [0.0, 0.1, 0.3][Int.random(in: 0...2, using: &random)]
  func cost(_ random: inout SeededGenerator) -> Int64 {
    random.chance(forbiddenShare) ? Problem.forbidden : scale * Int64.random(in: 0...30, using: &random)
  }
  var most: Int64 = 0
  for _ in 0..<count {
    let strategies = Int.random(in: 1...4, using: &random)
    let from = Int64.random(in: 0...8, using: &random)
    file.intervals.append((from, from + Int64.random(in: -2...6, using: &random)))
    file.nodeCosts.append((0..<strategies).map { _ in cost(&random) })
    let usages = (0..<strategies).map { _ in Int64.random(in: 0...9, using: &random) }
    most += usages.max() ?? 0
    file.nodeUsages.append(usages)
  }
  for _ in 0..<Int.random(in: 0...2 * count, using: &random) {
    let (tail, head) = (Int.random(in: 0..<count, using: &random), Int.random(in: 0..<count, using: &random))
    file.edges.append((tail, head))
    file.edgeCosts.append((0..<file.nodeCosts[tail].count * file.nodeCosts[head].count).map { _ in cost(&random) })
  }
  file.usageLimit = Int64(Double(most) * Double.random(in: 0.2...0.9, using: &random))
  return file
}

/// A problem too large to try everything: a chain with skips whose nodes are live for a while, where cheaper strategies use more.
func chainFile(seed: Int, count: Int) -> ProblemFile {
  var random = SeededGenerator(seed: 50_000 + seed)
  var file = ProblemFile.empty
  var most = [Int64](repeating: 0, count: count + 5)
  for node in 0..<count {
    let length = random.int(1...4)
    let strategies = random.int(2...5)
    file.intervals.append((Int64(node), Int64(node + length)))
    file.nodeCosts.append((0..<strategies).map { Int64(100 * $0 + random.int(0...60)) })
    let usages = (0..<strategies).map { Int64(10 * (strategies - $0) + random.int(0...5)) }
    file.nodeUsages.append(usages)
    for moment in node..<node + length { most[moment] += usages.max() ?? 0 }
  }
  for node in 1..<count {
    for tail in [node - 1, node - random.int(2...4)] where tail >= 0 {
      file.edges.append((tail, node))
      let entries = file.nodeCosts[tail].count * file.nodeCosts[node].count
      file.edgeCosts.append((0..<entries).map { $0 > 0 && random.chance(0.1) ? Problem.forbidden : Int64(random.int(0...80)) })
    }
  }
  file.usageLimit = (most.max() ?? 0) * 6 / 10
  return file
}

extension ProblemFile {
  /// What a choice costs, by the words of the format, moment by moment; nil where it is not legal.
  func priceByMoments(_ choice: [Int]) -> Int128? {
    var cost: Int128 = 0
    for (node, strategy) in choice.enumerated() {
      let own = nodeCosts.values[nodeCosts.starts[node] + strategy]
      if own >= Problem.forbidden { return nil }
      cost += Int128(own)
    }
    for (number, edge) in edges.enumerated() {
      let width = nodeCosts[edge.head].count
      let own = edgeCosts.values[edgeCosts.starts[number] + choice[edge.tail] * width + choice[edge.head]]
      if own >= Problem.forbidden { return nil }
      cost += Int128(own)
    }
    for moment in 0..<20 as Range<Int64> {
      var used: Int128 = 0
      for node in choice.indices where intervals[node].from <= moment && moment < intervals[node].to {
        used += Int128(nodeUsages.values[nodeUsages.starts[node] + choice[node]])
      }
      if used > Int128(usageLimit) { return nil }
    }
    return cost
  }

  /// The least cost of all legal choices; nil where there is none.
  func leastCost() -> Int128? {
    var choice = [Int](repeating: 0, count: nodeCosts.count)
    var best: Int128?
    while true {
      if let cost = priceByMoments(choice), cost < best ?? .max { best = cost }
      var node = 0
      while node < choice.count {
        choice[node] += 1
        if choice[node] < nodeCosts[node].count { break }
        choice[node] = 0
        node += 1
      }
      if node == choice.count { return best }
    }
  }

  /// The same problem with its nodes, their strategies and its edges in another order, and edges turned around.
  func permuted(seed: Int) -> ProblemFile {
    var random = SeededGenerator(seed: seed)
    var result = ProblemFile.empty
    result.usageLimit = usageLimit
    let order = (0..<nodeCosts.count).shuffled(using: &random)
    var numbers = order
    for (number, node) in order.enumerated() { numbers[node] = number }
    let strategies = (0..<nodeCosts.count).map { (0..<nodeCosts[$0].count).shuffled(using: &random) }
    for node in order {
      result.intervals.append(intervals[node])
      result.nodeCosts.append(strategies[node].map { nodeCosts.values[nodeCosts.starts[node] + $0] })
      result.nodeUsages.append(strategies[node].map { nodeUsages.values[nodeUsages.starts[node] + $0] })
    }
    for number in edges.indices.shuffled(using: &random) {
      let (tail, head) = edges[number]
      let width = nodeCosts[head].count
      func entry(_ p: Int, _ q: Int) -> Int64 { edgeCosts.values[edgeCosts.starts[number] + p * width + q] }
      if random.chance(0.5) {
        result.edges.append((numbers[tail], numbers[head]))
        result.edgeCosts.append(strategies[tail].flatMap { p in strategies[head].map { entry(p, $0) } })
      } else {
        result.edges.append((numbers[head], numbers[tail]))
        result.edgeCosts.append(strategies[head].flatMap { q in strategies[tail].map { entry($0, q) } })
      }
    }
    return result
  }

  /// The file's text.
  var text: String {
    func rows(_ rows: Rows) -> String {
      "[" + (0..<rows.count).map { "[" + rows[$0].map(String.init).joined(separator: ",") + "]" }.joined(separator: ",") + "]"
    }
    return """
      {"problem":{"edges":{"costs":\(rows(edgeCosts)),"nodes":[\(edges.map { "[\($0.tail),\($0.head)]" }.joined(separator: ","))]},\
      "nodes":{"costs":\(rows(nodeCosts)),"intervals":[\(intervals.map { "[\($0.from),\($0.to)]" }.joined(separator: ","))],\
      "usages":\(rows(nodeUsages))},"usage_limit":\(usageLimit)}}
      """
  }
}
