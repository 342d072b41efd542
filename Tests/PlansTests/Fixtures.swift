// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import ModelGraph
import Planner
import Plans
import Strategies

/// The package's folder, found from this file.
let packageFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

struct NoPlan: Error {}

/// A plan as `tpplan search` makes it. `fix` makes choices beforehand, so that the search is short.
func plan(
  _ document: Document, hardware name: String, devices: Int, batch: Int, sequence: Int?, mode: Mode = .train, optimizer: OptimizerKind = .adamw,
  fix: (inout SearchRequest) -> Void = { _ in }
) throws -> Plan {
  let hardwareDocument = try Document(readingFrom: "\(packageFolder)/hardware/\(name).json")
  let hardware = try HardwareFile(decoding: hardwareDocument)
  let cluster = try hardware.cluster(devices: devices)
  var request = SearchRequest(
    graph: try ModelReader.decode(document.root), cluster: cluster, batch: batch, sequence: sequence, precision: cluster.kind(of: 0).defaultPrecision,
    mode: mode, optimizer: optimizer)
  fix(&request)
  guard case .planned(let found) = try Planner.search(request) else { throw NoPlan() }
  return Plan(
    decision: found.decision, prediction: found.prediction, certificate: found.certificate, hardware: hardware,
    modelSHA256: document.value.sha256, hardwareSHA256: hardwareDocument.value.sha256, assumptions: [])
}

func modelDocument(_ name: String) throws -> Document { try Document(readingFrom: "\(packageFolder)/models/\(name).json") }

/// GPT-2's architecture, two layers, sizes that no search stumbles over.
let tinyGPT2 = deepGPT2(layers: 2)

func deepGPT2(layers: Int) -> Document {
  Document(
    file: "tiny-gpt2.json",
    value: [
      "name": "tiny-gpt2", "model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": .int(layers), "n_positions": 32, "vocab_size": 97,
      "embd_pdrop": 0, "attn_pdrop": 0, "resid_pdrop": 0,
    ])
}

/// Two stages of 2 × 2 devices, whose weights are tied across the stages: every part of the format occurs.
func tinyPipeline() throws -> Plan { try tinyPipelineOnce.get() }

private let tinyPipelineOnce = Result {
  try plan(tinyGPT2, hardware: "derecho", devices: 8, batch: 8, sequence: 32) {
    $0.mesh = [2, 2]
    $0.microBatches = 2
    $0.schedule = .oneForwardOneBackward
    // Left alone, the search would not split so small a model's layers.
    $0.constraints = [
      .init(pattern: "*.mlp.c_fc", words: ["data", "column"], isForbidden: false),
      .init(pattern: "*.attn.core", words: ["data", "heads"], isForbidden: false),
      .init(pattern: "*.ln_2", words: ["data", "sequence"], isForbidden: false),
    ]
  }
}

/// Four devices around a ring, with a sequence of 32.
func tinyRing(contiguous: Bool = false) throws -> Plan {
  try plan(tinyGPT2, hardware: "derecho", devices: 4, batch: 1, sequence: 32) {
    ($0.mesh, $0.isZigzag) = ([4], !contiguous)
    $0.constraints = [.init(pattern: "*.attn.core", words: ["ring"], isForbidden: false)]
  }
}

/// Two stages of two chunks each, on 2 × 2 devices, of four layers.
func tinyInterleaved() throws -> Plan { try tinyInterleavedOnce.get() }

private let tinyInterleavedOnce = Result {
  guard case .object(var model) = tinyGPT2.value else { throw NoPlan() }
  model["n_layer"] = 4
  return try plan(Document(file: tinyGPT2.file, value: .object(model)), hardware: "derecho", devices: 8, batch: 16, sequence: 32) {
    $0.mesh = [2, 2]
    $0.microBatches = 4
    $0.chunks = 2
    $0.constraints = [.init(pattern: "*.mlp.c_fc", words: ["data", "column"], isForbidden: false)]
  }
}

/// A plan's file with one more edit.
func edited(_ plan: Plan, _ edit: (inout JSON) -> Void) -> Document {
  var json = PlanFile.encode(plan)
  edit(&json)
  return Document(file: "plan.json", value: json)
}
