// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Execution
import Foundation
import Hardware
import Lowering
import Plans
import Quantities
import Strategies

/// What a run measured, as a person and as a program read it.
struct RunText {
  let decision: Decision
  let report: RunReport
  let predicted: Prediction
  /// Of each rank, what its process has resident beside tensors, by the hardware file; zero where it does not say.
  let overheads: [Bytes]
  /// Of each rank, what the executor's blocks take of the system, by the program on paper.
  let owned: [Int]
  /// Whether the plan's hardware file was measured, and says on which machine.
  let isCalibrated: Bool
  let kernel: String
  let outputs: String?
  /// Lines about where parameters came from.
  var origins: [String] = []
  var threads = 1
  /// Where the last step was traced.
  var trace: TraceSummary?

  private var parts: RunParts { RunParts(decision, predicted, report.parts) }

  /// What each rank's process is predicted to have resident; nil where the hardware file does not say what a process has beside tensors.
  private var predictedResident: [Bytes]? {
    guard overheads.count == decision.ranks, overheads.allSatisfy({ $0 > .zero }) else { return nil }
    return (0..<decision.ranks).map { overheads[$0] + predicted.memory(ofGroup: decision.group(ofRank: $0)).total }
  }

  /// The same from the program on paper, with the blocks that the executor keeps for later.
  private var programResident: [Bytes]? {
    guard overheads.count == decision.ranks, overheads.allSatisfy({ $0 > .zero }), owned.count == decision.ranks else { return nil }
    return zip(overheads, owned).map { $0 + Bytes($1) }
  }

  private var medianSeconds: Seconds { Seconds(report.medianStepSeconds) }

  /// What the ranks compute in, whatever the plan is for.
  private static let computePrecision = Precision.fp32

  /// The measured time of a step, and of which steps it is the median.
  private var measured: String {
    let timed = report.timedSteps
    switch (timed.count, report.stepSeconds.count) {
    case (1, 1): return "measured \(medianSeconds)"
    case (1, _): return "measured \(medianSeconds) in step \(report.firstStep + timed.lowerBound)"
    default:
      return "measured \(medianSeconds), the median of steps \(report.firstStep + timed.lowerBound) to \(report.firstStep + timed.upperBound - 1)"
    }
  }

  /// What all ranks sent in the first step, by kind.
  private var total: [(kind: Traffic.Kind, amount: Traffic.Amount, expected: Traffic.Amount)] {
    Traffic.Kind.allCases.map { kind in
      func sum(_ traffic: [Traffic]) -> Traffic.Amount {
        traffic.reduce(into: Traffic.Amount()) { $0 = Traffic.Amount(count: $0.count + $1[kind].count, bytes: $0.bytes + $1[kind].bytes) }
      }
      return (kind, sum(report.traffic), sum(report.expectedTraffic))
    }.filter { $0.amount.count > 0 || $0.expected.count > 0 }
  }

  /// The model's own graph has room for balanced numbers of tokens alone.
  private var hasExperts: Bool { decision.graph.withSlotsForEveryPosition != nil }

  /// What the ranks would send if the tokens were spread over the experts as the plan assumes, in all-to-alls and in all collectives; nil without
  /// experts.
  private var balancedBytes: (allToAll: Int, all: Int)? {
    guard hasExperts else { return nil }
    return (0..<decision.ranks).reduce((0, 0)) { total, rank in
      let traffic = Lowering.program(for: decision, rank: rank).expectedTraffic()
      return (total.0 + traffic[.allToAll].bytes, Traffic.Kind.allCases.reduce(total.1) { $0 + traffic[$1].bytes })
    }
  }

  /// What a kind's amount is compared with: an all-to-all of slots sends what the router chose.
  private func isRouted(_ kind: Traffic.Kind) -> Bool { hasExperts && kind == .allToAll }

