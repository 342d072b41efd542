// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Lowering
import ModelGraph
import Plans
import Strategies

/// What one rank's program does, in words: those that concern a mesh axis end with its number.
struct ProgramTraits {
  private(set) var words: Set<String> = []
  /// All-gathers of activations and their gradients.
  private(set) var gathers = 0

  init(_ decision: Decision, rank: Int) {
    let program = Lowering.program(for: decision.asExecuted, rank: rank)
    for buffer in program.buffers {
      switch buffer.role {
      case .activation, .parameter:
        for axis in program.mesh.indices where program.mesh[axis] > 1 {
          if case .split = buffer.layout[axis] { words.insert("split \(axis)") }
        }
      default: break
      }
    }
    for parameter in program.parameters where parameter.sharing.stage != .none { words.insert("ZeRO \(parameter.sharing.stage.rawValue)") }
    for op in program.graph.operators.indices where !program.iterationRegions[op].isEmpty { insert(op, of: program) }
    var microBatches: Set<Int> = []
    var hasUpdated = false
    for instruction in program.instructions {
      switch instruction {
      case .reshard(let step, _, _):
        guard let kind = step.collective else { break }
        if kind == .allGather { gathers += 1 }
        for axis in step.axes { words.insert("\(kind.rawValue) \(axis)") }
      case .reduceGradient(_, let axes): for axis in axes { words.insert("gradient all-reduce \(axis)") }
      case .scatterGradient(_, let axes, _): for axis in axes { words.insert("gradient reduce-scatter \(axis)") }
      case .gatherParameter: words.insert("parameter all-gather")
      case .send, .sendBoxes: words.insert("send")
      case .update: hasUpdated = true
      case .kernel(let call):
        if hasUpdated, call.phase == .backward { words.insert("update before backward") }
        microBatches.insert(call.microBatch)
        if call.phase == .recompute { words.insert(program.rules[call.op].isAttention ? "recompute attention" : "recompute") }
      default: break
      }
    }
    if microBatches.count > 1 { words.insert("micro-batches") }
  }

  /// How an operator is split.
  private mutating func insert(_ op: OperatorID, of program: Program) {
    let (strategy, rule) = (program.strategies[op], program.rules[op])
    for (axis, target) in strategy.assignment.enumerated() {
      guard let target else { continue }
      if let ring = rule.ring, ring.axis == target { words.insert("ring \(axis)") }
      // Ranks along one axis have parts of several sizes where its parts do not divide what is split.
      for loop in rule.iteration[target].splits {
        let part = program.iterationRegions[op][loop].count
        if part * strategy.parts(rule, mesh: program.mesh)[loop] != rule.iteration[loop].extent { words.insert("uneven \(axis)") }
      }
    }
    if rule.isProduct, Set(strategy.assignment).count == strategy.assignment.count, strategy.assignment.count > 1, !strategy.assignment.contains(nil)
    {
      for axis in strategy.assignment.indices { words.insert("both \(axis)") }
    }
  }
}
