// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Lowering
import ModelGraph
import Plans
import Quantities
import Strategies

/// What each instruction of a program is predicted to take: the parts of which `DecisionPricing` adds up a stage's passes.
///
/// Nothing for what the cost model has no price for (loading inputs, clearing and adding gradients) or counts between passes (messages).
package struct InstructionPrices {
  private let decision: Decision
  private let prices: StagePrices
  private let program: Program
  private let pricing: Pricing
  private let resharder: Resharder
  /// For each buffer that holds a whole parameter, or its whole gradient, for one kernel: the operator, its operand, and whether backward.
  private var uses: [BufferID: Use] = [:]
  /// For each parameter of the program the operator and the operand that it is counted at.
  private var owners: [(op: OperatorID, operand: Int)?]

  private struct Use {
    let op: OperatorID
    let operand: Int
    let isBackward: Bool
  }

  init(_ decision: Decision, _ prices: StagePrices, _ program: Program) {
    (self.decision, self.prices, self.program) = (decision, prices, program)
    pricing = prices.pricings[prices.kindOfStage[program.stage]]
    resharder = Resharder(pricing)
    owners = program.parameters.map { parameter in
      let isTied = decision.groupsHolding(parameter.tensor).count > 1
      let site = isTied ? decision.reader(of: parameter.tensor, onGroup: program.stage) : decision.graph.consumers[parameter.tensor].first
      return site.map { ($0.op, $0.operand) }
    }
    for case .kernel(let call) in program.instructions {
      let isBackward = call.phase == .backward
      for (operand, buffer) in call.operands.enumerated() { note(buffer, Use(op: call.op, operand: operand, isBackward: isBackward)) }
      for (operand, buffer) in call.operandGradients.enumerated() {
        if let buffer { note(buffer, Use(op: call.op, operand: operand, isBackward: true)) }
      }
    }
  }

  private mutating func note(_ buffer: BufferID, _ use: Use) {
    switch program.buffers[buffer].role {
    case .gatheredParameter, .wholeGradient: uses[buffer] = use
    case .activation, .gradient, .parameter, .parameterGradient, .input: break
    }
  }

  /// In whole ticks.
  func ticks(_ instruction: Instruction) -> Int64 { prices.pricings[0].ticks(time(instruction)) }

  package func time(_ instruction: Instruction) -> Seconds {
    switch instruction {
    case .kernel(let call):
      let cost = pricing.cost(call.op, program.strategies[call.op])
      return call.phase == .backward ? cost.backward : cost.forward
    case .reshard(let step, let from, let to):
      return resharder.time(step, of: program.buffers[to].tensor, from: program.buffers[from].layout)
    case .gatherParameter(let parameter, _, let buffer):
      if buffer == program.parameters[parameter].value { return exchange(.allGather, of: parameter, on: [.beforeUpdate, .afterUpdate]) }
      guard let use = uses[buffer], isOwner(use, of: parameter) else { return .zero }
      return exchange(.allGather, of: parameter, on: [use.isBackward ? .backward : .forward])
    case .scatterGradient(let parameter, _, let buffer):
      if buffer == program.parameters[parameter].gradient { return exchange(.reduceScatter, of: parameter, on: [.beforeUpdate, .afterUpdate]) }
      guard let use = uses[buffer], isOwner(use, of: parameter) else { return .zero }
      return exchange(.reduceScatter, of: parameter, on: [.backward])
    case .reduceGradient(let parameter, _): return exchange(.allReduce, of: parameter, on: [.beforeUpdate, .afterUpdate])
    case .update(let parameter): return weights(parameter).map { $0.update + $0.passing.update } ?? .zero
    case .reduceTied(let parameter, _):
      let tied = program.parameters[parameter]
      return prices.links?.neighbours.time(pricing.bytes(tied.tensor, tied.layout, bytesPerElement: pricing.gradientBytesSent)) ?? .zero
    case .exchangeTied(let parameter, _, _, _): return exchangeTied(program.parameters[parameter])
    case .load, .accumulate, .send, .receive, .sendBoxes, .receiveBoxes, .zero, .free: return .zero
    }
  }

  /// Of an instruction's time, what goes by in collectives, and in waiting for blocks that travel around a ring.
  package func communication(_ instruction: Instruction) -> Seconds {
    switch instruction {
    case .kernel(let call):
      let cost = pricing.cost(call.op, program.strategies[call.op])
      return call.phase == .backward ? cost.backwardInterior : cost.interior
    case .reshard(let step, _, _): return step.collective == nil ? .zero : time(instruction)
    case .gatherParameter, .scatterGradient, .reduceGradient, .reduceTied, .exchangeTied: return time(instruction)
    case .load, .accumulate, .send, .receive, .sendBoxes, .receiveBoxes, .zero, .update, .free: return .zero
    }
  }

  /// What an instruction computes and moves in the device's memory.
  package func work(_ instruction: Instruction) -> OperatorWork {
    switch instruction {
    case .kernel(let call): return pricing.work(call.op, program.strategies[call.op], isBackward: call.phase == .backward)
    case .reshard(let step, _, let to) where step.collective == nil:
      let count = Double(program.buffers[to].count)
      return OperatorWork(operations: FLOPs(count), moved: Bytes(2 * count * Double(pricing.elementBytes(program.buffers[to].tensor))))
    case .update(let parameter):
      let count = Double(program.parameters[parameter].part.count)
      return OperatorWork(operations: FLOPs(count), moved: Bytes(count * Double(pricing.bytesPerUpdate)))
    default: return OperatorWork()
    }
  }

  /// The bytes of an element of what an instruction exchanges, in the plan's number formats.
  package func bytesPerElement(_ exchange: Exchange, of instruction: Instruction) -> Int {
    switch instruction {
    case .kernel(let call):
      // Statistics of a softmax are fp32; blocks around a ring are as their operands are.
      if case .collective = exchange { return MemoryLayout<Float>.stride }
      return pricing.elementBytes(program.graph.operators[call.op].operands[program.rules[call.op].ring?.operands.first ?? 0])
    case .reshard(_, let buffer, _), .send(let buffer, _, _), .receive(let buffer, _, _), .sendBoxes(let buffer, _, _),
      .receiveBoxes(let buffer, _, _):
      return pricing.elementBytes(program.buffers[buffer].tensor)
    case .gatherParameter(let parameter, _, _): return pricing.elementBytes(program.parameters[parameter].tensor)
    case .scatterGradient, .reduceGradient, .reduceTied, .exchangeTied: return pricing.gradientBytesSent
    case .load, .accumulate, .zero, .update, .free: return 0
    }
  }

  private func isOwner(_ use: Use, of parameter: Int) -> Bool {
    owners[parameter].map { $0.op == use.op && $0.operand == use.operand } ?? false
  }

  /// What one parameter costs where it is counted.
  private func weights(_ parameter: Int) -> WeightsCost? {
    guard let owner = owners[parameter] else { return nil }
    let owns = program.graph.operators[owner.op].operands.indices.map { $0 == owner.operand }
    return pricing.weights(owner.op, program.strategies[owner.op], decision.zero[owner.op], ownsParameter: owns)
  }

  /// A collective on a parameter. Where products hide a part of an occasion's collectives, each shows the same share of its time.
  private func exchange(_ kind: CollectiveKind, of parameter: Int, on occasions: [WeightsCost.Occasion]) -> Seconds {
    guard let cost = weights(parameter) else { return .zero }
    let parts = cost.collectives.filter { occasions.contains($0.occasion) }
    let all = parts.reduce(Seconds.zero) { $0 + $1.time }
    let own = parts.filter { $0.kind == kind }.reduce(Seconds.zero) { $0 + $1.time }
    let shown =
      switch occasions {
      case [.forward]: cost.forward
      case [.backward]: cost.backward - cost.passing.gradientSync - cost.passing.update
      default: cost.gradientSync + cost.passing.gradientSync
      }
    return all > .zero ? shown * (own / all) : .zero
  }

  private func exchangeTied(_ parameter: LocalParameter) -> Seconds {
    guard let links = prices.links else { return .zero }
    return decision.groupsHolding(parameter.tensor).filter { $0 != program.stage }.reduce(.zero) { sum, group in
      guard let site = decision.reader(of: parameter.tensor, onGroup: group) else { return sum }
      let layout = program.strategies[site.op].operands[site.operand].forward
      return sum
        + CrossingCost(from: pricing, to: prices.pricings[prices.kindOfStage[group]], over: links.neighbours)
        .exchange(parameter.tensor, parameter.layout, layout).time
    }
  }
}
