// SPDX-License-Identifier: GPL-3.0-or-later

/// Sums, products and biases over contiguous fp32 arrays. A result may be one of the operands unless it says otherwise.
package enum Elementwise {
  /// y[i] = value
  package static func fill(_ y: UnsafeMutablePointer<Float>, count: Int, with value: Float) {
    y.update(repeating: value, count: count)
  }

  /// y[i] = a[i] + b[i]
  package static func add(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int) {
    mapLanes(a, b, into: y, count: count) { $0 + $1 }
  }

  /// y[i] += x[i]
  package static func accumulate(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int) {
    mapLanes(y, x, into: y, count: count) { $0 + $1 }
  }

  /// y[i] += factor × x[i]
  package static func accumulate(_ x: UnsafePointer<Float>, times factor: Float, into y: UnsafeMutablePointer<Float>, count: Int) {
    let factors = Lanes(repeating: factor)
    mapLanes(y, x, into: y, count: count) { $0.addingProduct(factors, $1) }
  }

  /// Σ x[i]², in double precision over blocks of single.
  package static func sumOfSquares(_ x: UnsafePointer<Float>, count: Int) -> Double {
    var total = 0.0
    for start in stride(from: 0, to: count, by: 1024) {
      var sum = Lanes.zero
      forEachLanes(min(1024, count - start)) { i, n in
        let lanes = x.lanes(start + i, n)
        sum.addProduct(lanes, lanes)
      }
      total += Double(sum.pairwiseSum())
    }
    return total
  }

  /// y[i] = factor × x[i]
  package static func scale(_ x: UnsafePointer<Float>, by factor: Float, into y: UnsafeMutablePointer<Float>, count: Int) {
    mapLanes(x, into: y, count: count) { $0 * factor }
  }

  /// y[i] = max(a[i], b[i]): the local half of a reduction by maximum.
  package static func maximum(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int) {
    mapLanes(a, b, into: y, count: count) { $0.maximum($1) }
  }

  /// y[i] = a[i] × b[i]
  package static func multiply(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int) {
    mapLanes(a, b, into: y, count: count) { $0 * $1 }
  }

  /// Backward of `multiply`: da = dy × b, db = dy × a. `da` may be `dy` or `a`, and `db` the other one of `dy`, `b`.
  package static func multiplyBackward(
    a: UnsafePointer<Float>, b: UnsafePointer<Float>, dy: UnsafePointer<Float>, da: UnsafeMutablePointer<Float>,
    db: UnsafeMutablePointer<Float>, count: Int
  ) {
    forEachLanes(count) { i, n in
      let (x, y, d) = (a.lanes(i, n), b.lanes(i, n), dy.lanes(i, n))
      da.store(d * y, i, n)
      db.store(d * x, i, n)
    }
  }

  /// y[r, j] = x[r, j] + bias[j], x and y [rows, columns]; `y` may be `x`.
  package static func addBias(
    _ x: UnsafePointer<Float>, _ bias: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    for row in 0..<rows {
      mapLanes(x + row * columns, bias, into: y + row * columns, count: columns) { $0 + $1 }
    }
  }

  /// dbias[j] += Σ_r dy[r, j], dy [rows, columns].
  package static func accumulateBiasGradient(
    _ dy: UnsafePointer<Float>, into dbias: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    // Four rows per pass over dbias: its load and store are shared, and their sum is pairwise.
    var row = 0
    while row + 4 <= rows {
      let x0 = dy + row * columns
      let (x1, x2, x3) = (x0 + columns, x0 + 2 * columns, x0 + 3 * columns)
      forEachLanes(columns) { j, n in
        let sum = (x0.lanes(j, n) + x1.lanes(j, n)) + (x2.lanes(j, n) + x3.lanes(j, n))
        dbias.store(dbias.lanes(j, n) + sum, j, n)
      }
      row += 4
    }
    while row < rows {
      accumulate(dy + row * columns, into: dbias, count: columns)
      row += 1
    }
  }
}
