// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import TestSupport
import Testing

/// Oracle: the definitions in double precision; gradients by the definitions' transposes, or central differences.
struct ConvolutionTests {
  private static let shapes = [
    Convolution(inputs: 3, height: 6, width: 5, outputs: 4, kernelHeight: 3, kernelWidth: 3, stride: 1, padding: 1),
    Convolution(inputs: 2, height: 7, width: 8, outputs: 3, kernelHeight: 3, kernelWidth: 2, stride: 2, padding: 1),
    Convolution(inputs: 5, height: 4, width: 3, outputs: 2, kernelHeight: 1, kernelWidth: 1, stride: 1, padding: 0),
    Convolution(inputs: 2, height: 9, width: 9, outputs: 3, kernelHeight: 1, kernelWidth: 1, stride: 2, padding: 0),
    Convolution(inputs: 1, height: 8, width: 3, outputs: 2, kernelHeight: 7, kernelWidth: 7, stride: 3, padding: 3),
  ]

  /// Calls `body` with each product of the convolution: the indices of its factors in x and w, and of the sum in y.
  private func forEachProduct(_ c: Convolution, batch: Int, _ body: (_ x: Int, _ w: Int, _ y: Int) -> Void) {
    for b in 0..<batch {
      for o in 0..<c.outputs {
        for row in 0..<c.rows {
          for column in 0..<c.columns {
            for i in 0..<c.inputs {
              for ky in 0..<c.kernelHeight {
                for kx in 0..<c.kernelWidth {
                  let (py, px) = (row * c.stride + ky - c.padding, column * c.stride + kx - c.padding)
                  guard (0..<c.height).contains(py), (0..<c.width).contains(px) else { continue }
                  body(
                    ((b * c.inputs + i) * c.height + py) * c.width + px, ((o * c.inputs + i) * c.kernelHeight + ky) * c.kernelWidth + kx,
                    ((b * c.outputs + o) * c.rows + row) * c.columns + column)
                }
              }
            }
          }
        }
      }
    }
  }

  @Test(arguments: shapes.indices) func forwardAndBackward(_ index: Int) {
    let (c, batch) = (Self.shapes[index], 2)
    var samples = SeededGenerator(seed: UInt64(index + 1))
    let x = samples.floats(batch * c.inputs * c.height * c.width)
    let w = samples.floats(c.outputs * c.inputs * c.kernelHeight * c.kernelWidth)
    let dy = samples.floats(batch * c.outputs * c.rows * c.columns)
    let dw0 = samples.floats(w.count)
    var (exactY, exactX, exactW) = ([Double](repeating: 0, count: dy.count), [Double](repeating: 0, count: x.count), dw0.doubles)
    forEachProduct(c, batch: batch) { i, j, k in
      exactY[k] += Double(x[i]) * Double(w[j])
      exactX[i] += Double(dy[k]) * Double(w[j])
      exactW[j] += Double(dy[k]) * Double(x[i])
    }
    var scratch = [Float](repeating: 77, count: max(1, c.scratchCount))
    var y = [Float](repeating: 77, count: dy.count + 1)
    c.forward(x, weight: w, into: &y, batch: batch, scratch: &scratch)
    // Values are at most 1, so a sum of n products errs by less than n ε times its own size, n.
    func tolerance(_ terms: Int) -> Double { epsilon * Double(terms) * 4 }
    #expect(worstError(y, exactY + [77]) <= tolerance(c.inputs * c.kernelHeight * c.kernelWidth))
    var dx = [Float](repeating: 77, count: x.count + 1)
    c.inputGradient(dy: dy, weight: w, into: &dx, batch: batch, scratch: &scratch)
    #expect(worstError(dx, exactX + [77]) <= tolerance(c.outputs * c.kernelHeight * c.kernelWidth))
    var dw = dw0 + [77]
    c.accumulateWeightGradient(x, dy: dy, into: &dw, replaces: false, batch: batch, scratch: &scratch)
    #expect(worstError(dw, exactW + [77]) <= tolerance(batch * c.rows * c.columns))
    c.accumulateWeightGradient(x, dy: dy, into: &dw, replaces: true, batch: batch, scratch: &scratch)
    #expect(worstError(dw, zip(exactW, dw0.doubles).map(-) + [77]) <= tolerance(batch * c.rows * c.columns + 1))
  }

