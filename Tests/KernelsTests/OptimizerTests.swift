// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels
import TestSupport
import Testing

/// Oracle: PyTorch's documented algorithms in double precision.
struct OptimizerTests {
  @Test(arguments: [1, 8, 21] as [Int])
  func adamW(_ count: Int) {
    let optimizer = AdamW(learningRate: 1e-2, weightDecay: 0.1)
    var samples = SeededGenerator(seed: UInt64(count))
    var p = samples.floats(count) + [77]
    var (m, v) = ([Float](repeating: 0, count: count) + [77], [Float](repeating: 0, count: count) + [77])
    var (exactP, exactM, exactV) = (p.doubles, m.doubles, v.doubles)
    for step in 1...5 {
      let g = samples.floats(count)
      optimizer.update(&p, gradient: g, firstMoment: &m, secondMoment: &v, count: count, step: step)
      for i in 0..<count {
        let gradient = Double(g[i])
        exactP[i] *= 1 - 1e-2 * 0.1
        exactM[i] = 0.9 * exactM[i] + 0.1 * gradient
        exactV[i] = 0.999 * exactV[i] + 0.001 * gradient * gradient
        let denominator = exactV[i].squareRoot() / (1 - pow(0.999, Double(step))).squareRoot() + 1e-8
        exactP[i] -= 1e-2 / (1 - pow(0.9, Double(step))) * exactM[i] / denominator
      }
    }
    // Per step a rounding of a parameter of size 1, of moments of that size, and of an update of about the learning rate.
    #expect(worstError(p, exactP) <= 5 * 3 * epsilon)
    #expect(worstError(m, exactM) <= 5 * 2 * epsilon)
    #expect(worstError(v, exactV) <= 5 * 2 * epsilon * 0.01)
  }

  /// A gradient of 0 leaves a denominator of epsilon alone, and no NaN.
  @Test func adamWWithoutGradientOnlyDecays() {
    var (p, m, v): ([Float], [Float], [Float]) = ([2, -4, 0], [0, 0, 0], [0, 0, 0])
    AdamW(learningRate: 0.5, weightDecay: 0.5).update(&p, gradient: [0, 0, 0], firstMoment: &m, secondMoment: &v, count: 3, step: 1)
    #expect(p == [1.5, -3, 0])
  }

  @Test(arguments: [(0.0, 0.0), (0.0, 0.1), (0.9, 0.0), (0.5, 0.1)] as [(Double, Double)])
  func sgd(_ momentum: Double, _ weightDecay: Double) {
    let count = 13
    let optimizer = SGD(learningRate: 0.1, momentum: momentum, weightDecay: weightDecay)
    var samples = SeededGenerator(seed: 8)
    var p = samples.floats(count) + [77]
    var velocity = [Float](repeating: 0, count: count) + [77]
    var (exactP, exactV) = (p.doubles, velocity.doubles)
    for _ in 1...4 {
      let g = samples.floats(count)
      optimizer.update(&p, gradient: g, velocity: &velocity, count: count)
      for i in 0..<count {
        exactV[i] = momentum * exactV[i] + Double(g[i]) + weightDecay * exactP[i]
        exactP[i] -= 0.1 * exactV[i]
      }
    }
    #expect(worstError(p, exactP) <= 4 * 4 * epsilon)
  }

  @Test("differential: an update with a scaled gradient is the update with the gradient scaled beforehand; squares are summed in full")
  func scaledGradients() {
    let gradient = (0..<2500).map { Float($0 % 17) - 8 }
    #expect(Elementwise.sumOfSquares(gradient, count: 2500) == gradient.reduce(0.0) { $0 + Double($1 * $1) })
    let scaled = gradient.map { $0 * 0.25 }
    var (p, m, v) = ([Float](repeating: 1, count: 2500), [Float](repeating: 0, count: 2500), [Float](repeating: 0, count: 2500))
    var (p2, m2, v2) = (p, m, v)
    for step in 1...2 {
      AdamW(learningRate: 0.1).update(&p, gradient: gradient, scaledBy: 0.25, firstMoment: &m, secondMoment: &v, count: 2500, step: step)
      AdamW(learningRate: 0.1).update(&p2, gradient: scaled, firstMoment: &m2, secondMoment: &v2, count: 2500, step: step)
    }
    #expect(p == p2 && m == m2 && v == v2)
    for momentum in [0, 0.9] {
      SGD(learningRate: 0.1, momentum: momentum).update(&p, gradient: gradient, scaledBy: 0.25, velocity: &m, count: 2500)
      SGD(learningRate: 0.1, momentum: momentum).update(&p2, gradient: scaled, velocity: &m2, count: 2500)
    }
    #expect(p == p2 && m == m2)
  }
}
