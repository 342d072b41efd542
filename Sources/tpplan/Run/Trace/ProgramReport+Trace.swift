// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Execution
import Lowering
import ModelGraph
import Plans
import Strategies

/// How a trace calls something, the same where it was measured and where it is predicted.
struct TraceLabel {
  var name: String
  /// The part of the step, and what it is.
  var categories: String
  var arguments = JSON.Object()
  /// Whether it is a message between stages.
  var isMessage = false

  static func pass(_ pass: Pass, _ decision: Decision) -> TraceLabel {
    let chunk = decision.schedule.chunks > 1 ? ", chunk \(pass.chunk)" : ""
    return TraceLabel(name: "\(pass.isForward ? "forward" : "backward") m\(pass.microBatch)\(chunk)", categories: "pass")
  }

  static let once = TraceLabel(name: "gradient sync and optimizer", categories: "pass")
  static let bubble = TraceLabel(name: "bubble", categories: "\(StepPart.stages.name),wait")
  static let lastWait = TraceLabel(name: "wait until messages have left", categories: "\(StepPart.stages.name),wait")
  static let host = TraceLabel(name: "the host hands kernels over", categories: "host")
}

extension ProgramReport {
  /// For each instruction how a trace calls it.
  var labels: [TraceLabel] {
    let parts = program.stepParts()
    var passes = [ProgramPass?](repeating: nil, count: program.instructions.count)
    for pass in program.passes { for index in pass.instructions { passes[index] = pass } }
    return zip(program.instructions, instructions).enumerated().map { index, pair in
      let (instruction, line) = pair
      let traffic = program.traffic(of: instruction)
      let kinds = Traffic.Kind.allCases.filter { traffic[$0].count > 0 }
      let kind = kind(of: instruction, communicates: !kinds.isEmpty)
      var arguments = JSON.Object([("instruction", .int(index)), ("does", .string(line.subject))])
      if case .kernel(let call) = instruction {
        arguments["phase"] = .string(line.action)
        arguments["copy"] = .int(call.copy)
      }
      arguments["micro_batch"] = (line.microBatch ?? passes[index]?.pass.microBatch).map { .int($0) }
      if !line.note.isEmpty { arguments["note"] = .string(line.note) }
      if !line.ranks.isEmpty {
        arguments["ranks"] = .array(line.ranks.map { .int($0) })
        if kind == "collective" { arguments["group_size"] = .int(line.ranks.count) }
      }
      // What this rank sends; kernels have collectives inside them.
      if !kinds.isEmpty {
        arguments["calls"] = .object(JSON.Object(kinds.map { ($0.name, .int(traffic[$0].count)) }))
        arguments["bytes"] = .int(kinds.reduce(0) { $0 + traffic[$1].bytes })
      } else if let bytes = receivedBytes(instruction) {
        arguments["bytes"] = .int(bytes)
      }
      return TraceLabel(
        name: "\(line.action) \(shortName(of: instruction))", categories: "\(parts[index].name),\(kind)", arguments: arguments,
        isMessage: kind == "message")
    }
  }

  private func kind(of instruction: Instruction, communicates: Bool) -> String {
    switch instruction {
    case .kernel, .update: "kernel"
    case .send, .receive, .sendBoxes, .receiveBoxes: "message"
    case .reshard, .gatherParameter, .scatterGradient, .reduceGradient, .reduceTied, .exchangeTied: communicates ? "collective" : "data"
    case .load, .accumulate, .zero, .free: "data"
    }
  }

  private func receivedBytes(_ instruction: Instruction) -> Int? {
    switch instruction {
    case .receive(let buffer, _, _): program.buffers[buffer].count * MemoryLayout<Float>.stride
    case .receiveBoxes(_, let boxes, _): boxes.reduce(0) { $0 + $1.region.reduce(MemoryLayout<Float>.stride) { $0 * $1.count } }
    default: nil
    }
  }

  private func shortName(of instruction: Instruction) -> String {
    switch instruction {
    case .kernel(let call): Graph.name(program.graph.operators[call.op].name, copy: call.copy)
    case .load(let buffer, _), .send(let buffer, _, _), .receive(let buffer, _, _), .sendBoxes(let buffer, _, _), .receiveBoxes(let buffer, _, _),
      .zero(let buffer), .free(let buffer), .reshard(_, _, let buffer), .accumulate(_, let buffer), .gatherParameter(_, _, let buffer),
      .scatterGradient(_, _, let buffer):
      name(buffer)
    case .reduceGradient(let parameter, _), .reduceTied(let parameter, _), .exchangeTied(let parameter, _, _, _):
      name(program.parameters[parameter].gradient ?? program.parameters[parameter].value)
    case .update(let parameter): name(program.parameters[parameter].value)
    }
  }
}
