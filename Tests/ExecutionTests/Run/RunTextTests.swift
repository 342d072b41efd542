// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Plans
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
    return RunText(decision: plan.decision.onOneRank(), report: report, predicted: plan.prediction, kernel: "Zen", outputs: nil)
  }

  @Test("golden: one step, one rank, one call; the format in which ranks compute is said once")
  func oneStep() throws {
    let lines = try text([0.5], losses: [8.25]).lines
    #expect(lines[0] == "mlp, train, 1 rank, OpenBLAS kernel Zen")
    #expect(lines[1] == "  computes in fp32; the plan is for bf16, and so are its predicted time and memory")
    #expect(lines[2] == "  step 0   500 ms   loss 8.2500000")
    #expect(lines[3].contains("   measured 500 ms   ratio "))
    #expect(lines[5] == "  all-reduce     1 call per step, 2.00 KiB over all ranks, as planned")
    #expect(lines.count { $0.contains("fp32") } == 1 && !lines.contains { $0.contains("median") })
  }

  @Test("golden: the memory of a run that is verified is that of the plan's own part")
  func memory() throws {
    let plain = try text([0.5], losses: [8.25])
    #expect(plain.lines[4].hasSuffix("   measured at most 1.00 KiB of tensors; 1.00 MiB resident per rank"))
    var report = plain.report
    report.verification = VerificationReport()
    let verified = RunText(decision: plain.decision, report: report, predicted: plain.predicted, kernel: "Zen", outputs: nil)
    #expect(verified.lines[4] == plain.lines[4] + " (all results of step 0 kept)")
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

  @Test("JSON names both formats, and a model without a loss has no losses")
  func json() throws {
    let json = try text([0.5], losses: [nil]).json
    #expect(json["compute_dtype"] == "fp32" && json["plan_dtype"] == "bf16" && json["losses"] == [])
    #expect(try text([0.5], losses: [2.5]).json["losses"] == [2.5])
  }

  @Test("the exit code of each way in which a run is refused")
  func exitCodes() {
    #expect(Failure.code(of: .lossNotFinite(step: 0, loss: .nan)) == 1)
    #expect(Failure.code(of: .notEnoughMemory(ranks: 1, bytes: 2, verificationBytes: 0, available: 1, dtype: "fp32")) == 2)
    #expect(Failure.code(of: .tooFewSlots(hostfile: "", slots: 1, ranks: 2)) == 65)
    #expect(Failure.code(of: .unusableHostfile(file: "", line: nil, problem: "")) == 65)
  }
}
