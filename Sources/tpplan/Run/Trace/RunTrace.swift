// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Execution
import Hardware
import Lowering
import Planner
import Plans
import Quantities
import Report
import Strategies
import Traces

/// The last step of a run as it was measured, and as it was predicted, rank by rank, as one trace.
struct RunTrace {
  static let (measured, predicted) = (1, 2)

  private(set) var trace = Trace(processes: ["measured", "predicted"])
  let overlap: CommunicationOverlap
  private let decision: Decision
  private let step: PredictedStep
  private let records: [StepRecord]

  /// - Parameters:
  ///   - decision: what was run of the plan.
  ///   - report: rank 0's.
  init(_ plan: Plan, _ decision: Decision, _ report: RunReport) throws {
    let cluster = try plan.hardware.cluster(devices: decision.ranks)
    (self.decision, records, overlap) = (decision, report.records, CommunicationOverlap(report.records))
    step = try Planner.predictStep(decision, on: cluster)
    let (pricedPlan, executedPlan) = (plan.with(decision), plan.with(decision.asExecuted))
    for (rank, record) in records.enumerated() {
      let name = "rank \(rank)" + (decision.groups > 1 ? ", stage \(decision.group(ofRank: rank))" : "")
      addMeasured(try ProgramReport(executedPlan, rank: rank), record, on: trace.addTrack(process: Self.measured, named: name))
      let predicted = try ProgramReport(pricedPlan, rank: rank)
      trace.add(step, of: predicted, TraceLabels(predicted), on: RankTracks(trace.addTrack(process: Self.predicted, named: name)))
    }
    trace.remarks = remarks(report)
  }

  private func remarks(_ report: RunReport) -> JSON.Object {
    JSON.Object([
      ("model", .string(decision.graph.name)), ("mode", .string(decision.job.mode.rawValue)),
      ("step", .int(report.firstStep + report.stepSeconds.count - 1)),
      ("measured_step_seconds", .double(report.stepSeconds.last ?? 0)), ("predicted_step_seconds", .double(step.prediction.step.value)),
      (
        "ranks",
        .array(
          records.enumerated().map { rank, record in
            let own = CommunicationOverlap([record])
            return [
              "rank": .int(rank), "communication_seconds": .double(own.exposed + own.hidden), "exposed_seconds": .double(own.exposed),
              "hidden_seconds": .double(own.hidden), "hidden_share": .double(own.hiddenShare),
            ]
          })
      ),
    ])
  }

  // MARK: - Measured

  private mutating func addMeasured(_ report: ProgramReport, _ record: StepRecord, on track: Trace.Track) {
    let program = report.program
    let numbers = program.timedInstructions
    let labels = TraceLabels(report)
    precondition(record.instructions.count == numbers.count + 1, "the record is of another program")
    func nanoseconds(_ seconds: Double) -> Int { Int((seconds * 1e9).rounded()) }
    func add(_ label: TraceLabel, from start: Double, to end: Double, communication: Double? = nil) {
      var arguments = label.arguments
      if let communication, communication > 0 { arguments["communication_us"] = .double(Double(nanoseconds(communication)) / 1000) }
      trace.add(
        .init(name: label.name, categories: label.categories, track: track, start: nanoseconds(start), end: nanoseconds(end), arguments: arguments))
    }
    for (number, time) in zip(numbers, record.instructions) { add(labels[number], from: time.start, to: time.end, communication: time.communication) }
    if let last = record.instructions.last { add(.lastWait, from: last.start, to: last.end, communication: last.communication) }
    /// From the first of these instructions that is no message: what is before is waiting for another stage.
    func addWhole(_ label: TraceLabel, _ range: Range<Int>) {
      let own = zip(numbers, record.instructions).filter { range.contains($0.0) }.drop { labels[$0.0].isMessage }
      if let first = own.first, let last = own.last { add(label, from: first.1.start, to: last.1.end) }
    }
    for pass in program.passes { addWhole(.pass(pass.pass, decision), pass.instructions) }
    addWhole(.once, program.instructionsAfterPasses)
    for (number, transfer) in record.transfers.enumerated() {
      let label = transfer.instruction < numbers.count ? labels[numbers[transfer.instruction]] : .lastWait
      trace.add(
        .init(
          kind: .async(track.number << 32 | number), name: "in flight: \(label.name)", categories: "in flight", track: track,
          start: nanoseconds(transfer.start), end: nanoseconds(transfer.end),
          arguments: JSON.Object([
            ("bytes", .int(transfer.bytes)), ("communication_us", .double(Double(nanoseconds(transfer.communication)) / 1000)),
          ])))
    }
  }
}

extension Plan {
  fileprivate func with(_ decision: Decision) -> Plan {
    var plan = self
    plan.decision = decision
    return plan
  }
}

extension Program {
  /// Instructions that a run takes the time of: freeing a buffer counts with what is before.
  var timedInstructions: [Int] {
    instructions.indices.filter { if case .free = instructions[$0] { false } else { true } }
  }

  /// What is done once per step, after all passes.
  var instructionsAfterPasses: Range<Int> { (passes.last?.instructions.upperBound ?? 0)..<instructions.count }
}

// MARK: - What `run` prints of it

/// Where the trace is, and what it says in short.
struct TraceSummary {
  let file: String
  let overlap: CommunicationOverlap

  var line: String {
    let communication = Seconds(overlap.communicationPerRank)
    let hidden =
      overlap.hidden > 0 ? "at most \(rounded(100 * overlap.hiddenShare)) % of it hidden behind kernels" : "none of it hidden behind kernels"
    return "  trace        \(file)   "
      + (overlap.communicationPerRank > 0 ? "communication \(communication) per rank, waiting included; \(hidden)" : "no communication")
  }

  var json: JSON {
    [
      "file": .string(file), "communication_seconds": .double(overlap.communicationPerRank), "hidden_share": .double(overlap.hiddenShare),
    ]
  }
}
