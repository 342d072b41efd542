// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Plans
import Quantities
import Strategies

/// What `search` and `estimate` say about a plan in a few lines; `inspect` says the rest.
struct PlanSummary {
  let plan: Plan
  let seconds: Double

  private var prediction: Prediction { plan.prediction }
  private var certificate: Certificate { plan.certificate }
  private var job: Job { plan.decision.job }

  /// Tokens of one global batch per second, or samples where the model has no sequence to choose.
  private var throughput: (value: Double, unit: String) {
    let count = Double(job.batch * (job.sequence ?? 1))
    return (count / prediction.step.value, job.sequence == nil ? "samples" : "tokens")
  }

  func printText() {
    let decision = plan.decision
    let mesh = decision.mesh.map(String.init).joined(separator: " x ")
    let degree = decision.stages.count
    var lines = ["\(decision.graph.name) on \(decision.ranks) devices of \(plan.hardware.name), \(job.mode.rawValue), \(job.precision.rawValue)"]
    let samples = "batch \(job.batch)" + (job.sequence.map { ", sequence \($0)" } ?? "")
    lines.append("  job          \(samples)\(job.microBatches > 1 ? ", \(job.microBatches) micro-batches" : "")")
    lines.append("  mesh         \(mesh)" + (degree > 1 ? ", \(degree) stages, \(decision.schedule.rawValue)" : ""))
    lines.append(
      "  step         \(prediction.step)   \(rounded(throughput.value)) \(throughput.unit)/s"
        + (degree > 1 ? "   bubble \(rounded(prediction.bubble * 100)) %" : ""))
    lines.append("  memory       \(prediction.memory) of \(prediction.memoryLimit) per device")
    switch certificate.status {
    case .optimal: lines.append("  certificate  optimal, gap 0 (bound \(certificate.lowerBound))")
    case .timeLimit: lines.append("  certificate  time limit, gap \(rounded(certificate.gap * 100)) % (bound \(certificate.lowerBound))")
    case .given: lines.append("  certificate  the configuration was given; nothing was compared")
    }
    lines.append(
      "               \(certificate.priced) configurations solved, \(certificate.pruned) excluded by bounds, \(certificate.infeasible) do not fit")
    for assumption in plan.assumptions { lines.append("  assumed      \(assumption)") }
    print(lines.joined(separator: "\n"))
  }

  var json: JSON {
    let decision = plan.decision
    var object = JSON.Object()
    object["status"] = (.string(certificate.status.rawValue))
    object["objective_seconds"] = (.double(certificate.objective.value))
    object["lower_bound_seconds"] = (.double(certificate.lowerBound.value))
    object["gap"] = (.double(certificate.gap))
    object["search_seconds"] = (.double(seconds))
    object["configurations"] = (["priced": .int(certificate.priced), "pruned": .int(certificate.pruned), "infeasible": .int(certificate.infeasible)])
    object["memory_bytes_per_device"] = (.double(prediction.memory.value))
    object["memory_limit_bytes"] = (.double(prediction.memoryLimit.value))
    object[throughput.unit + "_per_second"] = (.double(throughput.value))
    object["devices"] = (.int(decision.ranks))
    object["mesh"] = (.array(decision.mesh.map { .int($0) }))
    object["stages"] = (.int(decision.stages.count))
    object["schedule"] = (.string(decision.schedule.rawValue))
    object["micro_batches"] = (.int(job.microBatches))
    object["bubble"] = (.double(prediction.bubble))
    object["assumptions"] = (.array(plan.assumptions.map { .string($0) }))
    return .object(object)
  }
}
