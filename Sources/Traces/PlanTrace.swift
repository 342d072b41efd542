// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Lowering
import ModelGraph
import Planner
import Plans
import Quantities
import Report
import Strategies

/// The predicted step of a plan, for Perfetto: a process for each rank that is shown, with tracks for passes, kernels and collectives, messages to
/// other ranks that are shown, and what is in its memory.
package struct PlanTrace {
  package enum Ranks: String, CaseIterable, Sendable {
    case all
    /// The first rank of each stage; of stages whose ranks have unequal shares of the batch, of each share.
    case stages

    /// More ranks than a person looks at are shown by stage.
    package static func usual(_ decision: Decision) -> Ranks { decision.ranks <= 32 ? .all : .stages }
  }

  package private(set) var trace = Trace()
  /// Those that are shown.
  package let ranks: [Int]
  /// So many micro-batches are shown with their kernels and collectives; the passes of the others by themselves.
  package let microBatches: Int
  private let plan: Plan
  private let step: PredictedStep
  private var messages: [Message: Ends] = [:]

  /// A message by what no other has.
  private struct Message: Hashable {
    let sender: Int
    let receiver: Int
    let tag: Int
  }

  /// The pass that sends a message, and the one that reads it, where they are shown.
  private struct Ends {
    var bytes = 0
    var sending: (track: Trace.Track, pass: PredictedStep.TimedPass)?
    var reading: (track: Trace.Track, pass: PredictedStep.TimedPass)?
  }

  /// What Perfetto opens without a wait.
  private static let mostInstructions = 200_000

  /// - Parameter detailed: so many micro-batches are shown with their kernels and collectives; nil for as many as are looked at with ease.
  /// - Throws: `HardwareError`, which a plan that was read does not give rise to.
  package init(_ plan: Plan, ranks shown: Ranks, detailed: Int? = nil) throws {
    let decision = plan.decision
    self.plan = plan
    step = try Planner.predictStep(decision, on: plan.hardware.cluster(devices: decision.ranks))
    switch shown {
    case .all: ranks = Array(0..<decision.ranks)
    case .stages: ranks = (0..<decision.groups).flatMap { decision.ranksAlike(decision.ranks(ofGroup: $0)).map(\.lowerBound) }
    }
    // Stages have about as many instructions as the first one.
    let instructions = ranks.count * Lowering.program(for: decision, rank: ranks[0]).instructions.count
    let easy = max(1, decision.job.microBatches * Self.mostInstructions / max(1, instructions))
    microBatches = min(detailed ?? easy, decision.job.microBatches)
    for rank in ranks { try add(rank, shown) }
    addMessages()
    trace.remarks = JSON.Object([
      ("model", .string(decision.graph.name)), ("hardware", .string(plan.hardware.name)), ("mode", .string(decision.job.mode.rawValue)),
      ("predicted_step_seconds", .double(step.prediction.step.value)), ("rank_count", .int(decision.ranks)),
      ("ranks", .array(ranks.map { .int($0) })), ("micro_batches", .int(decision.job.microBatches)), ("detailed_micro_batches", .int(microBatches)),
    ])
  }

  private mutating func add(_ rank: Int, _ shown: Ranks) throws {
    let decision = plan.decision
    let report = try ProgramReport(plan, rank: rank)
    let program = report.program
    let process = trace.addProcess(named: Self.name(of: rank, in: decision, shown))
    let tracks = RankTracks(
      passes: trace.addTrack(process: process, named: "passes"), compute: trace.addTrack(process: process, named: "compute"),
      communication: trace.addTrack(process: process, named: "communication"))
    let prices = step.instructionPrices(of: program)
    trace.add(step, of: report, TraceLabels(report, bytesPerElement: prices.bytesPerElement), on: tracks, microBatches: microBatches)
    addMemory(of: program, on: tracks.passes)
    for (pass, timed) in zip(program.passes, step.passes(ofGroup: program.stage)) {
      for index in pass.instructions {
        let instruction = program.instructions[index]
        for exchange in program.exchanges(of: instruction) {
          switch exchange {
          case .send(let elements, let receiver, let tag?):
            let message = Message(sender: rank, receiver: receiver, tag: tag)
            messages[message, default: Ends()].bytes += elements * prices.bytesPerElement(exchange, of: instruction)
            messages[message]?.sending = (tracks.passes, timed)
          case .receive(_, let sender, let tag?):
            messages[Message(sender: sender, receiver: rank, tag: tag), default: Ends()].reading = (tracks.passes, timed)
          case .collective, .send, .receive: break
          }
        }
      }
    }
  }

  private static func name(of rank: Int, in decision: Decision, _ shown: Ranks) -> String {
    let group = decision.group(ofRank: rank)
    switch shown {
    case .all: return "rank \(rank)" + (decision.groups > 1 ? ", stage \(group)" : "")
    case .stages:
      let alike = decision.ranksAlike(decision.ranks(ofGroup: group)).first { $0.contains(rank) } ?? rank..<rank + 1
      return "stage \(group), " + (alike.count == 1 ? "rank \(rank)" : "rank \(rank) of \(rank)–\(alike.upperBound - 1)")
    }
  }

  // MARK: - Memory

  /// Two counters: all of it, and its parts.
  private mutating func addMemory(of program: Program, on track: Trace.Track) {
    let resident = step.prediction.memory(ofGroup: program.stage)
    let state = resident.weights + resident.gradients + resident.optimizerState
    for sample in samples(of: program) {
      let time = Trace.nanoseconds(sample.time)
      func add(_ name: String, _ values: [(String, Bytes)]) {
        trace.add(
          .init(
            kind: .counter, name: name, categories: "memory", track: track, start: time, end: time,
            arguments: JSON.Object(values.map { ($0.0, .int(Int($0.1.value.rounded()))) })))
      }
      add("memory, bytes", [("total", state + sample.total)])
      add("memory by part, bytes", [("weights, gradients and optimizer", state)] + MemoryTimeline.Part.allCases.map { ($0.name, sample[$0]) })
    }
  }

  /// Of a pass without its instructions what is there after it; and the highest in any case.
  private func samples(of program: Program) -> [MemoryTimeline.Sample] {
    let memory = step.memory(of: program)
    if microBatches == plan.decision.job.microBatches { return Self.shown(memory.samples) }
    var hidden: [(start: Seconds, end: Seconds)] = []
    var samples = [memory.peak]
    for ((pass, timed), after) in zip(zip(program.passes, step.passes(ofGroup: program.stage)), memory.afterPasses)
    where pass.pass.microBatch >= microBatches {
      hidden.append((timed.start, timed.end))
      samples.append(after)
    }
    var next = 0
    for sample in memory.samples {
      while next < hidden.count, hidden[next].end <= sample.time { next += 1 }
      if next == hidden.count || sample.time < hidden[next].start { samples.append(sample) }
    }
    return Self.shown(samples.enumerated().sorted { ($0.element.time, $0.offset) < ($1.element.time, $1.offset) }.map(\.element))
  }

  /// Of samples at one nanosecond the last, and before it the largest, where that is more than what is there before and after.
  private static func shown(_ samples: [MemoryTimeline.Sample]) -> [MemoryTimeline.Sample] {
    var shown: [MemoryTimeline.Sample] = []
    var start = 0
    while start < samples.count {
      let time = Trace.nanoseconds(samples[start].time)
      let end = samples[start...].firstIndex { Trace.nanoseconds($0.time) != time } ?? samples.count
      let (most, last) = (samples[start..<end].max { $0.total < $1.total } ?? samples[start], samples[end - 1])
      if most.total > last.total, shown.last.map({ most.total > $0.total }) ?? true { shown.append(most) }
      shown.append(last)
      start = end
    }
    return shown
  }

  // MARK: - Messages

  /// Of each message whose two ends are shown, an arrow between the passes, and a bar from when it is sent until it is read.
  private mutating func addMessages() {
    let whole = messages.compactMap { message, ends in
      ends.sending.flatMap { sending in ends.reading.map { (message: message, bytes: ends.bytes, sending: sending, reading: $0) } }
    }
    let ordered = whole.sorted {
      ($0.sending.pass.end, $0.message.sender, $0.message.receiver, $0.message.tag)
        < ($1.sending.pass.end, $1.message.sender, $1.message.receiver, $1.message.tag)
    }
    for (number, item) in ordered.enumerated() {
      let pass = item.sending.pass
      let (sent, read) = (Trace.nanoseconds(pass.end), Trace.nanoseconds(item.reading.pass.start))
      let name = "\(pass.pass.isForward ? "activations" : "gradients") m\(pass.pass.microBatch) to rank \(item.message.receiver)"
      func add(_ kind: Trace.Event.Kind, on track: Trace.Track, _ start: Int, _ end: Int) {
        trace.add(
          .init(
            kind: kind, name: name, categories: "message", track: track, start: start, end: end,
            arguments: JSON.Object([
              ("bytes", .int(item.bytes)), ("from", .int(item.message.sender)), ("to", .int(item.message.receiver)), ("tag", .int(item.message.tag)),
            ])))
      }
      add(.async(number), on: item.sending.track, sent, read)
      // An arrow begins in a pass: at its end there is none.
      if Trace.nanoseconds(pass.start) < sent {
        add(.arrowStart(number), on: item.sending.track, sent - 1, sent - 1)
        add(.arrowEnd(number), on: item.reading.track, read, read)
      }
    }
  }
}

extension MemoryTimeline.Part {
  fileprivate var name: String {
    switch self {
    case .activations: "activations"
    case .results: "results within a pass"
    case .recomputed: "activations computed again"
    case .gradients: "gradients of activations"
    case .gathered: "whole weights and their gradients"
    case .inputs: "inputs"
    }
  }
}
