// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels
import TestSupport
import Testing

/// Oracle: the definitions in double precision; gradients by central differences of them.
struct PairingTests {
  private func unit(_ x: [Double], _ columns: Int) -> [Double] {
    stride(from: 0, to: x.count, by: columns).flatMap { start in
      let row = x[start..<start + columns]
      let norm = row.reduce(0) { $0 + $1 * $1 }.squareRoot()
      return row.map { $0 / norm }
    }
  }

  @Test(arguments: [(1, 2), (3, 8), (2, 13), (4, 43)] as [(Int, Int)])
  func unitNorm(_ rows: Int, _ columns: Int) {
    var samples = SeededGenerator(seed: UInt64(rows * 100 + columns))
    let (x, dy) = (samples.floats(rows * columns, in: -2...2), samples.floats(rows * columns))
    var y = [Float](repeating: 77, count: x.count + 1)
    var inverse = [Float](repeating: 0, count: rows)
    UnitNorm.forward(x, into: &y, inverse: &inverse, rows: rows, columns: columns)
    #expect(worstError(Array(y.dropLast()), unit(x.doubles, columns)) <= 4 * epsilon)
    #expect(y[x.count] == 77)

    var dx = [Float](repeating: 77, count: x.count + 1)
    UnitNorm.backward(x: x, inverse: inverse, dy: dy, dx: &dx, rows: rows, columns: columns)
    let exact = centralDifferences(x.doubles) { dot(unit($0, columns), dy.doubles) }
    // dy · y has at most √columns; everything is divided by the norm.
    let spread = Double(inverse.max() ?? 0)
    #expect(worstError(Array(dx.dropLast()), exact) <= spread * 8 * epsilon * Double(columns).squareRoot() + 1e-10 * spread * spread * spread + 1e-9)
  }

  private func loss(_ logits: [Double], _ n: Int) -> Double {
    func direction(_ at: (Int, Int) -> Int) -> Double {
      (0..<n).reduce(0) { sum, i in
        let line = (0..<n).map { logits[at(i, $0)] }
        let maximum = line.max() ?? 0
        return sum + log(line.reduce(0) { $0 + exp($1 - maximum) }) + maximum - line[i]
      }
    }
    return (direction { $0 * n + $1 } + direction { $1 * n + $0 }) / 2
  }

  @Test(arguments: [(1, 1), (5, 1), (5, 2), (11, 3)] as [(Int, Int)])
  func contrastiveLossOfSplitRows(_ n: Int, parts: Int) {
    var samples = SeededGenerator(seed: UInt64(n * 10 + parts))
    let logits = samples.floats(n * n, in: -9...9)
    let ranges = (0..<parts).map { $0 * n / parts..<($0 + 1) * n / parts }
    let shards = ranges.map { Array(logits[$0.lowerBound * n..<$0.upperBound * n]) }
    var statistics: [(maximum: [Float], sum: [Float])] = []
    var columnMaximum = [Float](repeating: -.infinity, count: n)
    for (range, shard) in zip(ranges, shards) {
      let zeros = [Float](repeating: 0, count: range.count)
      var (maximum, sum, own) = (zeros, zeros, [Float](repeating: 0, count: n))
      ContrastiveLoss.rowStatistics(shard, rowMaximum: &maximum, rowSum: &sum, columnMaximum: &own, rows: range.count, columns: n)
      statistics.append((maximum, sum))
      columnMaximum = zip(columnMaximum, own).map { max($0, $1) }
    }
    var columnSum = [Float](repeating: 0, count: n)
    for (range, shard) in zip(ranges, shards) {
      var own = columnSum
      ContrastiveLoss.columnSums(shard, columnMaximum: columnMaximum, columnSum: &own, rows: range.count, columns: n)
      columnSum = zip(columnSum, own).map(+)
    }
    let total = ranges.indices.reduce(0.0) { sum, part in
      sum
        + ContrastiveLoss.lossSum(
          shards[part], rowMaximum: statistics[part].maximum, rowSum: statistics[part].sum, columnMaximum: columnMaximum, columnSum: columnSum,
          rows: ranges[part], columns: n)
    }
    // Each exponential's argument is exact to ulp(18), and a sum has a relative error of a few of those.
    #expect(abs(total - loss(logits.doubles, n)) <= Double(n) * 18 * 2 * epsilon)

    let scale: Float = 0.25
    let expected = centralDifferences(logits.doubles) { loss($0, n) * Double(scale) }
    for (part, shard) in shards.enumerated() {
      var gradient = [Float](repeating: 77, count: shard.count + 1)
      ContrastiveLoss.backward(
        shard, rowMaximum: statistics[part].maximum, rowSum: statistics[part].sum, columnMaximum: columnMaximum, columnSum: columnSum,
        rows: ranges[part], columns: n, scale: scale, into: &gradient)
      let exact = Array(expected[ranges[part].lowerBound * n..<ranges[part].upperBound * n])
      #expect(worstError(gradient, exact + [77]) <= Double(scale) * 18 * 2 * epsilon + 1e-9)
    }
  }
}
