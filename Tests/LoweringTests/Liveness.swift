// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import Testing

/// Carries a program out on paper: nothing is read before it is written or after it is freed, and everything but what is resident of parameters
/// is freed once.
func expectBuffersLive(in program: Program) {
  var live = Set(program.parameters.flatMap { [$0.value, $0.gradient].compactMap { $0 } })
  let permanent = live
  for instruction in program.instructions {
    switch instruction {
    case .load(let id, _), .receive(let id, _, _), .receiveBoxes(let id, _, _): #expect(live.insert(id).inserted)
    case .send(let id, _, _), .sendBoxes(let id, _, _): #expect(live.contains(id))
    case .zero(let id): #expect(permanent.contains(id))
    case .free(let id): #expect(live.remove(id) != nil && !permanent.contains(id))
    case .accumulate(let from, let to): #expect(live.contains(from) && live.contains(to))
    case .reshard(_, let from, let to):
      #expect(live.contains(from))
      #expect(live.insert(to).inserted)
    case .gatherParameter(let index, _, let whole):
      let isResident = whole == program.parameters[index].value
      #expect(isResident || live.insert(whole).inserted)
    case .scatterGradient(let index, _, let whole):
      #expect(live.contains(whole))
      #expect(permanent.contains(whole) == (whole == program.parameters[index].gradient))
    case .kernel(let call) where call.phase != .backward:
      #expect(call.operands.allSatisfy(live.contains))
      for id in [call.result] + call.extras { #expect(live.insert(id).inserted) }
    case .kernel(let call):
      let rule = program.rules[call.op]
      #expect(zip(call.operands, rule.keepsOperand).allSatisfy { !$1 || live.contains($0) })
      #expect(!rule.keepsResult || live.contains(call.result))
      #expect(call.resultGradient.map(live.contains) ?? true)
      for id in call.operandGradients.compactMap({ $0 }) { live.insert(id) }
    case .reduceGradient, .reduceTied, .exchangeTied, .update: break
    }
  }
  #expect(live == permanent, "buffers that are never freed")
}
