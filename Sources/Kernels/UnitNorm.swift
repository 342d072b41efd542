// SPDX-License-Identifier: GPL-3.0-or-later

/// Vectors of length 1: y = x r, r = 1 / ‖x‖ over the last axis. x, y, dx, dy are [rows, columns]; r [rows].
package enum UnitNorm {
  /// Writes y, and keeps `inverse`, the r of each row, for `backward`; `y` may be `x`.
  package static func forward(
    _ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, inverse: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    for row in 0..<rows {
      let source = x + row * columns
      let r = 1 / sumLanes(source, count: columns) { $0 * $0 }.squareRoot()
      inverse[row] = r
      mapLanes(source, into: y + row * columns, count: columns) { $0 * r }
    }
  }

  /// dx = r (dy - y (dy · y)), with y = x r. `dx` may be `dy` or `x`.
  package static func backward(
    x: UnsafePointer<Float>, inverse: UnsafePointer<Float>, dy: UnsafePointer<Float>, dx: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    for row in 0..<rows {
      let (source, upstream, result, r) = (x + row * columns, dy + row * columns, dx + row * columns, inverse[row])
      var projection = Lanes.zero
      forEachLanes(columns) { j, n in projection.addProduct(upstream.lanes(j, n), source.lanes(j, n) * r) }
      let factor = Lanes(repeating: -projection.pairwiseSum())
      forEachLanes(columns) { j, n in
        result.store(upstream.lanes(j, n).addingProduct(source.lanes(j, n) * r, factor) * r, j, n)
      }
    }
  }
}
