// SPDX-License-Identifier: GPL-3.0-or-later
import Search

extension ProblemFile {
  /// How numbers are rounded where a coarser unit is needed to add them up safely.
  enum Rounding {
    /// Not at all: the problem can be evaluated, and solved where its sums are small enough.
    case none
    /// Down: every choice costs and uses no more than it really does, so that a bound of the problem is a bound of the original.
    case down(costShift: Int, usageShift: Int)
    /// Usages up: what is legal in the problem is legal in the original.
    case usagesUp(costShift: Int, usageShift: Int)
  }

  /// The shifts that bring the sums of magnitudes within what a solver can add up; 0 where they are already.
  var shifts: (cost: Int, usage: Int) {
    func shift(_ total: Int128) -> Int {
      var shift = 0
      while total >> Int128(shift) > Int128(Problem.largestSum / 2) { shift += 1 }
      return shift
    }
    var cost: Int128 = 0
    for rows in [nodeCosts, edgeCosts] {
      for row in 0..<rows.count {
        var largest: Int64 = 0
        for value in rows[row] where value < Problem.forbidden { largest = max(largest, abs(value)) }
        cost += Int128(largest)
      }
    }
    var usage: Int128 = 0
    for node in 0..<nodeUsages.count { usage += Int128(min(nodeUsages[node].max() ?? 0, mostUsage)) }
    return (shift(cost), shift(usage))
  }

  /// All usages above the limit are as bad as this one.
  private var mostUsage: Int64 { max(0, usageLimit) &+ 1 < 0 ? .max : max(0, usageLimit) + 1 }

  /// The problem itself, whose nodes are the file's, perhaps with one more at the end: one memory row for each stretch of time in which the same nodes are live, where they could exceed the limit.
  func problem(rounding: Rounding = .none) throws(SearchError) -> Problem {
    let (costShift, usageShift): (Int, Int) =
      switch rounding {
      case .none: (0, 0)
      case .down(let cost, let usage), .usagesUp(let cost, let usage): (cost, usage)
      }
    let isUp = if case .usagesUp = rounding { true } else { false }
    let isChecked = if case .none = rounding { shifts == (0, 0) } else { true }
    func cost(_ value: Int64) -> Int64 { value >= Problem.forbidden ? Problem.forbidden : value >> Int64(costShift) }
    func usage(_ value: Int64) -> Int64 {
      let clamped = min(value, mostUsage)
      return isUp && clamped & (1 << Int64(usageShift) - 1) != 0 ? (clamped >> Int64(usageShift)) + 1 : clamped >> Int64(usageShift)
    }

    let moments = memoryMoments()
    let limit = usageLimit >> Int64(usageShift)
    var builder = try ProblemBuilder(limits: [Int64](repeating: limit, count: moments.rowCount), checksSums: isChecked)
    for node in 0..<nodeCosts.count {
      _ = try builder.addNode(costs: nodeCosts[node].map(cost))
      if let rows = moments.rows[node] { try builder.addLoad(node: node, rows: rows, usages: nodeUsages[node].map(usage)) }
    }
    // The diagonal of an edge from a node to itself goes to an edge to one more node, which has a single strategy: added to the node's own
    // cost it could pass for forbidden.
    let extra = edges.contains { $0.tail == $0.head } ? try builder.addNode(costs: [0]) : nil
    for (number, edge) in edges.enumerated() {
      if let extra, edge.tail == edge.head {
        let count = nodeCosts[edge.tail].count
        try builder.addEdge(edge.tail, extra, costs: (0..<count).map { cost(edgeCosts.values[edgeCosts.starts[number] + $0 * (count + 1)]) })
      } else {
        try builder.addEdge(edge.tail, edge.head, costs: edgeCosts[number].map(cost))
      }
    }
    return builder.build()
  }

  /// Numbers the stretches of time between the starts and ends of intervals, those left out in which nothing can exceed the limit.
  private func memoryMoments() -> (rowCount: Int, rows: [Range<Int>?]) {
    let live = intervals.indices.filter { intervals[$0].from < intervals[$0].to && nodeUsages[$0].contains { $0 > 0 } }
    let times = live.flatMap { [intervals[$0].from, intervals[$0].to] }.sorted()
    var events: [Int64] = []
    for time in times where time != events.last { events.append(time) }
    func position(_ time: Int64) -> Int {
      var (low, high) = (0, events.count)
      while low < high {
        let middle = (low + high) / 2
        if events[middle] < time { low = middle + 1 } else { high = middle }
      }
      return low
    }
    var change = [Int128](repeating: 0, count: events.count + 1)
    var spans = [Range<Int>?](repeating: nil, count: intervals.count)
    for node in live {
      let span = position(intervals[node].from)..<position(intervals[node].to)
      spans[node] = span
      let most = Int128(nodeUsages[node].max() ?? 0)
      change[span.lowerBound] += most
      change[span.upperBound] -= most
    }
    var numbers = [0]
    var most: Int128 = 0
    for event in events.indices {
      most += change[event]
      numbers.append(numbers[event] + (most > Int128(usageLimit) ? 1 : 0))
    }
    let rows = spans.map { span in
      span.flatMap { span -> Range<Int>? in
        let rows = numbers[span.lowerBound]..<numbers[span.upperBound]
        return rows.isEmpty ? nil : rows
      }
    }
    return (numbers[events.count], rows)
  }
}
