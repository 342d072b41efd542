// SPDX-License-Identifier: GPL-3.0-or-later

extension Presolve {
  /// Makes a node's segments disjoint, and takes what every strategy uses off the limits.
  mutating func settleSegments(_ node: Int) {
    guard !nodes[node].segments.isEmpty else { return }
    nodes[node].segments.merge()
    nodes[node].segments.settle { rows, least in
      limitChanges[rows.lowerBound] -= least
      limitChanges[rows.upperBound] += least
    }
  }

  /// Adds the segments of `node` to those of `other`, whose strategy p goes with `strategies[p]`; they are made disjoint when `other` is visited.
  mutating func addSegments(of node: Int, to other: Int, strategies: [Int]) {
    guard !nodes[node].segments.isEmpty else { return }
    nodes[other].segments.append(nodes[node].segments, strategies: strategies)
    enqueue(other)
  }

  /// Looks at all memory rows: infeasible ones, strategies that do not fit, rows that can be dropped.
  mutating func examineMemory() {
    guard !limits.isEmpty, !isInfeasible else { return }
    for node in nodes.indices where nodes[node].isAlive && !nodes[node].segments.isMerged { settleSegments(node) }
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
    dropCoveredRows()
  }

  /// Drops strategies that use more of some row than its limit: every node's least usage is 0 by now.
  private mutating func dropWhatExceedsLimits() {
    let least = RangeMinimum(limits)
    for node in nodes.indices where nodes[node].isAlive && !nodes[node].segments.isEmpty {
      let segments = nodes[node].segments
      let bounds = segments.rows.map { least.minimum(over: $0) }
      let kept = (0..<nodes[node].count).filter { strategy in bounds.indices.allSatisfy { segments[$0, strategy] <= bounds[$0] } }
      keep(kept, of: node)
    }
  }

  private mutating func dropSlackRows() {
    let most = largestUses()
    keepMemoryRows(limits.indices.map { most[$0] > limits[$0] })
  }

  /// What each row holds where every node uses the most it can.
  private func largestUses() -> [Int64] {
    var change = [Int64](repeating: 0, count: limits.count + 1)
    for node in nodes where node.isAlive {
      for (segment, rows) in node.segments.rows.enumerated() {
        let most = node.segments.largestUsage(of: segment)
        change[rows.lowerBound] += most
        change[rows.upperBound] -= most
      }
    }
    var most: Int64 = 0
    return limits.indices.map { row in
      most += change[row]
      return most
    }
  }

  /// Drops rows whose loads are all present in the next (or previous) row too, where the limit is no larger.
  private mutating func dropImpliedRows(byNext: Bool) {
    guard limits.count > 1 else { return }
    var isBoundary = [Bool](repeating: false, count: limits.count + 1)
    for node in nodes where node.isAlive {
      for rows in node.segments.rows { isBoundary[byNext ? rows.upperBound : rows.lowerBound] = true }
    }
    // Segments of one node meet where its usage changes, which is a boundary of both kinds.
    keepMemoryRows(
      limits.indices.map { row in
        let other = byNext ? row + 1 : row - 1
        guard limits.indices.contains(other) else { return true }
        return isBoundary[max(row, other)] || limits[other] > limits[row]
      })
  }

  /// Drops rows that hold wherever another one holds: no node uses more there whatever it takes, and the limit is no smaller. The rows that can
  /// be exceeded most are tried first, each against all others at once, until several in a row have covered nothing.
  private mutating func dropCoveredRows() {
    guard limits.count > 1, limits.count != coveredRowCount else { return }
    let most = largestUses()
    // By what they can exceed their limits at most; of equals the first.
    let order = limits.indices.sorted { most[$0] - limits[$0] != most[$1] - limits[$1] ? most[$0] - limits[$0] > most[$1] - limits[$1] : $0 < $1 }
    var isKept = [Bool](repeating: true, count: limits.count)
    var failures = 0
    for row in order where isKept[row] {
      if failures == 12 { break }
      let uncovered = segmentsAbove(row)
      var isUseless = true
      var above = 0
      for other in limits.indices {
        above += uncovered[other]
        guard above == 0, other != row, isKept[other], limits[other] >= limits[row] else { continue }
        isKept[other] = false
        isUseless = false
      }
      failures = isUseless ? failures + 1 : 0
    }
    keepMemoryRows(isKept)
    coveredRowCount = limits.count
  }

  /// How many segments that use more for some strategy than their node does in `row` begin, less those that end, at each row.
  private func segmentsAbove(_ row: Int) -> [Int] {
    var change = [Int](repeating: 0, count: limits.count + 1)
    for node in nodes where node.isAlive {
      let segments = node.segments
      let own = segments.rows.firstIndex { $0.contains(row) }
      for segment in 0..<segments.count where segment != own {
        let isCovered = own.map { own in (0..<segments.width).allSatisfy { segments[segment, $0] <= segments[own, $0] } } ?? false
        guard !isCovered else { continue }
        change[segments.rows[segment].lowerBound] += 1
        change[segments.rows[segment].upperBound] -= 1
      }
    }
    return change
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
      if nodes[node].segments.renumber(numbers) { enqueue(node) }
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
