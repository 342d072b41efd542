// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Execution
import Foundation
import Hardware
import Plans
import Quantities
import Strategies

/// What a run measured, as a person and as a program read it.
struct RunText {
  let decision: Decision
  let report: RunReport
  let predicted: Prediction
  let kernel: String
  let outputs: String?

  private var medianSeconds: Seconds { Seconds(report.medianStepSeconds) }

  /// What all ranks sent in the first step, by kind.
  private var total: [(kind: Traffic.Kind, amount: Traffic.Amount, expected: Traffic.Amount)] {
    Traffic.Kind.allCases.map { kind in
      func sum(_ traffic: [Traffic]) -> Traffic.Amount {
        traffic.reduce(into: Traffic.Amount()) { $0 = Traffic.Amount(count: $0.count + $1[kind].count, bytes: $0.bytes + $1[kind].bytes) }
      }
      return (kind, sum(report.traffic), sum(report.expectedTraffic))
    }.filter { $0.amount.count > 0 || $0.expected.count > 0 }
  }

  func printText() {
    let job = decision.job
    print("\(decision.graph.name), \(job.mode.rawValue), \(decision.ranks) ranks, OpenBLAS kernel \(kernel)")
    if job.precision != .fp32 { print("  the plan is for \(job.precision.rawValue); ranks compute in fp32, so its predicted times are not theirs") }
    for (step, loss) in report.losses.enumerated() {
      let text = loss.map { String(format: "loss %.7f", $0) } ?? "no loss"
      print("  step \(step)   \(Seconds(report.stepSeconds[step]))   \(text)")
    }
    let ratio = predicted.step.value > 0 ? medianSeconds / predicted.step : 0
    print("  step time    predicted \(predicted.step)   measured \(medianSeconds)   ratio \(rounded(ratio))")
    let resident = report.peakResidentBytes.map { Bytes($0).description }.joined(separator: ", ")
    print("  memory       predicted \(predicted.memory) of tensors   measured \(resident) resident per rank")
    for (kind, amount, expected) in total {
      let isEqual = amount == expected
      print(
        "  \(kind.name.padding(toLength: 14, withPad: " ", startingAt: 0)) \(amount.count) calls, \(Bytes(amount.bytes)) over all ranks"
          + (isEqual ? ", as planned" : ", planned: \(expected.count) calls, \(Bytes(expected.bytes))"))
    }
    if let outputs { print("  outputs      \(report.outputs.map(\.name).joined(separator: ", ")) in \(outputs)") }
    if let verification = report.verification { printVerification(verification) }
  }

  private func printVerification(_ verification: VerificationReport) {
    guard let difference = verification.firstDifference else {
      print(
        "  verified     \(verification.comparedTensors) tensors equal one rank's, largest relative error "
          + String(format: "%.2g", verification.maximumRelativeError))
      return
    }
    print(
      "  DIFFERS      first in \(difference.tensor) (\(difference.layout)), worst on rank \(difference.rank): error "
        + String(format: "%.3g, tolerance %.3g", difference.error, difference.tolerance))
  }

  var json: JSON {
    var collectives = JSON.Object()
    for (kind, amount, expected) in total {
      collectives[kind.name] =
        (["count": .int(amount.count), "bytes": .int(amount.bytes), "planned_count": .int(expected.count), "planned_bytes": .int(expected.bytes)])
    }
    var object = JSON.Object()
    object["mode"] = (.string(decision.job.mode.rawValue))
    object["ranks"] = (.int(decision.ranks))
    object["step_seconds"] = (.array(report.stepSeconds.map { .double($0) }))
    object["median_step_seconds"] = (.double(report.medianStepSeconds))
    object["predicted_step_seconds"] = (.double(predicted.step.value))
    object["losses"] = (.array(report.losses.map { $0.flatMap { $0.isFinite ? .double($0) : nil } ?? .null }))
    object["peak_rss_bytes"] = (.array(report.peakResidentBytes.map { .int($0) }))
    object["predicted_memory_bytes"] = (.double(predicted.memory.value))
    object["blas_kernel"] = (.string(kernel))
    object["collectives"] = (.object(collectives))
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
