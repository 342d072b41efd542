// SPDX-License-Identifier: GPL-3.0-or-later

/// Root-mean-square normalisation over the last axis (Zhang & Sennrich 2019): y = x rstd (w + c), rstd = 1 / √(mean(x²) + eps).
/// x, y, dx, dy are [rows, columns]; the weight [columns]; rstd [rows]; c, `addend`, is 0, or 1 where weights are stored as differences from 1.
package enum RMSNorm {
  /// Writes y, and keeps `rstd` for `backward`; `y` may be `x`.
  package static func forward(
    _ x: UnsafePointer<Float>, weight: UnsafePointer<Float>, addend: Float = 0, epsilon: Float, into y: UnsafeMutablePointer<Float>,
    rstd: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    for row in 0..<rows {
      let source = x + row * columns
      let r = 1 / (sumLanes(source, count: columns) { $0 * $0 } / Float(columns) + epsilon).squareRoot()
      rstd[row] = r
      mapLanes(source, weight, into: y + row * columns, count: columns) { $0 * r * ($1 + addend) }
    }
  }

  /// Overwrites dx, and adds to dweight. With x̂ = x rstd and g = dy (w + c): dx = rstd (g - x̂ mean(g x̂)), dw += Σ dy x̂.
  /// `dx` may be `dy` or `x`.
  package static func backward(
    x: UnsafePointer<Float>, weight: UnsafePointer<Float>, addend: Float = 0, rstd: UnsafePointer<Float>, dy: UnsafePointer<Float>,
    dx: UnsafeMutablePointer<Float>, dweight: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    for row in 0..<rows {
      let source = x + row * columns
      let upstream = dy + row * columns
      let result = dx + row * columns
      let r = rstd[row]
      var projection = Lanes.zero
      forEachLanes(columns) { j, n in
        projection.addProduct(upstream.lanes(j, n) * (weight.lanes(j, n) + addend), source.lanes(j, n) * r)
      }
      let mean = Lanes(repeating: -projection.pairwiseSum() / Float(columns))
      forEachLanes(columns) { j, n in
        let d = upstream.lanes(j, n)
        let normalised = source.lanes(j, n) * r
        result.store((d * (weight.lanes(j, n) + addend)).addingProduct(normalised, mean) * r, j, n)
        dweight.store(dweight.lanes(j, n).addingProduct(d, normalised), j, n)
      }
    }
  }
}