  /// One line each.
  var lines: [String] {
    var lines: [String] = []
    let job = decision.job
    let threads = threads > 1 ? ", \(threads) threads each" : ""
    lines.append("\(decision.graph.name), \(job.mode.rawValue), \(counted(decision.ranks, "rank"))\(threads), OpenBLAS kernel \(kernel)")
    lines += origins
    if job.precision != Self.computePrecision {
      lines.append(
        "  computes in \(Self.computePrecision.rawValue); the plan is for \(job.precision.rawValue), and so are its predicted time and memory")
    }
    let steps = report.losses.indices
    for step in steps {
      // Of many steps the first and the last.
      if steps.count > 20, 10..<steps.count - 10 ~= step {
        if step == 10 { lines.append("  … \(counted(steps.count - 20, "step"))") }
        continue
      }
      let text = report.losses[step].map { String(format: "loss %.7f", $0) } ?? "no loss"
      lines.append("  step \(report.firstStep + step)   \(Seconds(report.stepSeconds[step]))   \(text)")
    }
    let ratio = predicted.step.value > 0 ? medianSeconds / predicted.step : 0
    lines.append("  step time    predicted \(predicted.step)   \(measured)   ratio \(rounded(ratio))")
    if report.stepSeconds.count < 3 { lines.append("               of steps that warm up; with --steps 3 or more these do not count") }
    if !isCalibrated {
      lines.append("               of the plan's hardware file, which no machine was measured for; `tpplan calibrate` measures this one")
    }
    lines += parts.lines
    let shares = report.coreShares.isEmpty ? [] : Array(report.coreShares[report.timedSteps])
    if let share = shares.median, share < 0.9 {
      lines.append(
        "  disturbed    a rank had its core for only \(Int(100 * share)) % of the steps' time: other processes, or more ranks than cores, make measured times longer"
      )
    }
    let resident = report.peakResidentBytes.map { Bytes($0).description }.joined(separator: ", ")
    let tensors = report.peakBufferBytes.max().map { "at most \(Bytes($0)) of tensors; " } ?? ""
    let kept = report.verification == nil ? "" : " (all results of step 0 kept)"
    lines.append("  memory       predicted \(predicted.memory) of tensors   measured \(tensors)\(resident) resident per rank\(kept)")
    if let programResident, let most = zip(report.peakResidentBytes, programResident).max(by: { $0.0 < $1.0 }), report.verification == nil {
      let overhead = overheads.max() ?? .zero
      lines.append(
        "  resident     predicted \(most.1), \(overhead) of it the process itself   measured \(Bytes(most.0))   ratio "
          + rounded(Bytes(most.0) / most.1))
    }
    for (kind, amount, expected) in total {
      let isEqual = amount == expected
      lines.append(
        "  \(kind.name.padding(toLength: 14, withPad: " ", startingAt: 0)) \(counted(amount.count, "call")) per step, \(Bytes(amount.bytes)) over all ranks"
          + (isEqual
            ? (isRouted(kind) ? ", calls as planned, bytes as the tokens were routed" : ", as planned")
            : (isRouted(kind) ? ", by the plan and the routes: " : ", planned: ") + "\(counted(expected.count, "call")), \(Bytes(expected.bytes))"))
    }
    if let balancedBytes {
      lines.append(
        "  experts        with tokens spread evenly, as the plan assumes, \(Bytes(balancedBytes.allToAll)) over all ranks in all-to-alls, "
          + "\(Bytes(balancedBytes.all)) in all collectives; all but all-to-alls send a slot for every position")
    }
    if let outputs { lines.append("  outputs      \(report.outputs.map(\.name).joined(separator: ", ")) in \(outputs)") }
    if let trace { lines.append(trace.line) }
    if let verification = report.verification { lines.append(line(verification)) }
    return lines
  }

  private func line(_ verification: VerificationReport) -> String {
    guard let difference = verification.firstDifference else {
      return "  verified     \(counted(verification.comparedTensors, "tensor")) equal one rank's, largest relative error "
        + String(format: "%.2g", verification.maximumRelativeError)
    }
    return "  DIFFERS      first in \(difference.tensor) (\(difference.layout)), worst on rank \(difference.rank): error "
      + String(format: "%.3g, tolerance %.3g", difference.error, difference.tolerance)
  }

  var json: JSON {
    var collectives = JSON.Object()
    for (kind, amount, expected) in total {
      var entry = JSON.Object([("count", .int(amount.count)), ("bytes", .int(amount.bytes)), ("planned_count", .int(expected.count))])
      entry[isRouted(kind) ? "routed_bytes" : "planned_bytes"] = .int(expected.bytes)
      if isRouted(kind) { entry["balanced_bytes"] = balancedBytes.map { .int($0.allToAll) } }
      collectives[kind.name] = .object(entry)
    }
    var object = JSON.Object()
    object["mode"] = (.string(decision.job.mode.rawValue))
    object["plan_dtype"] = (.string(decision.job.precision.rawValue))
    object["compute_dtype"] = (.string(Self.computePrecision.rawValue))
    object["ranks"] = (.int(decision.ranks))
    object["first_step"] = .int(report.firstStep)
    object["step_seconds"] = (.array(report.stepSeconds.map { .double($0) }))
    object["median_step_seconds"] = (.double(report.medianStepSeconds))
    object["step_core_share"] = (.array(report.coreShares.map { .double($0) }))
    object["predicted_step_seconds"] = (.double(predicted.step.value))
    // A run ends at a loss that is not finite; without a loss, or a label that counts, the list is empty.
    object["losses"] = (.array(report.losses.compactMap { $0.map { .double($0) } }))
    object["peak_rss_bytes"] = (.array(report.peakResidentBytes.map { .int($0) }))
    object["peak_tensor_bytes"] = (.array(report.peakBufferBytes.map { .int($0) }))
    object["predicted_rss_bytes"] = predictedResident.map { .array($0.map { .double($0.value) }) }
    object["program_rss_bytes"] = programResident.map { .array($0.map { .double($0.value) }) }
    object["parts"] = parts.json
    object["predicted_memory_bytes"] = (.double(predicted.memory.value))
    object["blas_kernel"] = (.string(kernel))
    object["collectives"] = (.object(collectives))
    object["trace"] = trace?.json
    object["balanced_bytes"] = balancedBytes.map { .int($0.all) }
    if let verification = report.verification {
      let difference: JSON =
        verification.firstDifference.map {
          [
            "tensor": .string($0.tensor), "layout": .string($0.layout), "rank": .int($0.rank), "error": .double($0.error),
            "tolerance": .double($0.tolerance),
          ]
        } ?? .null
      object["verify"] =
        ([
          "compared_tensors": .int(verification.comparedTensors), "max_relative_error": .double(verification.maximumRelativeError),
          "first_difference": difference,
        ])
    }
    return .object(object)
  }
}
