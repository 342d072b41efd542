// SPDX-License-Identifier: GPL-3.0-or-later

/// A choice without forbidden entries from what message passing says, node by node: each takes the strategy that asks least of itself and its
/// neighbours, and what has lost its last partner is dropped everywhere (arc consistency). Where a node has nothing left all starts anew with
/// that node among the first. Memory rows count only by their prices.
struct Rounding {
  private let problem: Problem
  private let incidence: Incidence
  /// How early each node is decided: those that were in trouble first.
  private var trouble: [Int]
  private var isAlive: [Bool]
  private var aliveCount: [Int]
  private var decided: [Int]
  private var queue: [Int] = []
  private var isQueued: [Bool]

  init(_ problem: Problem, incidence: Incidence) {
    self.problem = problem
    self.incidence = incidence
    trouble = [Int](repeating: 0, count: problem.nodeCount)
    isAlive = []
    aliveCount = []
    decided = []
    isQueued = [Bool](repeating: false, count: problem.nodeCount)
  }

  /// Nil where `attempts` starts did not suffice.
  mutating func choice(_ messages: MessagePassing, attempts: Int, stop: StopCondition) -> [Int]? {
    for _ in 0..<attempts {
      let order = (0..<problem.nodeCount).sorted { trouble[$0] != trouble[$1] ? trouble[$0] > trouble[$1] : $0 < $1 }
      isAlive = problem.nodeCosts.map { $0 < Problem.forbidden }
      aliveCount = (0..<problem.nodeCount).map { node in
        isAlive[problem.strategyStarts[node]..<problem.strategyStarts[node + 1]].reduce(0) { $0 + ($1 ? 1 : 0) }
      }
      decided = [Int](repeating: -1, count: problem.nodeCount)
      var failed: Int?
      for node in order {
        guard let strategy = best(of: node, messages) else {
          failed = node
          break
        }
        decided[node] = strategy
        if let stuck = fix(node, strategy) {
          failed = stuck
          break
        }
      }
      guard let failed else { return decided }
      trouble[failed] += 1
      if stop.isReached { return nil }
    }
    return nil
  }

  private func best(of node: Int, _ messages: MessagePassing) -> Int? {
    let start = problem.strategyStarts[node]
    let count = problem.strategyCount(of: node)
    var best: Int?
    var least = Int64.max
    if aliveCount[node] == 1 { return (0..<count).first { isAlive[start + $0] } }
    for strategy in 0..<count where isAlive[start + strategy] {
      var value = messages.costs[start + strategy]
      for edge in incidence.edges(of: node) {
        let ends = problem.edges[edge]
        let isTail = ends.tail == node
        let other = isTail ? ends.head : ends.tail
        if decided[other] >= 0 {
          value &+= isTail ? messages.asked(edge, strategy, decided[other]) : messages.asked(edge, decided[other], strategy)
        } else {
          var partner = Problem.forbidden
          let otherStart = problem.strategyStarts[other]
          for q in 0..<problem.strategyCount(of: other) where isAlive[otherStart + q] {
            partner = min(partner, isTail ? messages.asked(edge, strategy, q) : messages.asked(edge, q, strategy))
          }
          value &+= partner
        }
        if value >= Problem.blocked { break }
      }
      if value < least { (best, least) = (strategy, value) }
    }
    return least < Problem.blocked ? best : nil
  }

  /// Leaves `node` only `strategy`, and its neighbours what goes with it, and so on; a node that has nothing left, if any.
  private mutating func fix(_ node: Int, _ strategy: Int) -> Int? {
    guard aliveCount[node] > 1 else { return nil }
    let start = problem.strategyStarts[node]
    for other in 0..<problem.strategyCount(of: node) { isAlive[start + other] = other == strategy }
    aliveCount[node] = 1
    queue.append(node)
    var stuck: Int?
    while let changed = queue.popLast() {
      isQueued[changed] = false
      guard stuck == nil else { continue }
      for edge in incidence.edges(of: changed) {
        let ends = problem.edges[edge]
        let other = ends.tail == changed ? ends.head : ends.tail
        guard decided[other] < 0, revise(other, against: changed, edge: edge) else { continue }
        if aliveCount[other] == 0 { stuck = other }
        if !isQueued[other] {
          isQueued[other] = true
          queue.append(other)
        }
      }
    }
    return stuck
  }

  /// Drops the strategies of `node` without a partner in `other`; whether there were any.
  private mutating func revise(_ node: Int, against other: Int, edge: Int) -> Bool {
    let ends = problem.edges[edge]
    let (start, otherStart) = (problem.strategyStarts[node], problem.strategyStarts[other])
    let others = problem.strategyCount(of: other)
    let width = problem.strategyCount(of: ends.head)
    let (step, otherStep) = ends.tail == node ? (width, 1) : (1, width)
    var hasChanged = false
    for p in 0..<problem.strategyCount(of: node) where isAlive[start + p] {
      var isSupported = false
      for q in 0..<others where isAlive[otherStart + q] && problem.edgeCosts[ends.start + p * step + q * otherStep] < Problem.forbidden {
        isSupported = true
        break
      }
      guard !isSupported else { continue }
      isAlive[start + p] = false
      aliveCount[node] -= 1
      hasChanged = true
    }
    return hasChanged
  }
}
