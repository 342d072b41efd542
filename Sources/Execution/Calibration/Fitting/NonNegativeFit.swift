// SPDX-License-Identifier: GPL-3.0-or-later

/// Constants x ≥ 0 for which sums Σ_j a_ij x_j come close to times t_i: the least Σ w_i (Σ_j a_ij x_j / t_i − 1)², so that small and large times
/// count alike.
///
/// There are few constants, so every set of those that are not 0 is tried; each is a system of normal equations. Weights hold outliers down: those of
/// Huber's function (Huber 1964) with its bend at an error of `bend`, found by repetition.
enum NonNegativeFit {
  private static let bend = 0.05
  private static let rounds = 8

  /// - Parameters:
  ///   - rows: for each time the factors of all constants, not all 0.
  ///   - times: above 0.
  static func fit(_ rows: [[Double]], _ times: [Double]) -> [Double] {
    guard let width = rows.first?.count, width > 0 else { return [] }
    precondition(rows.count == times.count && width < 16)
    let scaled = zip(rows, times).map { row, time in row.map { $0 / time } }
    // Columns of one size, so that sums of squares lose nothing.
    let sizes = (0..<width).map { column in max(scaled.reduce(0) { max($0, abs($1[column])) }, 1e-300) }
    let matrix = scaled.map { row in zip(row, sizes).map { $0 / $1 } }
    var weights = [Double](repeating: 1, count: rows.count)
    var best = [Double](repeating: 0, count: width)
    for _ in 0..<rounds {
      best = leastSquares(matrix, weights, width)
      weights = matrix.map { row in
        let error = abs(zip(row, best).reduce(-1) { $0 + $1.0 * $1.1 })
        return error <= bend ? 1 : bend / error
      }
    }
    return zip(best, sizes).map { $0 / $1 }
  }

  private static func leastSquares(_ matrix: [[Double]], _ weights: [Double], _ width: Int) -> [Double] {
    var best = [Double](repeating: 0, count: width)
    var least = weights.reduce(0, +)  // of all constants 0
    for set in 1..<1 << width {
      let columns = (0..<width).filter { set >> $0 & 1 == 1 }
      guard let part = solve(matrix, weights, columns), part.allSatisfy({ $0 > 0 }) else { continue }
      var x = [Double](repeating: 0, count: width)
      for (column, value) in zip(columns, part) { x[column] = value }
      let sum = zip(matrix, weights).reduce(0) { sum, row in
        let error = zip(row.0, x).reduce(-1) { $0 + $1.0 * $1.1 }
        return sum + row.1 * error * error
      }
      if sum < least { (least, best) = (sum, x) }
    }
    return best
  }

  /// The normal equations by elimination with pivots; nil where they have no single solution.
  private static func solve(_ matrix: [[Double]], _ weights: [Double], _ columns: [Int]) -> [Double]? {
    let n = columns.count
    var a = columns.map { i in
      columns.map { j in zip(matrix, weights).reduce(0) { $0 + $1.1 * $1.0[i] * $1.0[j] } }
        + [zip(matrix, weights).reduce(0) { $0 + $1.1 * $1.0[i] }]
    }
    let scale = a.indices.map { a[$0][$0] }.max() ?? 0
    for pivot in 0..<n {
      guard let row = (pivot..<n).max(by: { abs(a[$0][pivot]) < abs(a[$1][pivot]) }), abs(a[row][pivot]) > 1e-12 * scale else { return nil }
      a.swapAt(pivot, row)
      for other in 0..<n where other != pivot {
        let factor = a[other][pivot] / a[pivot][pivot]
        if factor != 0 { for column in pivot...n { a[other][column] -= factor * a[pivot][column] } }
      }
    }
    return (0..<n).map { a[$0][n] / a[$0][$0] }
  }
}
