// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Softmax cross-entropy over a vocabulary that is split over ranks.
///
/// A rank holds logits [rows, vocabulary.count], the columns of the tokens in `vocabulary`. Three reductions over the ranks
/// stand between the steps: the maximum of `rowMaximum`, and the sums of `sumExp` and `target`. On one rank there is nothing
/// to reduce. Labels are global token numbers; `ignoredLabel` takes no part in loss or gradient.
package enum CrossEntropy {
  /// PyTorch's and Hugging Face's label of a position that does not count.
  package static let ignoredLabel: Int32 = -100

  /// rowMaximum[r] = max_j logits[r, j]
  package static func rowMaximum(
    _ logits: UnsafePointer<Float>, into rowMaximum: UnsafeMutablePointer<Float>, rows: Int, columns: Int
  ) {
    for row in 0..<rows { rowMaximum[row] = maximumLanes(logits + row * columns, count: columns) }
  }

  /// sumExp[r] = Σ_j exp(logits[r, j] - rowMaximum[r]), and target[r] = the label's logit, 0 where this rank does not own it.
  package static func sumExpAndTarget(
    _ logits: UnsafePointer<Float>, rowMaximum: UnsafePointer<Float>, labels: UnsafePointer<Int32>, vocabulary: Range<Int>,
    sumExp: UnsafeMutablePointer<Float>, target: UnsafeMutablePointer<Float>, rows: Int
  ) {
    let columns = vocabulary.count
    for row in 0..<rows {
      let line = logits + row * columns
      let maximum = rowMaximum[row]
      sumExp[row] = sumLanes(line, count: columns) { ($0 - maximum).exp() }
      let label = Int(labels[row])
      target[row] = vocabulary.contains(label) ? line[label - vocabulary.lowerBound] : 0
    }
  }

  /// Σ_r log(sumExp[r]) + rowMaximum[r] - target[r] over the rows whose label counts, and how many do; from reduced statistics.
  package static func lossSum(
    rowMaximum: UnsafePointer<Float>, sumExp: UnsafePointer<Float>, target: UnsafePointer<Float>, labels: UnsafePointer<Int32>,
    rows: Int
  ) -> (sum: Double, count: Int) {
    var sum = 0.0
    var count = 0
    for row in 0..<rows where labels[row] != ignoredLabel {
      sum += log(Double(sumExp[row])) + Double(rowMaximum[row]) - Double(target[row])
      count += 1
    }
    return (sum, count)
  }

  /// dlogits[r, j] = (exp(logits[r, j] - rowMaximum[r]) / sumExp[r] - [j is the label]) × scale, and 0 in a row that does not
  /// count; from reduced statistics. `scale` is the loss's gradient over the global number of labels that count.
  /// `dlogits` may be `logits`.
  package static func backward(
    _ logits: UnsafePointer<Float>, rowMaximum: UnsafePointer<Float>, sumExp: UnsafePointer<Float>, labels: UnsafePointer<Int32>,
    vocabulary: Range<Int>, scale: Float, into dlogits: UnsafeMutablePointer<Float>, rows: Int
  ) {
    let columns = vocabulary.count
    for row in 0..<rows {
      let line = logits + row * columns
      let result = dlogits + row * columns
      if labels[row] == ignoredLabel {
        result.update(repeating: 0, count: columns)
        continue
      }
      let maximum = rowMaximum[row]
      let factor = scale / sumExp[row]
      mapLanes(line, into: result, count: columns) { ($0 - maximum).exp() * factor }
      let label = Int(labels[row])
      if vocabulary.contains(label) { result[label - vocabulary.lowerBound] -= scale }
    }
  }
}