  /// Each window's largest value by sorting; its gradient goes there.
  @Test(arguments: [(6, 5, 3, 2, 1), (7, 7, 2, 2, 0), (4, 9, 3, 1, 1)] as [(Int, Int, Int, Int, Int)])
  func maximumPooling(_ height: Int, _ width: Int, _ size: Int, _ stride: Int, _ padding: Int) {
    var samples = SeededGenerator(seed: UInt64(height * 10 + width))
    let planes = 3
    let (rows, columns) = ((height + 2 * padding - size) / stride + 1, (width + 2 * padding - size) / stride + 1)
    // Some values are equal: the first of a window counts.
    let x = samples.floats(planes * height * width).map { ($0 * 8).rounded() - 20 }
    let dy = samples.floats(planes * rows * columns)
    var expected: [Float] = []
    var expectedX = [Double](repeating: 0, count: x.count)
    for plane in 0..<planes {
      for row in 0..<rows {
        for column in 0..<columns {
          var places: [Int] = []
          for y in row * stride - padding..<row * stride - padding + size where (0..<height).contains(y) {
            for px in column * stride - padding..<column * stride - padding + size where (0..<width).contains(px) {
              places.append((plane * height + y) * width + px)
            }
          }
          let best = places.sorted { (x[$0], $1) > (x[$1], $0) }[0]
          expectedX[best] += Double(dy[expected.count])
          expected.append(x[best])
        }
      }
    }
    var y = [Float](repeating: 77, count: expected.count + 1)
    Pooling.maximum(
      x, into: &y, planes: planes, height: height, width: width, rows: rows, columns: columns, size: size, stride: stride, padding: padding)
    #expect(y == expected + [77])
    var dx = [Float](repeating: 77, count: x.count + 1)
    Pooling.maximumGradient(
      x, dy: dy, into: &dx, planes: planes, height: height, width: width, rows: rows, columns: columns, size: size, stride: stride, padding: padding)
    #expect(worstError(dx, expectedX + [77]) <= 16 * epsilon)
  }

  @Test func averagePooling() {
    let x = (0..<2 * 11).map { Float($0 * $0 % 7) }
    var (y, dx) = ([Float](repeating: 77, count: 3), [Float](repeating: 77, count: 23))
    Pooling.average(x, into: &y, planes: 2, positions: 11)
    let means = [x[..<11], x[11...]].map { Double($0.reduce(0, +)) / 11 }
    #expect(worstError(y, means + [77]) <= 8 * epsilon)
    Pooling.averageGradient([2, 3], into: &dx, planes: 2, positions: 11)
    #expect(dx == [Float](repeating: 2 / 11, count: 11) + [Float](repeating: 3 / 11, count: 11) + [77])
  }

  private func batchNorm(_ x: [Double], _ w: [Double], _ b: [Double], batch: Int) -> [Double] {
    let channels = w.count
    let positions = x.count / batch / channels
    func isOf(_ channel: Int, _ index: Int) -> Bool { index / positions % channels == channel }
    var y = x
    for c in 0..<channels {
      let own = x.indices.filter { isOf(c, $0) }
      let mean = own.reduce(0) { $0 + x[$1] } / Double(own.count)
      let variance = own.reduce(0) { $0 + (x[$1] - mean) * (x[$1] - mean) } / Double(own.count)
      for i in own { y[i] = (x[i] - mean) / (variance + 1e-5).squareRoot() * w[c] + b[c] }
    }
    return y
  }

  /// The steps that ranks carry out one after the other, on one rank with all samples.
  @Test(arguments: [(2, 3, 5), (3, 1, 16), (1, 4, 9)] as [(Int, Int, Int)])
  func batchNormForwardAndBackward(_ batch: Int, _ channels: Int, _ positions: Int) {
    var samples = SeededGenerator(seed: UInt64(batch * 100 + channels * 10 + positions))
    let x = samples.floats(batch * channels * positions, in: 1...3)
    let (w, b, dy) = (samples.floats(channels), samples.floats(channels), samples.floats(x.count))
    let kernel = BatchNorm(batch: batch, channels: channels, positions: positions)
    let count = batch * positions
    var (mean, rstd) = ([Float](repeating: 0, count: channels), [Float](repeating: 0, count: channels))
    kernel.sum(x, into: &mean)
    for c in 0..<channels { mean[c] /= Float(count) }
    kernel.sumOfSquares(x, mean: mean, into: &rstd)
    for c in 0..<channels { rstd[c] = 1 / (rstd[c] / Float(count) + 1e-5).squareRoot() }
    var y = [Float](repeating: 77, count: x.count + 1)
    kernel.forward(x, weight: w, bias: b, mean: mean, rstd: rstd, into: &y)
    let spread = Double(rstd.max() ?? 0)
    let tolerance = 8 * epsilon * (3 * spread + Double(count).squareRoot())
    #expect(worstError(y, batchNorm(x.doubles, w.doubles, b.doubles, batch: batch) + [77]) <= tolerance)

    var (sum, projection) = ([Float](repeating: 0, count: channels), [Float](repeating: 0, count: channels))
    kernel.gradientSums(x, mean: mean, rstd: rstd, dy: dy, sum: &sum, projection: &projection)
    var dx = [Float](repeating: 77, count: x.count + 1)
    kernel.inputGradient(x, weight: w, mean: mean, rstd: rstd, dy: dy, sum: sum, projection: projection, count: count, into: &dx)
    let exactX = centralDifferences(x.doubles) { dot(batchNorm($0, w.doubles, b.doubles, batch: batch), dy.doubles) }
    let exactW = centralDifferences(w.doubles) { dot(batchNorm(x.doubles, $0, b.doubles, batch: batch), dy.doubles) }
    let exactB = centralDifferences(b.doubles) { dot(batchNorm(x.doubles, w.doubles, $0, batch: batch), dy.doubles) }
    #expect(worstError(dx, exactX + [77]) <= spread * 4 * tolerance + 1e-10 * spread * spread * spread + 1e-9)
    #expect(worstError(projection, exactW) <= Double(count) * tolerance + 1e-9)
    #expect(worstError(sum, exactB) <= Double(count) * tolerance + 1e-9)
  }
}
