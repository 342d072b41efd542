// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import ModelGraph
import Plans
import Quantities
import Testing

@testable import Execution
@testable import tpplan

/// What `run` prints.
struct RunTextTests {
  private func text(_ seconds: [Double], losses: [Double?]) throws -> RunText {
    let plan = try PlanFile.read(URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../plans/mlp-dgx-a100-4.json").path)
    var report = RunReport()
    (report.stepSeconds, report.losses, report.peakResidentBytes) = (seconds, losses, [1 << 20])
    report.peakBufferBytes = [1 << 10]
    var sent = Traffic()
    sent[.allReduce] = Traffic.Amount(count: 1, bytes: 2048)
    (report.traffic, report.expectedTraffic) = ([sent], [sent])
    return RunText(
      decision: plan.decision.onOneRank(), report: report, predicted: plan.prediction, overheads: [], owned: [], isCalibrated: true, kernel: "Zen",
      outputs: nil)
  }

  @Test("golden: one step, one rank, one call; the format in which ranks compute is said once")
  func oneStep() throws {
    let lines = try text([0.5], losses: [8.25]).lines
    #expect(lines[0] == "mlp, train, 1 rank, OpenBLAS kernel Zen")
    #expect(lines[1] == "  computes in fp32; the plan is for bf16, and so are its predicted time and memory")
    #expect(lines[2] == "  step 0   500 ms   loss 8.2500000")
    #expect(lines[3].contains("   measured 500 ms   ratio "))
    #expect(lines[4] == "               of steps that warm up; with --steps 3 or more these do not count")
    #expect(lines[6] == "  all-reduce     1 call per step, 2.00 KiB over all ranks, as planned")
    #expect(lines.count { $0.contains("fp32") } == 1 && !lines.contains { $0.contains("median") })
  }

  @Test("golden: the memory of a run that is verified is that of the plan's own part")
  func memory() throws {
    let plain = try text([0.5], losses: [8.25])
    #expect(plain.lines[5].hasSuffix("   measured at most 1.00 KiB of tensors; 1.00 MiB resident per rank"))
    var report = plain.report
    report.verification = VerificationReport()
    let verified = RunText(
      decision: plain.decision, report: report, predicted: plain.predicted, overheads: [], owned: [], isCalibrated: true, kernel: "Zen", outputs: nil)
    #expect(verified.lines[5] == plain.lines[5] + " (all results of step 0 kept)")
    #expect(plain.json["peak_tensor_bytes"] == [1024])
  }

  @Test(
    "golden: which steps the time is of",
    arguments: [
      ([0.5, 0.25], "measured 375 ms, the median of steps 0 to 1"), ([3, 2, 1], "measured 1.00 s in step 2"),
      ([9, 9, 1, 3, 2], "measured 2.00 s, the median of steps 2 to 4"),
    ])
  func steps(seconds: [Double], measured: String) throws {
    let lines = try text(seconds, losses: seconds.map { _ in 1 }).lines
    #expect(lines.contains { $0.contains("   \(measured)   ratio ") }, "\(lines)")
  }

  private struct NoParts: Error {}

  @Test("golden: predicted beside measured, part by part, and the process beside its tensors")
  func parts() throws {
    let plain = try text([0.5], losses: [8.25])
    var report = plain.report
    var measured = StepParts()
    measured[.forward] = 0.125
    measured[.optimizer] = 0.25
    measured.communication = 0.0625
    (report.parts, report.coreShares) = ([measured], [0.5])
    report.peakResidentBytes = [3 << 20]
    var predicted = Prediction(
      step: Seconds(0.5), bubble: 0,
      stages: [
        .init(
          forward: Seconds(0.25), backward: Seconds(0.125), gradientSync: .zero, update: Seconds(0.125), communication: Seconds(0.03125),
          memory: .init(
            weights: Bytes(1 << 20), gradients: .zero, optimizerState: .zero, activations: .zero, microBatchesInFlight: 1, transient: .zero))
      ], groups: 1, operators: [], collectives: [], memoryLimit: .gibibytes(1))
    let made = RunText(
      decision: plain.decision, report: report, predicted: predicted, overheads: [Bytes(1 << 20)], owned: [2 << 20], isCalibrated: true,
      kernel: "Zen", outputs: nil)
    let expected = [
      "  time                predicted   measured      ratio", "    forward              250 ms     125 ms      0.500",
      "    backward             125 ms        0 s          0", "    optimizer            125 ms     250 ms       2.00",
      "    in collectives      31.2 ms    62.5 ms       2.00",
      "  disturbed    a rank had its core for only 50 % of the steps' time: other processes, or more ranks than cores, make measured times longer",
      "  memory       predicted 1.00 MiB of tensors   measured at most 1.00 KiB of tensors; 3.00 MiB resident per rank",
      "  resident     predicted 3.00 MiB, 1.00 MiB of it the process itself   measured 3.00 MiB   ratio 1.00",
    ]
    #expect(Array(made.lines[5...12]) == expected, "\(made.lines)")
    guard case .array(let stages)? = made.json["parts"], case .array(let ranks)? = stages[0]["measured"] else { throw NoParts() }
    #expect(ranks[0]["optimizer_seconds"] == 0.25 && made.json["predicted_rss_bytes"] == [2_097_152.0])
    #expect(made.json["program_rss_bytes"] == [3_145_728.0])
    #expect(made.json["step_core_share"] == [0.5])
    // A hardware file that does not say what a process has leaves the comparison out.
    #expect(!plain.lines.contains { $0.contains("resident     ") } && plain.json["predicted_rss_bytes"] == nil)
    // With two stages, what is left of the step is the other's.
    predicted = Prediction(
      step: Seconds(1), bubble: 0.5, stages: predicted.stages + predicted.stages, groups: 2, operators: [], collectives: [],
      memoryLimit: .gibibytes(1))
    #expect(predicted.parts(ofGroup: 1, microBatches: 2)[.stages] == 0.125 && predicted.parts(ofGroup: 1, microBatches: 2)[.forward] == 0.5)
  }

  @Test("golden: where the trace is, and how much of the communication was hidden")
  func trace() throws {
    func text(_ records: [StepRecord]) throws -> RunText {
      var made = try self.text([0.5], losses: [1])
      made.trace = TraceSummary(file: "t.json", overlap: CommunicationOverlap(records))
      return made
    }
    func record(exposed: Double, hidden: Double) -> StepRecord {
      StepRecord(instructions: [.init(start: 0, end: 1, communication: exposed)], transfers: [], hidden: hidden)
    }
    let some = try text([record(exposed: 0.25, hidden: 0.25), record(exposed: 0.5, hidden: 0)])
    #expect(some.lines.last == "  trace        t.json   communication 500 ms per rank, waiting included; at most 25.0 % of it hidden behind kernels")
    #expect(some.json["trace"] == ["file": "t.json", "communication_seconds": 0.5, "hidden_share": 0.25])
    let none = try text([record(exposed: 0.5, hidden: 0)])
    #expect(none.lines.last == "  trace        t.json   communication 500 ms per rank, waiting included; none of it hidden behind kernels")
    #expect(try text([record(exposed: 0, hidden: 0)]).lines.last == "  trace        t.json   no communication")
    #expect(try self.text([0.5], losses: [1]).json["trace"] == nil)
  }

  @Test("JSON names both formats, and a model without a loss has no losses")
  func json() throws {
    let json = try text([0.5], losses: [nil]).json
    #expect(json["compute_dtype"] == "fp32" && json["plan_dtype"] == "bf16" && json["losses"] == [])
    #expect(try text([0.5], losses: [2.5]).json["losses"] == [2.5])
  }

  @Test("golden: all-to-alls to experts are compared with what was routed, and the plan's balanced figure stands beside")
  func experts() throws {
    let plain = try text([0.5], losses: [8.25])
    var decision = plain.decision
    var model = LlamaConfiguration()
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 1, sequence: 4), 1, 8, 2, 8)
    (model.vocabulary, model.maximumPositions, model.keyValueHeads, model.headSize) = (8, 4, 1, 4)
    model.experts = ExpertLayer(naming: .mixtral, count: 2, perToken: 1, ffn: 8, renormalises: true)
    decision.graph = try model.graph()
    decision = decision.onOneRank()
    var report = plain.report
    var sent = Traffic()
    sent[.allToAll] = Traffic.Amount(count: 2, bytes: 1024)
    (report.traffic, report.expectedTraffic) = ([sent], [sent])
    func made(_ report: RunReport) -> RunText {
      RunText(
        decision: decision, report: report, predicted: plain.predicted, overheads: [], owned: [], isCalibrated: true, kernel: "Zen", outputs: nil)
    }
    #expect(
      made(report).lines.suffix(2) == [
        "  all-to-all     2 calls per step, 1.00 KiB over all ranks, calls as planned, bytes as the tokens were routed",
        "  experts        with tokens spread evenly, as the plan assumes, 0 B over all ranks in all-to-alls, 0 B in all collectives; "
          + "all but all-to-alls send a slot for every position",
      ])
    let collectives = made(report).json["collectives"]
    #expect(collectives?["all-to-all"] == ["count": 2, "bytes": 1024, "planned_count": 2, "routed_bytes": 1024, "balanced_bytes": 0])
    sent[.allToAll].bytes = 2048
    report.expectedTraffic = [sent]
    #expect(made(report).lines.contains { $0.hasSuffix("1.00 KiB over all ranks, by the plan and the routes: 2 calls, 2.00 KiB") })
  }

  @Test("the exit code of each way in which a run is refused")
  func exitCodes() {
    #expect(Failure.code(of: .lossNotFinite(step: 0, loss: .nan)) == 1)
    #expect(Failure.code(of: .notEnoughMemory(ranks: 1, bytes: 2, verificationBytes: 0, available: 1, dtype: "fp32")) == 2)
    #expect(Failure.code(of: .tooFewSlots(hostfile: "", slots: 1, ranks: 2)) == 65)
    #expect(Failure.code(of: .unusableHostfile(file: "", line: nil, problem: "")) == 65)
  }
}
