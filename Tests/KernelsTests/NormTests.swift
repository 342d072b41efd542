// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import TestSupport
import Testing

/// Oracle: the definitions in double precision; gradients by central differences of them.
struct NormTests {
  private let stability = 1e-5

  private func layerNorm(_ x: [Double], _ w: [Double], _ b: [Double]) -> [Double] {
    let n = w.count
    return stride(from: 0, to: x.count, by: n).flatMap { start in
      let row = x[start..<start + n]
      let mean = row.reduce(0, +) / Double(n)
      let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
      return zip(row, zip(w, b)).map { ($0 - mean) / (variance + stability).squareRoot() * $1.0 + $1.1 }
    }
  }

  private func rmsNorm(_ x: [Double], _ w: [Double]) -> [Double] {
    let n = w.count
    return stride(from: 0, to: x.count, by: n).flatMap { start in
      let row = x[start..<start + n]
      let square = row.reduce(0) { $0 + $1 * $1 } / Double(n)
      return zip(row, w).map { $0 / (square + stability).squareRoot() * $1 }
    }
  }

  @Test(arguments: [(1, 2), (3, 8), (2, 13), (4, 43)] as [(Int, Int)])
  func layerNormForwardAndBackward(_ rows: Int, _ columns: Int) {
    var samples = SeededGenerator(seed: UInt64(rows * 100 + columns))
    let x = samples.floats(rows * columns, in: 1...3)
    let (w, b, dy) = (samples.floats(columns), samples.floats(columns), samples.floats(rows * columns))
    var y = [Float](repeating: 77, count: x.count + 1)
    var (mean, rstd) = ([Float](repeating: 0, count: rows), [Float](repeating: 0, count: rows))
    LayerNorm.forward(
      x, weight: w, bias: b, epsilon: 1e-5, into: &y, mean: &mean, rstd: &rstd, rows: rows, columns: columns)
    // x - mean loses ulp(3) against a deviation of 1 / rstd; the normalised value is at most √columns.
    let spread = Double(rstd.max() ?? 0)
    let tolerance = 8 * epsilon * (3 * spread + Double(columns).squareRoot())
    #expect(worstError(Array(y.dropLast()), layerNorm(x.doubles, w.doubles, b.doubles)) <= tolerance)
    #expect(y[x.count] == 77)

    var dx = [Float](repeating: 77, count: x.count + 1)
    let (dw0, db0) = (samples.floats(columns), samples.floats(columns))
    var (dw, db) = (dw0 + [77], db0 + [77])
    LayerNorm.backward(
      x: x, weight: w, mean: mean, rstd: rstd, dy: dy, dx: &dx, dweight: &dw, dbias: &db, rows: rows, columns: columns)
    let exactX = centralDifferences(x.doubles) { dot(layerNorm($0, w.doubles, b.doubles), dy.doubles) }
    let exactW = centralDifferences(w.doubles) { dot(layerNorm(x.doubles, $0, b.doubles), dy.doubles) }
    let exactB = centralDifferences(b.doubles) { dot(layerNorm(x.doubles, w.doubles, $0), dy.doubles) }
    // dx is of the order of rstd; the third derivative, which bounds the central difference, of its cube.
    #expect(worstError(Array(dx.dropLast()), exactX) <= spread * 4 * tolerance + 1e-10 * spread * spread * spread + 1e-9)
    #expect(worstError(dw, zip(exactW, dw0.doubles).map(+) + [77]) <= Double(rows) * tolerance + 1e-9)
    #expect(worstError(db, zip(exactB, db0.doubles).map(+) + [77]) <= Double(rows) * tolerance + 1e-9)
  }

  @Test(arguments: [(1, 2), (3, 8), (2, 13), (4, 43)] as [(Int, Int)])
  func rmsNormForwardAndBackward(_ rows: Int, _ columns: Int) {
    var samples = SeededGenerator(seed: UInt64(rows * 100 + columns))
    let x = samples.floats(rows * columns, in: -2...2)
    let (w, dy) = (samples.floats(columns), samples.floats(rows * columns))
    var y = [Float](repeating: 77, count: x.count + 1)
    var rstd = [Float](repeating: 0, count: rows)
    RMSNorm.forward(x, weight: w, epsilon: 1e-5, into: &y, rstd: &rstd, rows: rows, columns: columns)
    let spread = Double(rstd.max() ?? 0)
    let tolerance = 8 * epsilon * Double(columns).squareRoot()
    #expect(worstError(Array(y.dropLast()), rmsNorm(x.doubles, w.doubles)) <= tolerance)
    #expect(y[x.count] == 77)

    var dx = [Float](repeating: 77, count: x.count + 1)
    let dw0 = samples.floats(columns)
    var dw = dw0 + [77]
    RMSNorm.backward(x: x, weight: w, rstd: rstd, dy: dy, dx: &dx, dweight: &dw, rows: rows, columns: columns)
    let exactX = centralDifferences(x.doubles) { dot(rmsNorm($0, w.doubles), dy.doubles) }
    let exactW = centralDifferences(w.doubles) { dot(rmsNorm(x.doubles, $0), dy.doubles) }
    #expect(worstError(Array(dx.dropLast()), exactX) <= spread * 4 * tolerance + 1e-10 * spread * spread * spread + 1e-9)
    #expect(worstError(dw, zip(exactW, dw0.doubles).map(+) + [77]) <= Double(rows) * tolerance + 1e-9)
  }

  /// Weights that are stored as differences from 1 give what the weights themselves give.
  @Test(arguments: [(3, 8), (2, 13)] as [(Int, Int)])
  func rmsNormAddsOne(_ rows: Int, _ columns: Int) {
    var samples = SeededGenerator(seed: UInt64(rows * 100 + columns))
    let (x, dy) = (samples.floats(rows * columns, in: -2...2), samples.floats(rows * columns))
    // Multiples of 2^-10, so that adding 1 does not round.
    let difference = (0..<columns).map { Float($0 * 37 % 101) * 0x1p-10 }
    let w = difference.map { 1 + $0 }
    func run(_ weight: [Float], addend: Float) -> [[Float]] {
      var (y, dx, rstd) = (x, x, [Float](repeating: 0, count: rows))
      var dw = [Float](repeating: 0, count: columns)
      RMSNorm.forward(x, weight: weight, addend: addend, epsilon: 1e-5, into: &y, rstd: &rstd, rows: rows, columns: columns)
      RMSNorm.backward(x: x, weight: weight, addend: addend, rstd: rstd, dy: dy, dx: &dx, dweight: &dw, rows: rows, columns: columns)
      return [y, dx, dw]
    }
    #expect(run(difference, addend: 1) == run(w, addend: 0))
  }

  /// A large common offset must not destroy the variance.
  @Test func statisticsSurviveAnOffset() {
    let columns = 1000
    let x = (0..<columns).map { 1000 + Float($0 % 2) }
    let w = [Float](repeating: 1, count: columns)
    var y = x
    var (mean, rstd): ([Float], [Float]) = ([0], [0])
    LayerNorm.forward(x, weight: w, bias: nil, epsilon: 0, into: &y, mean: &mean, rstd: &rstd, rows: 1, columns: columns)
    // Deviation exactly ½; the mean is rounded to ulp(1000) = 2^-14 at worst.
    #expect(abs(mean[0] - 1000.5) <= 0x1p-14)
    #expect(abs(rstd[0] - 2) <= 1e-6)
  }
}
