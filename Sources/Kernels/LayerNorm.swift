// SPDX-License-Identifier: GPL-3.0-or-later

/// Layer normalisation over the last axis (Ba et al. 2016): y = (x - mean) rstd w + b, rstd = 1 / √(var + eps), var biased.
/// x, y, dx, dy are [rows, columns]; weights and biases [columns]; mean and rstd [rows].
package enum LayerNorm {
  /// Writes y, and keeps `mean` and `rstd` for `backward`; `y` may be `x`. Without `bias`, b is 0.
  package static func forward(
    _ x: UnsafePointer<Float>, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>?, epsilon: Float,
    into y: UnsafeMutablePointer<Float>, mean: UnsafeMutablePointer<Float>, rstd: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    for row in 0..<rows {
      let source = x + row * columns
      let result = y + row * columns
      // Two passes: the mean of squares less the square of the mean would cancel.
      let m = sumLanes(source, count: columns) { $0 } / Float(columns)
      let variance = sumLanes(source, count: columns) { ($0 - m) * ($0 - m) } / Float(columns)
      let r = 1 / (variance + epsilon).squareRoot()
      mean[row] = m
      rstd[row] = r
      if let bias {
        forEachLanes(columns) { j, n in
          let normalised = (source.lanes(j, n) - m) * r
          result.store(bias.lanes(j, n).addingProduct(normalised, weight.lanes(j, n)), j, n)
        }
      } else {
        mapLanes(source, weight, into: result, count: columns) { ($0 - m) * r * $1 }
      }
    }
  }

  /// Overwrites dx, and adds to dweight and dbias. With x̂ = (x - mean) rstd and g = dy w:
  /// dx = rstd (g - mean(g) - x̂ mean(g x̂)), dw += Σ dy x̂, db += Σ dy. `dx` may be `dy` or `x`.
  package static func backward(
    x: UnsafePointer<Float>, weight: UnsafePointer<Float>, mean: UnsafePointer<Float>, rstd: UnsafePointer<Float>,
    dy: UnsafePointer<Float>, dx: UnsafeMutablePointer<Float>, dweight: UnsafeMutablePointer<Float>,
    dbias: UnsafeMutablePointer<Float>?, rows: Int, columns: Int
  ) {
    for row in 0..<rows {
      let source = x + row * columns
      let upstream = dy + row * columns
      let result = dx + row * columns
      let m = mean[row]
      let r = rstd[row]
      var sum = Lanes.zero
      var projection = Lanes.zero
      forEachLanes(columns) { j, n in
        let g = upstream.lanes(j, n) * weight.lanes(j, n)
        sum += g
        // A partial vector's other lanes have g = 0.
        projection.addProduct(g, (source.lanes(j, n) - m) * r)
      }
      let meanG = sum.pairwiseSum() / Float(columns)
      let meanGX = projection.pairwiseSum() / Float(columns)
      forEachLanes(columns) { j, n in
        let d = upstream.lanes(j, n)
        let normalised = (source.lanes(j, n) - m) * r
        let g = d * weight.lanes(j, n)
        result.store((g - meanG).addingProduct(normalised, Lanes(repeating: -meanGX)) * r, j, n)
        dweight.store(dweight.lanes(j, n).addingProduct(d, normalised), j, n)
        if let dbias { dbias.store(dbias.lanes(j, n) + d, j, n) }
      }
    }
  }
}
