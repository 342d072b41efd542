// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ModelGraph

extension LaunchFormat {
  /// As people call it.
  package var title: String {
    switch self {
    case .megatron: "Megatron-LM"
    case .deepspeed: "DeepSpeed"
    case .torchtitan: "torchtitan"
    case .huggingFace: "Hugging Face tp_plan"
    case .torch: "PyTorch"
    }
  }

  /// What a launch of it is called in a sentence.
  package var phrase: String {
    switch self {
    case .megatron: "a command line of Megatron-LM"
    case .deepspeed: "a DeepSpeed configuration"
    case .torchtitan: "a torchtitan job"
    case .huggingFace: "a tp_plan"
    case .torch: "a script's tables"
    }
  }

  /// The format of a launch, by what stands in it; nil where it is none that is known.
  package init?(recognising text: String) {
    let lines = text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }
    let content = lines.filter { !$0.isEmpty && !$0.hasPrefix("#") }
    guard let first = content.first else { return nil }
    if first.hasPrefix("{") {
      let isDeepSpeed = ["\"train_batch_size\"", "\"train_micro_batch_size_per_gpu\"", "\"zero_optimization\"", "\"autotp_size\""].contains {
        text.contains($0)
      }
      self = !isDeepSpeed && ["tp_plan", "colwise", "rowwise", "model_type"].contains { text.contains($0) } ? .huggingFace : .deepspeed
    } else if content.contains(where: { $0.hasPrefix("base_model_tp_plan = {") || $0.hasPrefix("tp_plan = {") }) {
      self = .huggingFace
    } else if content.contains(where: { line in Self.sections.contains { line.hasPrefix("[\($0)") } && !line.hasPrefix("[[") }) {
      self = .torchtitan
    } else if content.contains(where: { $0.hasPrefix("import torch") || $0.hasPrefix("from torch") }) {
      self = .torch
    } else if text.contains("--") {
      self = .megatron
    } else {
      return nil
    }
  }

  /// Sections of a torchtitan job.
  private static let sections = ["parallelism", "training", "model]", "job]", "activation_checkpoint", "optimizer]", "experimental"]

  /// Reads a launch.
  ///
  /// - Parameters:
  ///   - model: what is trained, where the launch does not say it: what some settings mean depends on it.
  ///   - values: of a shell script's variables, in place of those that it gives them.
  /// - Throws: `LaunchError` for a text that is no launch of this format, `DocumentError` where it is no JSON or TOML at all.
  package func read(_ bytes: [UInt8], file: String, model: Graph? = nil, values: [String: String] = [:]) throws -> Launch {
    switch self {
    case .megatron: try MegatronLaunch.reading(String(decoding: bytes, as: UTF8.self), file: file, values: values)
    case .deepspeed: try DeepSpeedLaunch.reading(String(decoding: bytes, as: UTF8.self), file: file)
    case .torchtitan: try TorchtitanLaunch.reading(String(decoding: bytes, as: UTF8.self), file: file, model: model)
    case .huggingFace: try HuggingFacePlan.reading(String(decoding: bytes, as: UTF8.self), file: file)
    case .torch: try TorchScript.reading(String(decoding: bytes, as: UTF8.self), file: file).launch
    }
  }
}
