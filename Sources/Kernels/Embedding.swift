// SPDX-License-Identifier: GPL-3.0-or-later

/// Look-ups in a table of which this rank holds a range of rows: a vocabulary split over ranks, or learned positions.
package enum Embedding {
  /// y[i, :] = table[ids[i] - rows.lowerBound, :], or 0 where `ids[i]` is not in `rows`: the sum over the ranks is the look-up.
  /// `table` is [rows.count, columns], y is [count, columns].
  package static func forward(
    ids: UnsafePointer<Int32>, table: UnsafePointer<Float>, rows: Range<Int>, into y: UnsafeMutablePointer<Float>, count: Int,
    columns: Int
  ) {
    for i in 0..<count {
      let id = Int(ids[i])
      if rows.contains(id) {
        (y + i * columns).update(from: table + (id - rows.lowerBound) * columns, count: columns)
      } else {
        (y + i * columns).update(repeating: 0, count: columns)
      }
    }
  }

  /// Backward of `forward`: dtable[ids[i] - rows.lowerBound, :] += dy[i, :].
  package static func accumulateGradient(
    ids: UnsafePointer<Int32>, dy: UnsafePointer<Float>, into dtable: UnsafeMutablePointer<Float>, rows: Range<Int>, count: Int,
    columns: Int
  ) {
    for i in 0..<count where rows.contains(Int(ids[i])) {
      Elementwise.accumulate(dy + i * columns, into: dtable + (Int(ids[i]) - rows.lowerBound) * columns, count: columns)
    }
  }

  /// y[b, i, :] = table[start + i, :] for y [batch, count, columns]. Samples are `pitch` positions apart (`count` unless given).
  package static func positions(
    table: UnsafePointer<Float>, start: Int, into y: UnsafeMutablePointer<Float>, batch: Int, count: Int, columns: Int,
    pitch: Int? = nil
  ) {
    for sample in 0..<batch {
      (y + sample * (pitch ?? count) * columns).update(from: table + start * columns, count: count * columns)
    }
  }

  /// Backward of `positions`: dtable[start + i, :] += Σ_b dy[b, i, :].
  package static func accumulatePositionGradient(
    dy: UnsafePointer<Float>, into dtable: UnsafeMutablePointer<Float>, start: Int, batch: Int, count: Int, columns: Int,
    pitch: Int? = nil
  ) {
    for sample in 0..<batch {
      Elementwise.accumulate(
        dy + sample * (pitch ?? count) * columns, into: dtable + start * columns, count: count * columns)
    }
  }
}
