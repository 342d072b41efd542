// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Lowering
import Plans
import Report
import Strategies

/// How a trace calls something, the same where it was measured and where it is predicted.
package struct TraceLabel: Sendable {
  package var name: String
  /// The part of the step, and what it is.
  package var categories: String
  package var arguments = JSON.Object()
  /// Whether it is a message between stages.
  package var isMessage = false

  package static func pass(_ pass: Pass, _ decision: Decision) -> TraceLabel {
    let chunk = decision.schedule.chunks > 1 ? ", chunk \(pass.chunk)" : ""
    return TraceLabel(name: "\(pass.isForward ? "forward" : "backward") m\(pass.microBatch)\(chunk)", categories: "pass")
  }

  package static let once = TraceLabel(name: "gradient sync and optimizer", categories: "pass")
  package static let bubble = TraceLabel(name: "bubble", categories: "\(StepPart.stages.name),wait")
  package static let lastWait = TraceLabel(name: "wait until messages have left", categories: "\(StepPart.stages.name),wait")
  package static let host = TraceLabel(name: "the host hands kernels over", categories: "host")
}

/// For each instruction of a program how a trace calls it.
package struct TraceLabels {
  private let report: ProgramReport
  private let parts: [StepPart]
  private let passes: [ProgramPass?]
  private let bytesPerElement: (Exchange, Instruction) -> Int

  /// - Parameter bytesPerElement: of what is exchanged; a run computes in fp32.
  package init(_ report: ProgramReport, bytesPerElement: @escaping (Exchange, Instruction) -> Int = { _, _ in MemoryLayout<Float>.stride }) {
    (self.report, self.bytesPerElement) = (report, bytesPerElement)
    parts = report.program.stepParts()
    var passes = [ProgramPass?](repeating: nil, count: parts.count)
    for pass in report.program.passes { for index in pass.instructions { passes[index] = pass } }
    self.passes = passes
  }

  package subscript(index: Int) -> TraceLabel {
    let instruction = report.program.instructions[index]
    let line = report.line(instruction)
    let exchanges = report.program.exchanges(of: instruction)
    let sent = exchanges.filter { !$0.isReceived }
    let kind = kind(of: instruction, communicates: !sent.isEmpty)
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
    // What this rank sends, else what it receives; kernels have collectives inside them.
    if !sent.isEmpty {
      let counts = Dictionary(grouping: sent, by: \.kindName).mapValues(\.count).sorted { $0.key < $1.key }
      arguments["calls"] = .object(JSON.Object(counts.map { ($0.key, .int($0.value)) }))
    }
    let counted = sent.isEmpty ? exchanges : sent
    if !counted.isEmpty { arguments["bytes"] = .int(counted.reduce(0) { $0 + $1.elements * bytesPerElement($1, instruction) }) }
    return TraceLabel(
      name: report.title(of: instruction), categories: "\(parts[index].name),\(kind)", arguments: arguments, isMessage: kind == "message")
  }

  private func kind(of instruction: Instruction, communicates: Bool) -> String {
    switch instruction {
    case .kernel, .update: "kernel"
    case .send, .receive, .sendBoxes, .receiveBoxes: "message"
    case .reshard, .gatherParameter, .scatterGradient, .reduceGradient, .reduceTied, .exchangeTied: communicates ? "collective" : "data"
    case .load, .accumulate, .zero, .free: "data"
    }
  }
}
