// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Adam with decoupled weight decay (Loshchilov & Hutter 2019), as `torch.optim.AdamW` computes it.
package struct AdamW: Sendable {
  package var learningRate: Double
  package var beta1: Double
  package var beta2: Double
  package var epsilon: Double
  package var weightDecay: Double

  package init(learningRate: Double, beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0.01) {
    self.learningRate = learningRate
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
  }

  /// One update of `count` parameters and of both moments, which are zeros before step 1; `step` counts from 1. The gradient counts `scale` times.
  package func update(
    _ parameters: UnsafeMutablePointer<Float>, gradient: UnsafePointer<Float>, scaledBy scale: Float = 1, firstMoment: UnsafeMutablePointer<Float>,
    secondMoment: UnsafeMutablePointer<Float>, count: Int, step: Int
  ) {
    precondition(step >= 1, "steps count from 1")
    let correction1 = 1 - pow(beta1, Double(step))
    let correction2 = 1 - pow(beta2, Double(step))
    let decay = Float(1 - learningRate * weightDecay)
    let stepSize = Lanes(repeating: Float(-learningRate / correction1))
    let rootScale = Lanes(repeating: Float(1 / correction2.squareRoot()))
    let epsilons = Lanes(repeating: Float(epsilon))
    let weight1 = Lanes(repeating: Float(1 - beta1))
    let weight2 = Float(1 - beta2)
    let keep2 = Float(beta2)
    forEachLanes(count) { i, n in
      let g = gradient.lanes(i, n) * scale
      var m = firstMoment.lanes(i, n)
      m.addProduct(g - m, weight1)
      let v = (secondMoment.lanes(i, n) * keep2).addingProduct(g * weight2, g)
      firstMoment.store(m, i, n)
      secondMoment.store(v, i, n)
      let denominator = epsilons.addingProduct(v.root(), rootScale)
      parameters.store((parameters.lanes(i, n) * decay).addingProduct(m / denominator, stepSize), i, n)
    }
  }
}

/// Stochastic gradient descent, as `torch.optim.SGD` computes it (no dampening, no Nesterov).
package struct SGD: Sendable {
  package var learningRate: Double
  package var momentum: Double
  package var weightDecay: Double

  package init(learningRate: Double, momentum: Double = 0, weightDecay: Double = 0) {
    self.learningRate = learningRate
    self.momentum = momentum
    self.weightDecay = weightDecay
  }

  /// One update of `count` parameters: d = g + weightDecay p; with momentum, v = momentum v + d and d = v; p -= learningRate d.
  /// `velocity` is needed with momentum only, and holds zeros before the first step. The gradient counts `scale` times.
  package func update(
    _ parameters: UnsafeMutablePointer<Float>, gradient: UnsafePointer<Float>, scaledBy scale: Float = 1,
    velocity: UnsafeMutablePointer<Float>?, count: Int
  ) {
    let rate = Lanes(repeating: Float(-learningRate))
    let decay = Lanes(repeating: Float(weightDecay))
    guard momentum != 0 else {
      mapLanes(parameters, gradient, into: parameters, count: count) { p, g in
        p.addingProduct((g * scale).addingProduct(p, decay), rate)
      }
      return
    }
    guard let velocity else { preconditionFailure("SGD with momentum needs a velocity buffer") }
    let keep = Lanes(repeating: Float(momentum))
    forEachLanes(count) { i, n in
      let p = parameters.lanes(i, n)
      let v = (gradient.lanes(i, n) * scale).addingProduct(p, decay).addingProduct(velocity.lanes(i, n), keep)
      velocity.store(v, i, n)
      parameters.store(p.addingProduct(v, rate), i, n)
    }
  }
}
