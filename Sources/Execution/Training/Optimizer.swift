// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering

/// The optimizer's state for one rank's parameters.
final class Optimizer {
  let hyperparameters: Hyperparameters
  private let memory: ProgramMemory
  private let parameters: [LocalParameter]
  /// For each parameter the arrays that the optimizer keeps, of the part that this rank owns.
  private var state: [[ProgramMemory.BlockID]]
  /// Steps begun, those before a checkpoint that was resumed from included.
  private(set) var step: Int
  /// What gradients are multiplied by in this step.
  private var gradientScale: Float = 1

  /// - Parameter stepsDone: before this run.
  /// - Throws: `outOfMemory`.
  init(_ hyperparameters: Hyperparameters, memory: ProgramMemory, parameters: [LocalParameter], stepsDone: Int = 0) throws(ExecutionError) {
    self.hyperparameters = hyperparameters
    self.memory = memory
    self.parameters = parameters
    step = stepsDone
    state = []
    for parameter in parameters {
      var arrays: [ProgramMemory.BlockID] = []
      for _ in 0..<(parameter.gradient == nil ? 0 : hyperparameters.state.count) {
        arrays.append(try memory.take(count: parameter.part.count))
        Elementwise.fill(memory.floats(in: arrays[arrays.count - 1]), count: parameter.part.count, with: 0)
      }
      state.append(arrays)
    }
  }

  /// What is kept for a parameter, of the part that this rank owns; none where it is not learned.
  func arrays(of parameter: Int) -> [(kind: OptimizerState, values: UnsafeMutablePointer<Float>)] {
    zip(hyperparameters.state, state[parameter]).map { ($0, memory.floats(in: $1)) }
  }

  func beginStep() {
    step += 1
    gradientScale = 1
  }

  /// Scales this step's gradients down to the norm that is allowed, as `torch.nn.utils.clip_grad_norm_` does.
  /// - Parameter norm: √Σ g² over every gradient of the model.
  func clip(norm: Double) {
    guard let most = hyperparameters.clipNorm else { return }
    gradientScale = Float(min(1, most / (norm + 1e-6)))
  }

  /// Updates what this rank owns of one parameter from its gradient.
  func update(_ index: Int) throws(ExecutionError) {
    guard let gradientBuffer = parameters[index].gradient else { return }
    let values = memory.floats(parameters[index].value) + parameters[index].startInValue
    let gradient = memory.filledAccumulator(gradientBuffer)
    let count = parameters[index].part.count
    let h = hyperparameters
    let rate = h.learningRate.value(at: step - 1)
    switch h.optimizer {
    case .adamw:
      AdamW(learningRate: rate, beta1: h.beta1, beta2: h.beta2, epsilon: h.epsilon, weightDecay: h.weightDecay).update(
        values, gradient: gradient, scaledBy: gradientScale, firstMoment: memory.floats(in: state[index][0]),
        secondMoment: memory.floats(in: state[index][1]), count: count, step: step)
    case .sgd:
      SGD(learningRate: rate, momentum: h.momentum, weightDecay: h.weightDecay).update(
        values, gradient: gradient, scaledBy: gradientScale, velocity: state[index].first.map { memory.floats(in: $0) }, count: count)
    }
  }
}
