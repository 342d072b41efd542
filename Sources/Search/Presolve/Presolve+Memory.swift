// SPDX-License-Identifier: GPL-3.0-or-later

extension Presolve {
  /// The sum of two lists of segments of one node, again disjoint and in ascending order.
  func merged(_ a: [Segment], _ b: [Segment]) -> [Segment] {
    if a.isEmpty { return b }
    if b.isEmpty { return a }
    let bounds = Set((a + b).flatMap { [$0.rows.lowerBound, $0.rows.upperBound] }).sorted()
    var result: [Segment] = []
    var (i, j) = (0, 0)
    for (from, to) in zip(bounds, bounds.dropFirst()) {
      while i < a.count, a[i].rows.upperBound <= from { i += 1 }
      while j < b.count, b[j].rows.upperBound <= from { j += 1 }
      let inA = i < a.count && a[i].rows.lowerBound <= from
      let inB = j < b.count && b[j].rows.lowerBound <= from
      guard inA || inB else { continue }
      let usages = inA && inB ? zip(a[i].usages, b[j].usages).map { $0 + $1 } : inA ? a[i].usages : b[j].usages
      if let last = result.last, last.rows.upperBound == from, last.usages == usages {
        result[result.count - 1].rows = last.rows.lowerBound..<to
      } else {
        result.append(Segment(rows: from..<to, usages: usages))
      }
    }
    return result
  }

  /// Takes what every strategy uses off the limits, and drops segments in which nothing is left.
  mutating func settleSegments(_ node: Int) {
    guard !nodes[node].segments.isEmpty else { return }
    var settled: [Segment] = []
    for var segment in nodes[node].segments {
      let least = segment.usages.min() ?? 0
      if least > 0 {
        limitChanges[segment.rows.lowerBound] -= least
        limitChanges[segment.rows.upperBound] += least
        for strategy in segment.usages.indices { segment.usages[strategy] -= least }
      }
      if segment.usages.contains(where: { $0 != 0 }) { settled.append(segment) }
    }
    nodes[node].segments = settled
  }

  /// Looks at all memory rows: infeasible ones, strategies that do not fit, rows that can be dropped.
  mutating func examineMemory() {
    guard !limits.isEmpty, !isInfeasible else { return }
    var change: Int64 = 0
    for row in limits.indices {
      change += limitChanges[row]
      limits[row] += change
      if limits[row] < 0 { return markInfeasible() }
    }
    limitChanges = [Int64](repeating: 0, count: limits.count + 1)
    if reductions.contains(.memoryFixing) { dropWhatExceedsLimits() }
    guard !isInfeasible, reductions.contains(.slackRows) else { return }
    // Strategies dropped just now have changes pending; the rows are looked at in the next round.
    guard limitChanges.allSatisfy({ $0 == 0 }) else { return }
    dropSlackRows()
    dropImpliedRows(byNext: true)
    dropImpliedRows(byNext: false)
  }

  /// Drops strategies that use more of some row than its limit: every node's least usage is 0 by now.
  private mutating func dropWhatExceedsLimits() {
    let least = RangeMinimum(limits)
    for node in nodes.indices where nodes[node].isAlive && !nodes[node].segments.isEmpty {
      let bounds = nodes[node].segments.map { least.minimum(over: $0.rows) }
      let kept = (0..<nodes[node].count).filter { strategy in
        zip(nodes[node].segments, bounds).allSatisfy { $0.usages[strategy] <= $1 }
      }
      keep(kept, of: node)
    }
  }

  private mutating func dropSlackRows() {
    var change = [Int64](repeating: 0, count: limits.count + 1)
    for node in nodes where node.isAlive {
      for segment in node.segments {
        let most = segment.usages.max() ?? 0
        change[segment.rows.lowerBound] += most
        change[segment.rows.upperBound] -= most
      }
    }
    var most: Int64 = 0
    keepMemoryRows(
      limits.indices.map { row in
        most += change[row]
        return most > limits[row]
      })
  }

  /// Drops rows whose loads are all present in the next (or previous) row too, where the limit is no larger.
  private mutating func dropImpliedRows(byNext: Bool) {
    guard limits.count > 1 else { return }
    var isBoundary = [Bool](repeating: false, count: limits.count + 1)
    for node in nodes where node.isAlive {
      for segment in node.segments { isBoundary[byNext ? segment.rows.upperBound : segment.rows.lowerBound] = true }
    }
    // Segments of one node meet where its usage changes, which is a boundary of both kinds.
    keepMemoryRows(
      limits.indices.map { row in
        let other = byNext ? row + 1 : row - 1
        guard limits.indices.contains(other) else { return true }
        return isBoundary[max(row, other)] || limits[other] > limits[row]
      })
  }

  /// Renumbers the memory rows to those that are kept.
  private mutating func keepMemoryRows(_ isKept: [Bool]) {
    guard isKept.contains(false) else { return }
    var numbers = [0]
    for kept in isKept { numbers.append(numbers[numbers.count - 1] + (kept ? 1 : 0)) }
    limits = limits.indices.filter { isKept[$0] }.map { limits[$0] }
    rowOrigins = rowOrigins.indices.filter { isKept[$0] }.map { rowOrigins[$0] }
    limitChanges = [Int64](repeating: 0, count: limits.count + 1)
    for node in nodes.indices where nodes[node].isAlive && !nodes[node].segments.isEmpty {
      let before = nodes[node].segments.count
      nodes[node].segments = nodes[node].segments.compactMap { segment in
        let rows = numbers[segment.rows.lowerBound]..<numbers[segment.rows.upperBound]
        return rows.isEmpty ? nil : Segment(rows: rows, usages: segment.usages)
      }
      if nodes[node].segments.count < before { enqueue(node) }
    }
  }
}

/// The minimum over any range of a fixed array, from a table of the minima over all ranges whose length is a power of two.
struct RangeMinimum {
  private var levels: [[Int64]]

  init(_ values: [Int64]) {
    levels = [values]
    var length = 1
    while length * 2 <= values.count {
      let last = levels[levels.count - 1]
      levels.append((0...values.count - length * 2).map { min(last[$0], last[$0 + length]) })
      length *= 2
    }
  }

  func minimum(over range: Range<Int>) -> Int64 {
    let level = Int.bitWidth - 1 - range.count.leadingZeroBitCount
    return min(levels[level][range.lowerBound], levels[level][range.upperBound - (1 << level)])
  }
}
