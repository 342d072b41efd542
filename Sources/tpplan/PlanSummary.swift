// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Plans
import Quantities
import Report
import Strategies

/// What `search` and `estimate` say about a plan in a few lines; `inspect` says the rest.
struct PlanSummary {
  let plan: Plan
  /// Wall-clock seconds that the search took.
  let seconds: Double

  private var prediction: Prediction { plan.prediction }
  private var certificate: Certificate { plan.certificate }
  private var job: Job { plan.decision.job }
  private var fits: Bool { prediction.memory <= prediction.memoryLimit }

  private var samplesPerSecond: Double { Double(job.batch) / prediction.step.value }
  /// Positions of all samples; where the job does not choose the sequence, the model fixes it. Nil without a sequence.
  private var tokensPerSecond: Double? {
    let graph = plan.decision.graph
    return (job.sequence ?? graph.axes.first { $0.role == .sequence }?.extent).map { samplesPerSecond * Double($0) }
  }

  var lines: [String] {
    let decision = plan.decision
    let degree = decision.groups
    let rate =
      decision.graph.learnsPairs
      ? "\(rounded(samplesPerSecond)) pairs/s"
      : job.sequence == nil ? "\(rounded(samplesPerSecond)) samples/s" : "\(rounded(tokensPerSecond ?? 0)) tokens/s"
    var lines = [
      "\(decision.graph.name) on \(counted(decision.ranks, "device")) of \(plan.hardware.name), \(job.mode.rawValue), \(job.precision.rawValue)"
    ]
    if plan.idleDevices > 0 { lines.append("  idle         \(plan.idleText)") }
    let samples = "batch \(job.batch)" + (job.sequence.map { ", sequence \($0)" } ?? "")
    lines.append(
      "  job          \(samples)\(job.microBatches > 1 ? ", \(job.microBatches) micro-batches" : "")"
        + job.software.remarks.map { ", " + $0 }.joined())
    lines.append("  mesh         \(decision.meshText)" + (degree > 1 ? ", \(decision.pipelineText)" : ""))
    if let shares = decision.shares { lines.append("  samples      \(shares.text) of a micro-batch for the ranks along mesh axis \(shares.axis)") }
    if let recompute = decision.recomputeText { lines.append("  recompute    \(recompute)") }
    if decision.layersDiffer { lines.append("  layers       two kinds on each stage; `tpplan inspect` prints them") }
    lines.append("  step         \(prediction.step)   \(rate)" + (degree > 1 ? "   bubble \(percent(prediction.bubble))" : ""))
    lines.append("  memory       \(prediction.memory) of \(prediction.memoryLimit) per device" + (fits ? "" : ": does not fit"))
    lines += certificateLines
    for assumption in plan.assumptions { lines.append("  assumed      \(assumption)") }
    return lines
  }

  private var certificateLines: [String] {
    let heading = "  certificate  "
    let proof: String
    switch certificate.status {
    case .optimal: proof = "optimal, gap 0 (bound \(certificate.lowerBound))"
    case .timeLimit: proof = "stopped early, gap \(percent(certificate.gap)) (bound \(certificate.lowerBound))"
    case .given: return [heading + "the configuration was given; nothing was compared"]
    }
    let counts =
      "\(counted(certificate.priced, "configuration")) solved, \(certificate.pruned) excluded by bounds, \(certificate.infeasible) do not fit"
    return [heading + proof, String(repeating: " ", count: heading.count) + counts + ", in \(Seconds(seconds))"]
  }

  /// - Parameter output: where the plan was written, if anywhere.
  func json(output: String?) -> JSON {
    let decision = plan.decision
    var object = JSON.Object()
    object["status"] = .string(certificate.status.rawValue)
    object["model"] = .string(decision.graph.name)
    object["hardware"] = .string(plan.hardware.name)
    object["mode"] = .string(job.mode.rawValue)
    object["dtype"] = .string(job.precision.rawValue)
    object["batch"] = .int(job.batch)
    object["sequence"] = job.sequence.map { .int($0) }
    object["objective_seconds"] = .double(certificate.objective.value)
    // Where nothing was compared there is nothing to prove: no bound, no gap, no configurations.
    if certificate.status != .given {
      object["lower_bound_seconds"] = .double(certificate.lowerBound.value)
      object["gap"] = .double(certificate.gap)
      object["configurations"] = [
        "priced": .int(certificate.priced), "pruned": .int(certificate.pruned), "infeasible": .int(certificate.infeasible),
      ]
    }
    object["search_seconds"] = .double(seconds)
    object["fits"] = .bool(fits)
    object["memory_bytes_per_device"] = .double(prediction.memory.value)
    object["memory_limit_bytes"] = .double(prediction.memoryLimit.value)
    object["samples_per_second"] = .double(samplesPerSecond)
    object["tokens_per_second"] = tokensPerSecond.map { .double($0) }
    object["devices"] = .int(decision.ranks)
    object["idle_devices"] = .int(plan.idleDevices)
    object["mesh"] = .array(decision.mesh.map { .int($0) })
    if !decision.stageMeshes.isEmpty { object["stage_meshes"] = .array(decision.stageMeshes.map { .array($0.map { .int($0) }) }) }
    if let shares = decision.shares { object["batch_shares"] = .array(shares.samples.map { .int($0) }) }
    object["stages"] = .int(decision.groups)
    object["schedule"] = .string(decision.schedule.kind.rawValue)
    object["chunks"] = .int(decision.schedule.chunks)
    object["micro_batches"] = .int(job.microBatches)
    object["bubble"] = .double(prediction.bubble)
    object["assumptions"] = .array(plan.assumptions.map { .string($0) })
    object["plan"] = output.map { .string($0) }
    return .object(object)
  }
}
