// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

@testable import Kernels

/// Oracle: the C library in double precision.
struct TranscendentalTests {
  @Test func exponentialIsWithinItsBound() {
    #expect(worstUlps(from: -87.33, to: 88.37, { $0.exp() }, exact: { exp($0) }) <= 1)
  }

  @Test func sigmoidIsWithinItsBound() {
    #expect(worstUlps(from: -87, to: 40, { $0.sigmoid() }, exact: { 1 / (1 + exp(-$0)) }) <= 2)
  }

  @Test func tanhIsWithinItsBound() {
    #expect(worstUlps(from: -10, to: 10, { $0.tanh() }, exact: { tanh($0) }) <= 1.5)
    #expect(worstUlps(from: -0.7, to: 0.7, { $0.tanh() }, exact: { tanh($0) }) <= 1.5)
  }

  @Test func erfIsWithinItsBound() {
    #expect(worstUlps(from: -6, to: 6, { $0.erf() }, exact: { erf($0) }) <= 1.5)
    #expect(worstUlps(from: -1, to: 1, { $0.erf() }, exact: { erf($0) }) <= 1.5)
  }

  @Test func rootIsWithinItsBound() {
    #expect(worstUlps(from: 1e-12, to: 1e-6, { $0.root() }, exact: { $0.squareRoot() }) <= 1)
    #expect(worstUlps(from: 0, to: 1e4, { $0.root() }, exact: { $0.squareRoot() }) <= 1)
    #expect(worstUlps(from: 1e30, to: 3e38, { $0.root() }, exact: { $0.squareRoot() }) <= 1)
  }

  @Test func limits() {
    let x = Lanes(-.infinity, -200, .infinity, 200, 0, -0.0, .nan, 1e-30)
    let exponential = x.exp()
    #expect(exponential[0] == 0 && exponential[1] == 0)
    #expect(exponential[2].isFinite && exponential[2] > 2e38 && exponential[3] == exponential[2])
    #expect(exponential[4] == 1 && exponential[6].isNaN)
    let hyperbolic = x.tanh()
    #expect(hyperbolic[0] == -1 && hyperbolic[2] == 1 && hyperbolic[4] == 0 && hyperbolic[6].isNaN && hyperbolic[7] == 1e-30)
    let error = x.erf()
    #expect(error[0] == -1 && error[2] == 1 && error[4] == 0 && error[6].isNaN)
    let logistic = x.sigmoid()
    #expect(logistic[0] < 1e-38 && logistic[2] == 1 && logistic[4] == 0.5 && logistic[6].isNaN)
  }

  /// The largest error over 32,768 evenly spaced arguments, in units in the last place of the exact value.
  private func worstUlps(
    from low: Float, to high: Float, _ approximate: (Lanes) -> Lanes, exact: (Double) -> Double
  ) -> Double {
    let steps = 4096
    var worst = 0.0
    for step in 0..<steps {
      var x = Lanes.zero
      for lane in 0..<laneCount { x[lane] = low + (high - low) * Float(step * laneCount + lane) / Float(steps * laneCount - 1) }
      let y = approximate(x)
      for lane in 0..<laneCount {
        let expected = exact(Double(x[lane]))
        let ulp = Double(max(Float(abs(expected)), .leastNormalMagnitude).ulp)
        worst = max(worst, abs(Double(y[lane]) - expected) / ulp)
      }
    }
    return worst
  }
}
