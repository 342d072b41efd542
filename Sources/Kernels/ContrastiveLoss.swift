// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Softmax cross-entropy of a square of logits over its rows and over its columns, whose rows are split over ranks.
///
/// A rank holds logits [rows.count, columns], the rows of the samples in `rows`; the pair of sample r is column r. Two reductions over
/// the ranks stand between the steps: the maximum of `columnMaximum`, and the sum of `columnSum`. On one rank there is nothing to reduce.
package enum ContrastiveLoss {
  /// rowMaximum[r] = max_j logits[r, j], rowSum[r] = Σ_j exp(logits[r, j] - rowMaximum[r]), and columnMaximum[j] over this rank's rows.
  package static func rowStatistics(
    _ logits: UnsafePointer<Float>, rowMaximum: UnsafeMutablePointer<Float>, rowSum: UnsafeMutablePointer<Float>,
    columnMaximum: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    columnMaximum.update(repeating: -.infinity, count: columns)
    for row in 0..<rows {
      let line = logits + row * columns
      let maximum = maximumLanes(line, count: columns)
      rowMaximum[row] = maximum
      rowSum[row] = sumLanes(line, count: columns) { ($0 - maximum).exp() }
      mapLanes(columnMaximum, line, into: columnMaximum, count: columns) { $0.maximum($1) }
    }
  }

  /// columnSum[j] = Σ_r exp(logits[r, j] - columnMaximum[j]) over this rank's rows, from the reduced maximum.
  package static func columnSums(
    _ logits: UnsafePointer<Float>, columnMaximum: UnsafePointer<Float>, columnSum: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    columnSum.update(repeating: 0, count: columns)
    for row in 0..<rows {
      let line = logits + row * columns
      forEachLanes(columns) { j, n in
        columnSum.store(columnSum.lanes(j, n) + (line.lanes(j, n) - columnMaximum.lanes(j, n)).exp(), j, n)
      }
    }
  }

  /// Half of the two directions' losses, summed over the samples in `rows`; from reduced statistics.
  package static func lossSum(
    _ logits: UnsafePointer<Float>, rowMaximum: UnsafePointer<Float>, rowSum: UnsafePointer<Float>, columnMaximum: UnsafePointer<Float>,
    columnSum: UnsafePointer<Float>, rows: Range<Int>, columns: Int
  ) -> Double {
    var sum = 0.0
    for (row, sample) in rows.enumerated() {
      let own = Double(logits[row * columns + sample])
      sum += log(Double(rowSum[row])) + Double(rowMaximum[row]) - own
      sum += log(Double(columnSum[sample])) + Double(columnMaximum[sample]) - own
    }
    return sum / 2
  }

  /// dlogits[r, j] = (softmax over row r + softmax over column j - 2 [j is r]) × scale / 2; from reduced statistics. `dlogits` may be `logits`.
  package static func backward(
    _ logits: UnsafePointer<Float>, rowMaximum: UnsafePointer<Float>, rowSum: UnsafePointer<Float>, columnMaximum: UnsafePointer<Float>,
    columnSum: UnsafePointer<Float>, rows: Range<Int>, columns: Int, scale: Float, into dlogits: UnsafeMutablePointer<Float>
  ) {
    for (row, sample) in rows.enumerated() {
      let (line, result) = (logits + row * columns, dlogits + row * columns)
      let (maximum, half) = (rowMaximum[row], scale / 2)
      let factor = half / rowSum[row]
      forEachLanes(columns) { j, n in
        let x = line.lanes(j, n)
        let overColumn = (x - columnMaximum.lanes(j, n)).exp() * half / columnSum.lanes(j, n, padding: 1)
        result.store(overColumn.addingProduct((x - maximum).exp(), Lanes(repeating: factor)), j, n)
      }
      result[sample] -= scale
    }
  }
}
