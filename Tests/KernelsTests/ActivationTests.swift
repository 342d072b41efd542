// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels
import TestSupport
import Testing

/// Oracle: the formulas in double precision; derivatives by central differences of them.
struct ActivationTests {
  private func exact(_ activation: Activation) -> (Double) -> Double {
    switch activation {
    case .geluTanh: { 0.5 * $0 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }
    case .geluErf: { 0.5 * $0 * (1 + erf($0 / 2.0.squareRoot())) }
    case .silu: { $0 / (1 + exp(-$0)) }
    case .quickGelu: { $0 / (1 + exp(-1.702 * $0)) }
    case .relu: { max($0, 0) }
    case .squaredRelu: { max($0, 0) * max($0, 0) }
    case .tanh: { tanh($0) }
    }
  }

  @Test(arguments: Activation.allCases, [1, 8, 13, 200] as [Int])
  func forwardAndBackward(_ activation: Activation, count: Int) {
    var samples = SeededGenerator(seed: UInt64(count))
    let f = exact(activation)
    let x = samples.floats(count, in: -6...6)
    let dy = samples.floats(count)
    // One element more than `count` shows whether a tail writes too far.
    var y = [Float](repeating: 77, count: count + 1)
    activation.forward(x, into: &y, count: count)
    // Values up to 6; a few roundings each.
    #expect(worstError(Array(y.dropLast()), x.doubles.map(f)) <= 6 * 4 * epsilon)
    #expect(y[count] == 77)

    var dx = [Float](repeating: 77, count: count + 1)
    activation.backward(saved: activation.savesOutput ? y : x, dy: dy, dx: &dx, count: count)
    let slope = x.doubles.map { (f($0 + 1e-5) - f($0 - 1e-5)) / 2e-5 }
    // x σ (1 - σ) loses up to |x| ulp; 1e-9 is the error of the central difference.
    #expect(worstError(Array(dx.dropLast()), zip(slope, dy.doubles).map { $0 * $1 }) <= 6 * 8 * epsilon + 1e-9)
    #expect(dx[count] == 77)
  }

  @Test(arguments: Activation.allCases)
  func inPlaceIsTheSame(_ activation: Activation) {
    var samples = SeededGenerator(seed: 3)
    let x = samples.floats(21, in: -4...4)
    var y = x
    activation.forward(x, into: &y, count: x.count)
    var z = x
    z.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { activation.forward(base, into: base, count: $0.count) } }
    #expect(y == z)
  }

  /// Whole vectors and tails compute the same value, so that a shard's boundary does not show.
  @Test(arguments: Activation.allCases)
  func valueDoesNotDependOnItsPlace(_ activation: Activation) {
    var samples = SeededGenerator(seed: 4)
    let x = samples.floats(16, in: -4...4)
    var whole = x
    activation.forward(x, into: &whole, count: 16)
    for count in 1...15 {
      var part = [Float](repeating: 0, count: count)
      activation.forward(x, into: &part, count: count)
      #expect(part == Array(whole[..<count]))
    }
  }
}
