// SPDX-License-Identifier: GPL-3.0-or-later

extension Problem {
  /// A legal choice near one that exceeds memory rows: neighbourhoods are solved for the least use of the exceeded rows while no other row gets
  /// worse than it is or may be, until none is exceeded. Nil where that got stuck.
  /// - Parameters:
  ///   - assignment: a choice without forbidden entries.
  ///   - fruitless: how many neighbourhoods in a row may change nothing.
  func withinLimits(_ assignment: Assignment, incidence: Incidence, threads: Int, fruitless: Int, stop: StopCondition) -> Assignment? {
    var best = assignment
    var failures = 0
    var seed: UInt64 = 1
    while best.excess > 0 {
      let exceeded = best.memory.indices.filter { best.memory[$0] > limits[$0] }
      let easier = reducingUsage(of: exceeded, memory: best.memory)
      guard let start = Assignment(easier, incidence: incidence, choice: best.choice) else { return nil }
      var search = NeighbourhoodSearch(easier, incidence: incidence, assignment: start, seed: seed)
      search.prefer(rows: exceeded)
      seed += 1
      while search.improvements == 0 {
        if stop.isReached || failures >= fruitless { return nil }
        search.round(threads: threads, stop: stop)
        failures += threads
      }
      guard let next = Assignment(self, incidence: incidence, choice: search.choice) else { return nil }
      if next.excess < best.excess { failures = 0 }
      best = next
    }
    return best
  }

  /// The problem whose objective is the use of the given memory rows, and whose other rows may be used as much as `memory` says, or their limits.
  /// Numbers stay as they are; forbidden entries stay forbidden.
  private func reducingUsage(of rows: [Int], memory: [Int64]) -> Problem {
    var result = self
    result.offsets = [0]
    result.limits = limits.indices.map { max(limits[$0], memory[$0]) }
    result.nodeCosts = nodeCosts.map { $0 >= Problem.forbidden ? Problem.forbidden : 0 }
    result.edgeCosts = edgeCosts.map { $0 >= Problem.forbidden ? Problem.forbidden : 0 }
    var isExceeded = [Int64](repeating: 0, count: limits.count)
    for row in rows { isExceeded[row] = 1 }
    var before: [Int64] = [0]
    for count in isExceeded { before.append(before[before.count - 1] + count) }
    // Each node counts once for each exceeded row that it uses; where that would add up to too much, usages are rounded down.
    let most = loads.reduce(Int128(0)) { sum, load in
      let count = before[load.rows.upperBound] - before[load.rows.lowerBound]
      let largest = usages[load.start..<load.start + strategyCount(of: load.node)].max() ?? 0
      return sum + Int128(count) * Int128(largest)
    }
    let divisor = Int64(clamping: most / Int128(Problem.largestSum) + 1)
    for load in loads {
      let count = before[load.rows.upperBound] - before[load.rows.lowerBound]
      guard count > 0 else { continue }
      let start = strategyStarts[load.node]
      for strategy in 0..<strategyCount(of: load.node) where result.nodeCosts[start + strategy] < Problem.forbidden {
        result.nodeCosts[start + strategy] += Int64(clamping: Int128(count) * Int128(usages[load.start + strategy]) / Int128(divisor))
      }
    }
    return result
  }
}
