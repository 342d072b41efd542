// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

extension Program {
  /// The buffers whose contents an instruction needs, those that it adds to included, and those whose contents are its work.
  package func flow(of instruction: Instruction) -> (read: [BufferID], written: [BufferID]) {
    switch instruction {
    case .load(let buffer, _), .receive(let buffer, _, _), .receiveBoxes(let buffer, _, _), .zero(let buffer): ([], [buffer])
    case .kernel(let call) where call.phase == .backward: (call.read(rules[call.op]), call.operandGradients.compactMap { $0 })
    case .kernel(let call): (call.operands, [call.result] + call.extras)
    case .reshard(_, let from, let to): ([from], [to])
    case .accumulate(let from, let to): ([from, to], [to])
    case .send(let buffer, _, _), .sendBoxes(let buffer, _, _): ([buffer], [])
    case .gatherParameter(let parameter, _, let whole): ([parameters[parameter].value], [whole])
    case .scatterGradient(let parameter, _, let whole):
      ([whole] + gradient(parameter), gradient(parameter))
    case .reduceGradient(let parameter, _), .reduceTied(let parameter, _), .exchangeTied(let parameter, _, _, _):
      (gradient(parameter), gradient(parameter))
    case .update(let parameter): ([parameters[parameter].value] + gradient(parameter), [parameters[parameter].value])
    case .free: ([], [])
    }
  }

  private func gradient(_ parameter: Int) -> [BufferID] { [parameters[parameter].gradient].compactMap { $0 } }
}
