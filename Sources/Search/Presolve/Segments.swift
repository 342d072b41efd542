// SPDX-License-Identifier: GPL-3.0-or-later

/// What one node uses of the memory rows: ranges of rows, each with a usage for every strategy of the node, in flat arrays. Ranges may overlap,
/// and add up then, until `merge` has made them disjoint and ascending: a hub that takes in thousands of nodes is merged once.
struct Segments {
  let width: Int
  private(set) var rows: [Range<Int>] = []
  /// Segment-major, `width` usages for each.
  private(set) var usages: [Int64] = []
  private(set) var isMerged = true

  init(width: Int) { self.width = width }

  var count: Int { rows.count }
  var isEmpty: Bool { rows.isEmpty }

  @inline(__always)
  subscript(segment: Int, strategy: Int) -> Int64 { usages[segment * width + strategy] }

  func usages(of segment: Int) -> ArraySlice<Int64> { usages[segment * width..<(segment + 1) * width] }

  func largestUsage(of segment: Int) -> Int64 { usages(of: segment).max() ?? 0 }

  mutating func append(_ range: Range<Int>, _ values: some Collection<Int64>) {
    guard !range.isEmpty else { return }
    if let last = rows.last, last.upperBound > range.lowerBound { isMerged = false }
    rows.append(range)
    usages += values
  }

  /// Adds another node's segments, whose strategy `strategies[p]` goes with this node's strategy p.
  mutating func append(_ other: Segments, strategies: [Int]) {
    for segment in 0..<other.count {
      if let last = rows.last, last.upperBound > other.rows[segment].lowerBound { isMerged = false }
      rows.append(other.rows[segment])
      let start = segment * other.width
      for strategy in strategies { usages.append(other.usages[start + strategy]) }
    }
  }

  /// Only the strategies at `kept`.
  func keeping(_ kept: [Int]) -> Segments {
    var result = Segments(width: kept.count)
    result.usages.reserveCapacity(count * kept.count)
    result.rows = rows
    result.isMerged = isMerged
    for segment in 0..<count { for strategy in kept { result.usages.append(usages[segment * width + strategy]) } }
    return result
  }

  /// Takes off each segment what all strategies use there, hands it to `taken`, and drops what is nothing then.
  mutating func settle(_ taken: (Range<Int>, Int64) -> Void) {
    var kept = 0
    for segment in 0..<count {
      let start = segment * width
      var (least, most) = (Int64.max, Int64.min)
      for strategy in start..<start + width { (least, most) = (min(least, usages[strategy]), max(most, usages[strategy])) }
      if least > 0 { taken(rows[segment], least) }
      guard most > least, !rows[segment].isEmpty else { continue }
      for strategy in 0..<width { usages[kept * width + strategy] = usages[start + strategy] - least }
      rows[kept] = rows[segment]
      kept += 1
    }
    if kept < count {
      rows.removeSubrange(kept...)
      usages.removeSubrange((kept * width)...)
    }
  }

  /// Makes the segments disjoint and ascending: a running sum over where they begin and end. Neighbours of equal usages become one.
  mutating func merge() {
    guard !isMerged else { return }
    var events: [(row: Int, segment: Int, begins: Bool)] = []
    events.reserveCapacity(2 * count)
    for (segment, range) in rows.enumerated() where !range.isEmpty {
      events.append((range.lowerBound, segment, true))
      events.append((range.upperBound, segment, false))
    }
    events.sort { $0.row < $1.row }
    var merged = Segments(width: width)
    var sum = [Int64](repeating: 0, count: width)
    var next = 0
    while next < events.count {
      let row = events[next].row
      while next < events.count, events[next].row == row {
        let start = events[next].segment * width
        if events[next].begins {
          for strategy in 0..<width { sum[strategy] += usages[start + strategy] }
        } else {
          for strategy in 0..<width { sum[strategy] -= usages[start + strategy] }
        }
        next += 1
      }
      guard next < events.count, sum.contains(where: { $0 != 0 }) else { continue }
      merged.appendJoining(row..<events[next].row, sum)
    }
    self = merged
  }

  /// Appends a range that begins where the last one ends or later.
  private mutating func appendJoining(_ range: Range<Int>, _ values: [Int64]) {
    if let last = rows.last, last.upperBound == range.lowerBound, usages.suffix(width).elementsEqual(values) {
      rows[rows.count - 1] = last.lowerBound..<range.upperBound
    } else {
      rows.append(range)
      usages += values
    }
  }

  /// Renumbers the rows: row r becomes `numbers[r]`, and ranges without any are dropped; whether there were such. Disjoint segments that meet now
  /// and use the same become one.
  mutating func renumber(_ numbers: [Int]) -> Bool {
    var result = Segments(width: width)
    for segment in 0..<count {
      let range = numbers[rows[segment].lowerBound]..<numbers[rows[segment].upperBound]
      guard !range.isEmpty else { continue }
      let start = segment * width
      if isMerged, let last = result.rows.last, last.upperBound == range.lowerBound,
        result.usages.suffix(width).elementsEqual(usages[start..<start + width])
      {
        result.rows[result.rows.count - 1] = last.lowerBound..<range.upperBound
      } else {
        result.rows.append(range)
        result.usages += usages[start..<start + width]
      }
    }
    result.isMerged = isMerged
    defer { self = result }
    return result.count < count
  }
}
