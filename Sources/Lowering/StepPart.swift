// SPDX-License-Identifier: GPL-3.0-or-later

/// The parts into which a step's time falls on one rank; predictions have the same.
package enum StepPart: Int, CaseIterable, Sendable {
  /// Kernels, conversions of layouts and weights that are gathered for them, over all micro-batches.
  case forward
  /// The same, what is computed again, and the updates of weights that follow their gradients at once.
  case backward
  /// Summing gradients over ranks once per step, and gathering what was updated in parts.
  case gradientSync
  case optimizer
  /// Messages between stages, and waiting for them.
  case stages

  /// As reports name it.
  package var name: String {
    switch self {
    case .forward: "forward"
    case .backward: "backward"
    case .gradientSync: "gradient sync"
    case .optimizer: "optimizer"
    case .stages: "other stages"
    }
  }
}

extension Program {
  /// For each instruction its part. One that moves or clears data belongs to the kernel after it, unless its own kind says more.
  package func stepParts() -> [StepPart] {
    var parts: [StepPart] = []
    var next = StepPart.optimizer
    for instruction in instructions.reversed() {
      switch instruction {
      case .kernel(let call): next = call.phase == .forward ? .forward : .backward
      default: break
      }
      parts.append(part(of: instruction, before: next))
    }
    return parts.reversed()
  }

  private func part(of instruction: Instruction, before next: StepPart) -> StepPart {
    switch instruction {
    case .kernel, .load, .free: next
    case .reshard(_, _, let buffer), .accumulate(_, let buffer), .zero(let buffer):
      switch buffers[buffer].role {
      // Gradients belong to the backward pass, also those that are cleared before the forward pass.
      case .gradient, .wholeGradient, .parameterGradient: .backward
      default: next == .optimizer ? .backward : next
      }
    case .send, .receive, .sendBoxes, .receiveBoxes: .stages
    case .gatherParameter(let parameter, _, let buffer):
      buffer != parameters[parameter].value ? next : parameters[parameter].isPassing ? .backward : .gradientSync
    case .scatterGradient(let parameter, _, let buffer):
      buffer != parameters[parameter].gradient || parameters[parameter].isPassing ? .backward : .gradientSync
    case .reduceGradient(let parameter, _): parameters[parameter].isPassing ? .backward : .gradientSync
    case .reduceTied, .exchangeTied: .gradientSync
    case .update(let parameter): parameters[parameter].isPassing ? .backward : .optimizer
    }
  }
}
