// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Strategies

extension Instruction {
  /// The buffers that an instruction reads or writes; what is resident of parameters and their gradients may be left out.
  func touched() -> [BufferID] {
    switch self {
    case .load(let buffer, _), .send(let buffer, _, _), .receive(let buffer, _, _), .sendBoxes(let buffer, _, _), .receiveBoxes(let buffer, _, _),
      .zero(let buffer), .free(let buffer):
      [buffer]
    case .kernel(let call):
      call.operands + [call.result] + call.extras + [call.resultGradient].compactMap { $0 } + call.operandGradients.compactMap { $0 }
    case .reshard(_, let from, let to), .accumulate(let from, let to): [from, to]
    case .gatherParameter(_, _, let buffer), .scatterGradient(_, _, let buffer): [buffer]
    case .reduceGradient, .reduceTied, .exchangeTied, .update: []
    }
  }
}

extension KernelCall {
  /// The buffers whose values a backward call really reads: what the rule keeps, and the incoming gradient.
  func read(_ rule: OperatorRule) -> [BufferID] {
    guard phase == .backward else { return operands + [result] + extras }
    let wanted = operandGradients.map { $0 != nil }
    return operands.indices.filter { rule.keeps($0, forGradientsOf: wanted) }.map { operands[$0] } + (rule.keepsResult ? [result] : []) + extras
      + [resultGradient].compactMap { $0 } + operandGradients.compactMap { $0 }
  }
}

extension Program {
  /// The gradient that an exchange or update reads or writes, of a parameter that is updated in the backward pass.
  private func passingGradient(of instruction: Instruction) -> BufferID? {
    switch instruction {
    case .update(let parameter), .reduceGradient(let parameter, _), .scatterGradient(let parameter, _, _):
      parameters[parameter].isPassing ? parameters[parameter].gradient : nil
    default: nil
    }
  }

  /// Frees every buffer after the last instruction that needs it. Values that backward does not read are freed during forward.
  mutating func insertFrees() {
    var last = [Int?](repeating: nil, count: buffers.count)
    for (index, instruction) in instructions.enumerated() {
      let touched =
        if case .kernel(let call) = instruction {
          call.read(rules[call.op])
        } else { instruction.touched() + [passingGradient(of: instruction)].compactMap { $0 } }
      for buffer in touched { last[buffer] = index }
    }
    var dying = [[BufferID]](repeating: [], count: instructions.count)
    for (buffer, index) in last.enumerated() {
      switch buffers[buffer].role {
      case .parameter: break
      case .parameterGradient(let parameter) where !parameters[parameter].isPassing: break
      case .activation, .gradient, .input, .gatheredParameter, .wholeGradient, .parameterGradient: if let index { dying[index].append(buffer) }
      }
    }
    var result: [Instruction] = []
    result.reserveCapacity(instructions.count + buffers.count)
    var places: [Int] = []
    for (index, instruction) in instructions.enumerated() {
      places.append(result.count)
      result.append(instruction)
      for buffer in dying[index] { result.append(.free(buffer)) }
    }
    places.append(result.count)
    for index in passes.indices {
      let range = passes[index].instructions
      passes[index].instructions = places[range.lowerBound]..<places[range.upperBound]
    }
    instructions = result
  }
}
