// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// How parameters are updated; the defaults are PyTorch's, with the learning rate of the reference script.
package struct Hyperparameters: Sendable, Equatable {
  package var optimizer: OptimizerKind
  package var learningRate: LearningRate
  package var beta1 = 0.9
  package var beta2 = 0.999
  package var epsilon = 1e-8
  /// 0.01 for AdamW, 0 for SGD, on every parameter.
  package var weightDecay: Double
  /// Of SGD.
  package var momentum = 0.0
  /// Gradients are scaled down where the norm of all of them together is larger; nil leaves them as they are.
  package var clipNorm: Double?

  /// The arrays of a parameter's size that the optimizer keeps: AdamW's moments, SGD's velocity.
  var state: [OptimizerState] {
    switch optimizer {
    case .adamw: [.firstMoment, .secondMoment]
    case .sgd: momentum == 0 ? [] : [.velocity]
    }
  }

  package init(optimizer: OptimizerKind, learningRate: LearningRate = LearningRate()) {
    self.optimizer = optimizer
    self.learningRate = learningRate
    weightDecay = optimizer == .adamw ? 0.01 : 0
  }
}

/// An array that an optimizer keeps for a parameter, by the name that PyTorch's optimizers have for it.
enum OptimizerState: String, CaseIterable {
  case firstMoment = "exp_avg"
  case secondMoment = "exp_avg_sq"
  case velocity = "momentum_buffer"
}
