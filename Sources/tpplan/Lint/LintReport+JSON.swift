// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Launches
import Planner
import Plans
import Quantities
import Report
import Strategies

extension LintReport {
  /// - Parameter output: where the launch was written as a plan, if anywhere.
  func json(output: String?) -> JSON {
    var object = JSON.Object([("launch", .string(file)), ("format", .string(launch.format.rawValue)), ("is_legal", .bool(!isIllegal))])
    object["findings"] = .array(
      launch.findings.map { ["severity": .string($0.severity.rawValue), "place": .string($0.place), "text": .string($0.text)] })
    if let obstacle = obstacle ?? (job == nil ? launch.graphObstacle : nil) { object["obstacle"] = .string(obstacle) }
    guard let job else { return .object(object) }
    object["model"] = .string(job.request.graph.name)
    object["hardware"] = .string(hardware.name)
    object["batch"] = .int(job.request.batch)
    object["sequence"] = job.request.sequence.map { .int($0) }
    object["dtype"] = .string(job.request.precision.rawValue)
    object["optimizer"] = .string(job.request.optimizer.rawValue)
    object["degrees"] = Self.json(job.degrees)
    object["assumptions"] = .array(job.assumptions.map { .string($0) })
    guard let planned else { return .object(object) }
    object["fits"] = mayFit ? .null : .bool(fits)
    if !launch.offloading.isEmpty { object["offloading"] = .array(launch.offloading.map { .string($0) }) }
    for (key, value) in Self.members(planned) { object[key] = value }
    object["tokens_per_second"] = job.request.sequence.map { .double(Double(job.request.batch * $0) / planned.prediction.step.value) }
    object["bubble"] = .double(planned.prediction.bubble)
    if !fits { object["repairs"] = .array(repairs.map(Self.json) + otherJobs.map(json)) }
    if let optimum {
      var best = JSON.Object(Self.members(optimum))
      best["status"] = .string((isProven ? Certificate.Status.optimal : .timeLimit).rawValue)
      best["gap"] = gap.map { .double($0) }
      best["plan"] = .string(optimum.decision.splitText)
      object["optimum"] = .object(best)
    }
    object["least_memory_bytes"] = leastMemory.map { .double($0.value) }
    object["excess"] = fits ? distance.map { .double($0) } : nil
    let error = PredictionError(hardware).share
    object["prediction_error"] = .double(error)
    object["is_within_error"] = fits ? distance.map { .bool($0 <= error) } : nil
    object["changes"] = .array(
      (improvements + improvementsElsewhere).map { change in
        .object(
          JSON.Object(
            [("change", .string(change.text)), ("is_sayable", .bool(change.isSayable)), ("degrees", Self.json(change.degrees))]
              + Self.members(change.planned)
              + [("gain", .double(1 - change.planned.prediction.step / planned.prediction.step))]))
      })
    object["has_all_changes"] = .bool(hasAllChanges)
    object["plan"] = output.map { .string($0) }
    return .object(object)
  }

  private static func members(_ planned: PlanOutcome.Planned) -> [(String, JSON)] {
    [
      ("step_seconds", .double(planned.prediction.step.value)), ("memory_bytes_per_device", .double(planned.prediction.memory.value)),
      ("memory_limit_bytes", .double(planned.prediction.memoryLimit.value)),
    ]
  }

  private static func json(_ repair: LaunchChange) -> JSON {
    [
      "change": .string(repair.text), "step_seconds": .double(repair.planned.prediction.step.value), "devices": .int(repair.degrees.devices),
      "is_other_job": false, "is_proven": true,
    ]
  }

  private func json(_ repair: Repair) -> JSON {
    [
      "change": .string(words(repair)), "step_seconds": .double(repair.step.value), "devices": .int(repair.devices),
      "is_other_job": true, "is_proven": .bool(repair.isProven),
    ]
  }

  private static func json(_ degrees: MegatronDegrees) -> JSON {
    var object = JSON.Object([
      ("tensor", .int(degrees.tensor)), ("pipeline", .int(degrees.pipeline)), ("data", .int(degrees.data)), ("context", .int(degrees.context)),
      ("expert", .int(degrees.expert)), ("is_sequence_parallel", .bool(degrees.isSequenceParallel)), ("zero", .int(degrees.zero.rawValue)),
      ("recompute", .string(degrees.recompute.rawValue)), ("schedule", .string(degrees.schedule.rawValue)), ("chunks", .int(degrees.chunks)),
    ])
    object["context_way"] = degrees.contextWay.map { .string($0.rawValue) }
    object["recomputed_layers"] = degrees.recomputedLayers.map { .int($0) }
    object["micro_batch_size"] = degrees.microBatchSize.map { .int($0) }
    object["stage_layers"] = degrees.stageLayers.map { .array($0.map { .int($0) }) }
    return .object(object)
  }
}
