// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import ModelGraph
import Planner
import Plans
import Report
import Strategies

let packageFolder = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardized.path

struct NoPlan: Error {}

/// A plan of plans/.
func committedPlan(_ name: String) throws -> Plan { try PlanFile.read("\(packageFolder)/plans/\(name).json") }

/// Where a plan's step goes on each of its stages.
func stageTimes(_ plan: Plan) throws -> [StageTime] {
  let step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
  return StageTime.ofGroups(plan.decision, plan.prediction, step)
}

let committedPlans = ["bert-base-ethernet-4", "gpt2-dgx-a100-8", "llama-3-8b-derecho-8", "mlp-dgx-a100-4"]

/// A plan as `tpplan search` makes it, of GPT-2's architecture in a size that no search stumbles over.
func tinyPlan(
  name: String = "tiny-gpt2", layers: Int = 4, devices: Int = 8, batch: Int = 8, precision: Precision = .bf16, mode: Mode = .train,
  on hardware: String = "derecho", fix: (inout SearchRequest) -> Void
) throws -> Plan {
  let document = Document(
    file: "tiny-gpt2.json",
    value: [
      "name": .string(name), "model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": .int(layers), "n_positions": 32, "vocab_size": 97,
      "embd_pdrop": 0.1, "attn_pdrop": 0, "resid_pdrop": 0.1,
    ])
  let hardwareDocument = try Document(readingFrom: "\(packageFolder)/hardware/\(hardware).json")
  let hardware = try HardwareFile(decoding: hardwareDocument)
  let cluster = try hardware.cluster(devices: devices)
  var request = SearchRequest(
    graph: try ModelReader.decode(document.root), cluster: cluster, batch: batch, sequence: 32, precision: precision, mode: mode, optimizer: .adamw)
  fix(&request)
  guard case .planned(let found) = try Planner.search(request) else { throw NoPlan() }
  return Plan(
    decision: found.decision, prediction: found.prediction, certificate: found.certificate, hardware: hardware,
    modelSHA256: document.value.sha256, hardwareSHA256: hardwareDocument.value.sha256, assumptions: ["the batch is 8"])
}

/// Two stages of 2 × 2 devices with tied weights, in the order that is asked for.
func tinyPipeline(_ kind: Schedule.Kind = .oneForwardOneBackward, recompute: Recompute? = nil, zero: Int? = nil) throws -> Plan {
  try tinyPlan {
    $0.mesh = [2, 2]
    $0.pipelineDegree = 2
    $0.microBatches = 4
    $0.schedule = kind
    if kind == .interleaved { $0.chunks = 2 }
    $0.recompute = recompute
    $0.zero = zero.flatMap { ZeROStage(rawValue: $0) }
    $0.constraints = [
      .init(pattern: "*.mlp.c_fc", words: ["data", "column"], isForbidden: false),
      .init(pattern: "*.attn.core", words: ["data", "heads"], isForbidden: false),
      .init(pattern: "*.ln_2", words: ["data", "sequence"], isForbidden: false),
    ]
  }
}

/// Two stages with meshes of their own.
func tinyStageMeshes() throws -> Plan {
  try tinyPlan {
    $0.stageMeshes = [[2, 2], [4]]
    $0.microBatches = 4
  }
}
