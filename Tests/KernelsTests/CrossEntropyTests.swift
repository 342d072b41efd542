// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels
import TestSupport
import Testing

/// Oracle: -log softmax in double precision; the gradient by central differences.
struct CrossEntropyTests {
  private func loss(_ logits: [Double], _ labels: [Int32]) -> Double {
    let columns = logits.count / labels.count
    return labels.enumerated().reduce(0) { sum, row in
      guard row.element != CrossEntropy.ignoredLabel else { return sum }
      let line = logits[row.offset * columns..<(row.offset + 1) * columns]
      let maximum = line.max() ?? 0
      return sum + log(line.reduce(0) { $0 + exp($1 - maximum) }) + maximum - line[line.startIndex + Int(row.element)]
    }
  }

  @Test(arguments: [1, 2, 4] as [Int])
  func splitVocabulary(parts: Int) {
    let (rows, columns) = (5, 27)
    var samples = SeededGenerator(seed: UInt64(parts))
    let logits = samples.floats(rows * columns, in: -9...9)
    var labels = (0..<rows).map { _ in Int32(samples.int(0...columns - 1)) }
    labels[2] = CrossEntropy.ignoredLabel
    let ranges = (0..<parts).map { $0 * columns / parts..<($0 + 1) * columns / parts }
    let shards = ranges.map { range in (0..<rows).flatMap { row in range.map { logits[row * columns + $0] } } }

    var maximum = [Float](repeating: -.infinity, count: rows)
    for (range, shard) in zip(ranges, shards) {
      var part = [Float](repeating: 0, count: rows)
      CrossEntropy.rowMaximum(shard, into: &part, rows: rows, columns: range.count)
      maximum = zip(maximum, part).map { max($0, $1) }
    }
    #expect(maximum == (0..<rows).map { row in logits[row * columns..<(row + 1) * columns].max() ?? 0 })

    var (sumExp, target) = ([Float](repeating: 0, count: rows), [Float](repeating: 0, count: rows))
    for (range, shard) in zip(ranges, shards) {
      var (sums, targets) = (sumExp, target)
      CrossEntropy.sumExpAndTarget(
        shard, rowMaximum: maximum, labels: labels, vocabulary: range, sumExp: &sums, target: &targets, rows: rows)
      sumExp = zip(sumExp, sums).map(+)
      target = zip(target, targets).map(+)
    }
    let result = CrossEntropy.lossSum(rowMaximum: maximum, sumExp: sumExp, target: target, labels: labels, rows: rows)
    #expect(result.count == rows - 1)
    // Each exponential's argument is exact to ulp(18), and a row's sum has relative error of a few of those.
    #expect(abs(result.sum - loss(logits.doubles, labels)) <= Double(rows) * 18 * 2 * epsilon)

    let scale: Float = 0.25
    let expected = centralDifferences(logits.doubles) { loss($0, labels) * Double(scale) }
    for (range, shard) in zip(ranges, shards) {
      var gradient = [Float](repeating: 77, count: shard.count + 1)
      CrossEntropy.backward(
        shard, rowMaximum: maximum, sumExp: sumExp, labels: labels, vocabulary: range, scale: scale, into: &gradient, rows: rows)
      let part = (0..<rows).flatMap { row in range.map { expected[row * columns + $0] } }
      #expect(worstError(gradient, part + [77]) <= Double(scale) * 18 * 2 * epsilon + 1e-9)
    }
  }
}
