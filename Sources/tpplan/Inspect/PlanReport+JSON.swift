// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Plans
import Report
import Strategies

extension PlanReport {
  /// What the text says, with the plan file's keys; keys end in their unit.
  var json: JSON {
    let file = PlanFile.encode(plan)
    let predicted = file["predicted"] ?? .null
    var object = JSON.Object([
      ("model", .string(graph.name)), ("hardware", .string(plan.hardware.name)), ("devices", .int(decision.ranks)),
      ("idle_devices", .int(plan.idleDevices)),
      ("step_seconds", .double(prediction.step.value)), ("sequences_per_second", .double(sequencesPerSecond)),
      ("memory_bytes_per_device", .double(prediction.memory.value)), ("memory_limit_bytes", .double(prediction.memoryLimit.value)),
      ("bubble_fraction", .double(prediction.bubble)),
    ])
    object["tokens_per_second"] = tokensPerSecond.map { .double($0) }
    object["mesh"] = .array(
      decision.mesh.enumerated().map { axis, extent in
        let levels = levels(ofAxis: axis).map { JSON.object(.init([("name", .string($0.name)), ("factor", .int($0.factor))])) }
        return ["extent": .int(extent), "levels": .array(levels)]
      })
    object["stage_meshes"] = file["stage_meshes"]
    object["batch_shares"] = file["batch_shares"]
    for key in ["job", "schedule", "stages", "operators", "certificate", "assumptions"] { object[key] = file[key] }
    object["chunks"] = .int(decision.schedule.chunks)
    object["predicted_stages"] = predicted["stages"]
    object["collectives"] = .array(collectives.map(json))
    return .object(object)
  }

  private func json(_ item: Collective) -> JSON {
    [
      "cause": .string(item.part.cause.rawValue), "kind": .string(item.part.kind?.rawValue ?? "send"),
      "operator": .string(graph.operators[item.part.op].name), "tensor": .string(graph.tensors[item.part.tensor].name),
      "axes": .array(item.part.axes.map { .int($0) }), "bytes": .double(item.part.bytes.value), "time_seconds": .double(item.part.time.value),
      "calls_per_step": .int(item.callsPerStep), "step_time_seconds": .double(item.timePerStep.value), "reason": .string(item.reason),
    ]
  }
}
