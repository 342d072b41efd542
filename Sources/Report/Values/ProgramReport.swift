// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Lowering
import ModelGraph
import Plans
import Quantities
import Strategies

/// The program of one rank, for reading.
package struct ProgramReport {
  package let plan: Plan
  package let program: Program
  package let cluster: Cluster
  /// For each buffer, which copy of its segment it belongs to; nil where nothing says so.
  private let copies: [Int?]
  private let messages: Messages

  /// - Throws: `HardwareError`, which a plan that was read does not give rise to.
  package init(_ plan: Plan, rank: Int) throws {
    self.plan = plan
    cluster = try plan.hardware.cluster(devices: plan.decision.ranks)
    program = Lowering.program(for: plan.decision, rank: rank)
    messages = Messages(plan.decision, of: program.stage)
    copies = Self.copies(program, plan.decision, messages)
  }

  /// A buffer belongs to the copy whose kernel writes it; what resharding makes, to that of what it is made of; what comes from another stage,
  /// to the copy before the boundary.
  private static func copies(_ program: Program, _ decision: Decision, _ messages: Messages) -> [Int?] {
    var copies = [Int?](repeating: nil, count: program.buffers.count)
    for parameter in program.parameters {
      copies[parameter.value] = parameter.copy
      if let gradient = parameter.gradient { copies[gradient] = parameter.copy }
    }
    for instruction in program.instructions {
      switch instruction {
      case .kernel(let call):
        let written = [call.result] + call.extras + call.operandGradients.compactMap { $0 }
        for buffer in written where copies[buffer] == nil { copies[buffer] = call.copy }
      case .reshard(_, let from, let to): copies[to] = copies[from]
      case .gatherParameter(let parameter, _, let buffer): copies[buffer] = program.parameters[parameter].copy
      case .receive(let buffer, let rank, let tag):
        let sender = decision.group(ofRank: rank)
        let pass = messages.pass(sending: tag, from: sender)
        let stage = decision.stage(of: pass, on: sender)
        // A backward pass hands on the gradient of what came in from the virtual stage before.
        copies[buffer] = decision.stages[pass.isForward ? stage : stage - 1].units.last.map { $0.copies.upperBound - 1 }
      case .receiveBoxes(let buffer, let boxes, let tag):
        // What comes from another mesh is named as its reader names it, and a gradient as its producer does.
        guard let sender = boxes.first.map({ decision.group(ofRank: $0.rank) }) else { continue }
        let pass = messages.pass(sending: tag, from: sender)
        let units = decision.stages[decision.stage(of: pass, on: sender) + (pass.isForward ? 1 : -1)].units
        copies[buffer] = pass.isForward ? units.first?.copies.lowerBound : units.last.map { $0.copies.upperBound - 1 }
      case .load, .accumulate, .send, .sendBoxes, .zero, .scatterGradient, .reduceGradient, .reduceTied, .exchangeTied, .update, .free: break
      }
    }
    return copies
  }

  /// One instruction in words: what is done, to what, and with whom.
  package struct Line {
    package var action: String
    /// Where one is worked on.
    package var microBatch: Int?
    package var subject: String
    /// The ranks of the group, or the peer.
    package var ranks: [Int] = []
    package var note = ""
  }

  package var instructions: [Line] { program.instructions.map(line) }

  package func line(_ instruction: Instruction) -> Line {
    let action = action(of: instruction)
    return switch instruction {
    case .load(let buffer, let microBatch): Line(action: action, microBatch: microBatch, subject: text(buffer))
    case .kernel(let call): line(call)
    case .reshard(let step, let from, let to):
      Line(
        action: action, subject: "\(text(from)) -> \(shape(to))", ranks: step.collective == nil ? [] : group(step.axes),
        note: "\(program.buffers[from].layout.notation) -> \(program.buffers[to].layout.notation)")
    case .accumulate(let from, let to): Line(action: action, subject: "\(text(to)) += \(text(from))")
    case .send(let buffer, let rank, let tag):
      Line(action: action, microBatch: messages.pass(sending: tag, from: program.stage).microBatch, subject: text(buffer), ranks: [rank])
    case .receive(let buffer, let rank, let tag):
      Line(
        action: action, microBatch: messages.pass(sending: tag, from: plan.decision.group(ofRank: rank)).microBatch, subject: text(buffer),
        ranks: [rank])
    case .sendBoxes(let buffer, let boxes, let tag):
      Line(
        action: action, microBatch: messages.pass(sending: tag, from: program.stage).microBatch, subject: text(buffer), ranks: boxes.map(\.rank),
        note: "boxes " + text(boxes))
    case .receiveBoxes(let buffer, let boxes, let tag):
      Line(
        action: action,
        microBatch: boxes.first.map { messages.pass(sending: tag, from: plan.decision.group(ofRank: $0.rank)).microBatch }, subject: text(buffer),
        ranks: boxes.map(\.rank), note: "boxes " + text(boxes))
    case .zero(let buffer): Line(action: action, subject: text(buffer))
    case .gatherParameter(let parameter, let axes, let whole):
      Line(
        action: action, subject: exchange(program.parameters[parameter].value, whole), ranks: group(axes),
        note: whole == program.parameters[parameter].value ? "updated in parts, in place" : "held in parts")
    case .scatterGradient(let parameter, let axes, let whole):
      Line(
        action: action, subject: exchange(whole, program.parameters[parameter].gradient ?? whole), ranks: group(axes),
        note: whole == program.parameters[parameter].gradient ? "gradient, own part stays at the start" : "gradient, added to own part")
    case .reduceGradient(let parameter, let axes):
      Line(action: action, subject: gradient(parameter), ranks: group(axes), note: "gradient, in place")
    case .reduceTied(let parameter, let ranks):
      Line(action: action, subject: gradient(parameter), ranks: ranks, note: "tied gradient, in place")
    case .exchangeTied(let parameter, let sent, let received, _):
      Line(
        action: action, subject: gradient(parameter), ranks: Set((sent + received.joined()).map(\.rank)).sorted(),
        note: "tied gradient, with stages of other meshes")
    case .update(let parameter): Line(action: action, subject: text(program.parameters[parameter].value))
    case .free(let buffer): Line(action: action, subject: name(buffer))
    }
  }

  private func line(_ call: KernelCall) -> Line {
    let name = Graph.name(program.graph.operators[call.op].name, copy: call.copy)
    let ring = ring(of: call)
    switch call.phase {
    case .forward, .recompute:
      return Line(
        action: action(of: .kernel(call)), microBatch: call.microBatch,
        subject: "\(name): \(call.operands.map(text).joined(separator: ", ")) -> \(shape(call.result))", ranks: ring.ranks, note: ring.note)
    case .backward:
      let gradients = call.operandGradients.compactMap { $0 }.map(text).joined(separator: ", ")
      let incoming = call.resultGradient.map(shape) ?? "1"
      return Line(
        action: action(of: .kernel(call)), microBatch: call.microBatch,
        subject: "\(name): \(incoming) -> \(gradients.isEmpty ? "nothing" : gradients)",
        ranks: ring.ranks, note: ring.note)
    }
  }

  /// What is done, in a word.
  private func action(of instruction: Instruction) -> String {
    switch instruction {
    case .load: "load"
    case .kernel(let call): call.phase == .forward ? "forward" : call.phase == .recompute ? "recompute" : "backward"
    case .reshard(let step, _, _): step.kindName
    case .accumulate: "add"
    case .send, .sendBoxes: "send"
    case .receive, .receiveBoxes: "receive"
    case .zero: "zero"
    case .gatherParameter: CollectiveKind.allGather.rawValue
    case .scatterGradient: CollectiveKind.reduceScatter.rawValue
    case .reduceGradient, .reduceTied: CollectiveKind.allReduce.rawValue
    case .exchangeTied: "exchange"
    case .update: "update"
    case .free: "free"
    }
  }

  /// What is done to what, without shapes and ranks: `forward transformer.h.3.mlp.c_fc`.
  package func title(of instruction: Instruction) -> String {
    let subject =
      switch instruction {
      case .kernel(let call): Graph.name(program.graph.operators[call.op].name, copy: call.copy)
      case .load(let buffer, _), .send(let buffer, _, _), .receive(let buffer, _, _), .sendBoxes(let buffer, _, _),
        .receiveBoxes(let buffer, _, _), .zero(let buffer), .free(let buffer), .reshard(_, _, let buffer), .accumulate(_, let buffer),
        .gatherParameter(_, _, let buffer), .scatterGradient(_, _, let buffer):
        name(buffer)
      case .reduceGradient(let parameter, _), .reduceTied(let parameter, _), .exchangeTied(let parameter, _, _, _):
        name(program.parameters[parameter].gradient ?? program.parameters[parameter].value)
      case .update(let parameter): name(program.parameters[parameter].value)
      }
    return "\(action(of: instruction)) \(subject)"
  }

  /// The ranks around which blocks of an operator's operands travel, and what these are.
  private func ring(of call: KernelCall) -> (ranks: [Int], note: String) {
    guard let ring = program.rules[call.op].ring else { return ([], "") }
    let ranks = group(program.strategies[call.op].meshAxes(on: ring.axis))
    if ranks.count == 1 { return ([], "") }
    let travelling = ring.operands.map { name(call.operands[$0]) + (call.phase == .backward ? " and its gradient" : "") }
    return (ranks, travelling.joined(separator: ", ") + " around the ring")
  }

  // MARK: - Names

  private func group(_ axes: [Int]) -> [Int] { program.group(over: axes).map { program.rank(at: $0) } }
  private func gradient(_ parameter: Int) -> String { program.parameters[parameter].gradient.map(text) ?? text(program.parameters[parameter].value) }

  private func exchange(_ from: BufferID, _ to: BufferID) -> String { from == to ? text(from) : "\(text(from)) -> \(shape(to))" }

  private func shape(_ id: BufferID) -> String { "[" + part(id) + program.buffers[id].region.map { "\($0.count)" }.joined(separator: ",") + "]" }

  /// Of a parameter that is held in parts, how many elements.
  private func part(_ id: BufferID) -> String {
    switch program.buffers[id].role {
    case .parameter(let index) where program.parameters[index].sharing.stage >= .weights,
      .parameterGradient(let index) where program.parameters[index].sharing.stage >= .gradients:
      "\(program.buffers[id].count) of "
    default: ""
    }
  }
  private func text(_ id: BufferID) -> String { name(id) + shape(id) }

  private func text(_ boxes: [MessageBox]) -> String {
    boxes.map { ($0.isAdded ? "+" : "") + "[" + $0.region.map { "\($0.count)" }.joined(separator: ",") + "]" }.joined(separator: " ")
  }

  package func name(_ id: BufferID) -> String {
    let buffer = program.buffers[id]
    let pattern = program.graph.tensors[buffer.tensor].name
    let name = copies[id].map { Graph.name(pattern, copy: $0) } ?? pattern
    return switch buffer.role {
    case .gradient, .parameterGradient, .wholeGradient: "grad(\(name))"
    case .activation, .parameter, .gatheredParameter, .input: name
    }
  }
}
