// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import Strategies

/// How parameters are updated; the defaults are PyTorch's, with the learning rate of the reference script.
package struct Hyperparameters: Sendable, Equatable {
  package var optimizer: OptimizerKind
  package var learningRate: Double
  package var beta1 = 0.9
  package var beta2 = 0.999
  package var epsilon = 1e-8
  /// 0.01 for AdamW, 0 for SGD, on every parameter.
  package var weightDecay: Double
  /// Of SGD.
  package var momentum = 0.0

  /// How many arrays of a parameter's size the optimizer keeps: AdamW's moments, SGD's velocity.
  var stateArrays: Int {
    switch optimizer {
    case .adamw: 2
    case .sgd: momentum == 0 ? 0 : 1
    }
  }

  package init(optimizer: OptimizerKind, learningRate: Double = 1e-4) {
    self.optimizer = optimizer
    self.learningRate = learningRate
    weightDecay = optimizer == .adamw ? 0.01 : 0
  }
}

/// The optimizer's state for one rank's parameters.
final class Optimizer {
  private let hyperparameters: Hyperparameters
  private let memory: ProgramMemory
  private let parameters: [LocalParameter]
  /// For each parameter the arrays that the optimizer keeps, of the part that this rank owns.
  private var state: [[ProgramMemory.BlockID]]
  /// Counts from 1.
  private var step = 0

  /// - Throws: `outOfMemory`.
  init(_ hyperparameters: Hyperparameters, memory: ProgramMemory, parameters: [LocalParameter]) throws(ExecutionError) {
    self.hyperparameters = hyperparameters
    self.memory = memory
    self.parameters = parameters
    state = []
    for parameter in parameters {
      var arrays: [ProgramMemory.BlockID] = []
      for _ in 0..<(parameter.gradient == nil ? 0 : hyperparameters.stateArrays) {
        arrays.append(try memory.take(count: parameter.part.count))
        Elementwise.fill(memory.floats(in: arrays[arrays.count - 1]), count: parameter.part.count, with: 0)
      }
      state.append(arrays)
    }
  }

  func beginStep() { step += 1 }

  /// Updates what this rank owns of one parameter from its gradient.
  func update(_ index: Int) throws(ExecutionError) {
    guard let gradientBuffer = parameters[index].gradient else { return }
    let values = memory.floats(parameters[index].value) + parameters[index].startInValue
    let gradient = memory.filledAccumulator(gradientBuffer)
    let count = parameters[index].part.count
    let h = hyperparameters
    switch h.optimizer {
    case .adamw:
      AdamW(learningRate: h.learningRate, beta1: h.beta1, beta2: h.beta2, epsilon: h.epsilon, weightDecay: h.weightDecay).update(
        values, gradient: gradient, firstMoment: memory.floats(in: state[index][0]), secondMoment: memory.floats(in: state[index][1]),
        count: count, step: step)
    case .sgd:
      SGD(learningRate: h.learningRate, momentum: h.momentum, weightDecay: h.weightDecay).update(
        values, gradient: gradient, velocity: state[index].first.map { memory.floats(in: $0) }, count: count)
    }
  }
}
