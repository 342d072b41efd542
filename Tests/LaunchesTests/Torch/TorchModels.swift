// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import ModelGraph
import Planner
import Plans
import Strategies
import Testing

@testable import Launches

/// Small models of the kinds that the script has modules for, and their plans.
enum TorchModels {
  static let packageFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path

  static let gpt2: JSON = [
    "name": "tiny-gpt2", "model_type": "gpt2", "n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 16, "vocab_size": 51,
  ]
  static let llama: JSON = [
    "name": "tiny-llama", "model_type": "llama", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "vocab_size": 61, "max_position_embeddings": 16, "tie_word_embeddings": false,
  ]
  static let qwen3: JSON = [
    "name": "tiny-qwen3", "model_type": "qwen3", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4,
    "head_dim": 8, "intermediate_size": 48, "vocab_size": 61, "max_position_embeddings": 16,
  ]
  static let bert: JSON = [
    "name": "tiny-bert", "model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 60, "max_position_embeddings": 16,
  ]
  static let opt: JSON = [
    "name": "tiny-opt", "model_type": "opt", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "ffn_dim": 64, "vocab_size": 60,
    "max_position_embeddings": 16, "word_embed_proj_dim": 32,
  ]
  static let neoX: JSON = [
    "name": "tiny-neox", "model_type": "gpt_neox", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "vocab_size": 60, "max_position_embeddings": 16,
  ]
  static let vit: JSON = [
    "name": "tiny-vit", "model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 4, "intermediate_size": 64, "image_size": 16, "patch_size": 4, "num_channels": 2,
    "id2label": ["0": "a", "1": "b", "2": "c", "3": "d"],
  ]
  static let mixtral: JSON = [
    "name": "tiny-mixtral", "model_type": "mixtral", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "vocab_size": 61, "max_position_embeddings": 16, "num_local_experts": 4, "num_experts_per_tok": 2,
  ]
  static let all = [gpt2, llama, qwen3, bert, opt, neoX, vit]

  static func graph(_ model: JSON) throws -> Graph { try ModelReader.decode(Document(file: "config.json", value: model).root) }

  static let hardware = Result { try HardwareFile(readingFrom: "\(packageFolder)/hardware/derecho.json") }

  static func request(_ model: JSON, devices: Int, batch: Int) throws -> SearchRequest {
    let graph = try graph(model)
    return SearchRequest(
      graph: graph, cluster: try hardware.get().cluster(devices: devices), batch: batch, sequence: graph.choosesSequence ? 16 : nil, precision: .bf16,
      mode: .train, optimizer: .adamw)
  }

  struct NoPlan: Error {}

  static func plan(_ request: SearchRequest) throws -> Plan {
    guard case .planned(let found) = try Planner.search(request) else { throw NoPlan() }
    return Plan(
      decision: found.decision, prediction: found.prediction, certificate: found.certificate, hardware: try hardware.get(), modelSHA256: "",
      hardwareSHA256: "", assumptions: [])
  }

  /// As `tpplan estimate` prices degrees.
  static func plan(_ model: JSON, batch: Int = 4, _ change: (inout MegatronDegrees) -> Void) throws -> Plan {
    var degrees = MegatronDegrees()
    change(&degrees)
    return try plan(degrees.fix(request(model, devices: degrees.devices, batch: batch)))
  }

  /// The decision that a plan's script gives when it is read and planned again.
  static func again(_ plan: Plan, _ model: JSON) throws -> Decision {
    let text = try TorchScript.exporting(plan)
    let read = try TorchScript.reading(text)
    let request = try read.request(for: graph(model), on: plan.hardware.cluster(devices: plan.decision.ranks))
    let found = try self.plan(request).decision
    #expect(try read.findings(against: found).isEmpty)
    #expect(read.launch.devices == plan.decision.ranks && read.launch.batch == plan.decision.job.batch)
    return found
  }
}

extension Decision {
  /// Whether two decisions are one, where one stage has no schedule.
  func equalsAlone(_ other: Decision) -> Bool {
    var (own, other) = (self, other)
    if groups > 1 || other.groups > 1 { return own == other }
    (own.schedule, other.schedule) = (.gpipe, .gpipe)
    return own == other
  }
}
