// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities
import Strategies

/// Degrees in the words of a launch's own format.
extension LaunchFormat {
  /// Degrees as the format's program takes them: what follows by itself from others is as it follows.
  package func completed(_ degrees: MegatronDegrees) -> MegatronDegrees {
    var degrees = degrees
    if degrees.tensor == 1 { degrees.isSequenceParallel = false }
    switch self {
    case .megatron, .torch: break
    case .deepspeed:
      degrees.isSequenceParallel = false
      if degrees.pipeline > 1 { degrees.zero = min(degrees.zero, .optimizer) }
      if degrees.recompute != .none { (degrees.recompute, degrees.recomputedLayers) = (.full, nil) }
    case .torchtitan:
      degrees.isSequenceParallel = degrees.tensor > 1
      // Attention is kept, and the passes around it are computed again (selective_ac_option = "op").
      if degrees.recompute != .none, degrees.recompute != .full { degrees.recompute = .elementwise }
      // FSDP shares out gradients at least; without it replicas go with no other parallelism.
      let isAlone = degrees.tensor * degrees.pipeline * degrees.context == 1
      if degrees.zero == .optimizer || degrees.zero == .none && degrees.data * degrees.context > 1 && !isAlone { degrees.zero = .gradients }
    case .huggingFace: degrees.isSequenceParallel = false
    }
    // Megatron-LM's sequence parallelism gathers again in the backward pass what it gathered (Korthikanti et al. 2022, §4.2.2).
    if self == .megatron {
      degrees.recompute =
        degrees.isSequenceParallel && degrees.recomputedLayers == nil ? degrees.recompute.gathering : degrees.recompute.keepingGathered
    }
    return degrees
  }

  /// What is written otherwise where some degrees become others: `--tensor-model-parallel-size 4 --sequence-parallel`.
  ///
  /// - Parameter layers: of the model, where chunks are said by how many of them each has.
  package func words(_ degrees: MegatronDegrees, changedFrom before: MegatronDegrees, layers: Int? = nil) -> String {
    let (new, old) = (settings(degrees, layers), settings(before, layers))
    var words: [String] = []
    for (setting, previous) in zip(new, old) where setting.text != previous.text {
      words.append(setting.text.isEmpty ? "without \(setting.name)" : setting.text)
    }
    if degrees.devices != before.devices { words.append("on \(counted(degrees.devices, "device"))") }
    return words.joined(separator: self == .megatron ? " " : ", ")
  }

  /// One thing that a launch says, and how; empty where that is left out.
  private struct Setting {
    let name: String
    let text: String

    init(_ name: String, _ text: String) { (self.name, self.text) = (name, text) }

    /// Left out where it is the value that it has by itself.
    init(_ name: String, _ value: Int, _ separator: String, usual: Int) { self.init(name, value == usual ? "" : "\(name)\(separator)\(value)") }
  }

  private func settings(_ degrees: MegatronDegrees, _ layers: Int?) -> [Setting] {
    switch self {
    case .megatron: Self.megatron(degrees, layers)
    case .deepspeed: Self.deepspeed(degrees)
    case .torchtitan: Self.torchtitan(degrees)
    case .huggingFace, .torch: Self.options(degrees)
    }
  }

  private static func megatron(_ degrees: MegatronDegrees, _ layers: Int?) -> [Setting] {
    let layout = MegatronFlags.layout(degrees)
    var chunks = Setting("--num-virtual-stages-per-pipeline-rank", degrees.chunks, " ", usual: 1)
    if let layers {
      let name = "--num-layers-per-virtual-pipeline-stage"
      chunks = Setting(name, degrees.chunks > 1 ? "\(name) \(layers / (degrees.pipeline * degrees.chunks))" : "")
    }
    // A layout says how many chunks there are.
    if !layout.isEmpty { chunks = Setting(chunks.name, "") }
    return [
      Setting("--tensor-model-parallel-size", degrees.tensor, " ", usual: 0),
      Setting("--pipeline-model-parallel-size", degrees.pipeline, " ", usual: 0),
      Setting("--context-parallel-size", degrees.context, " ", usual: 1), Setting("--expert-model-parallel-size", degrees.expert, " ", usual: 1),
      Setting("--sequence-parallel", degrees.isSequenceParallel ? "--sequence-parallel" : ""),
      chunks, Setting("the uneven cut", layout),
      Setting("--recompute-granularity", MegatronFlags.recompute(degrees)), Setting("--use-distributed-optimizer", MegatronFlags.zero(degrees.zero)),
      Setting("--micro-batch-size", degrees.microBatchSize.map { "--micro-batch-size \($0)" } ?? ""),
    ]
  }

  private static func deepspeed(_ degrees: MegatronDegrees) -> [Setting] {
    [
      Setting("tensor_parallel.autotp_size", degrees.tensor, ": ", usual: 1),
      Setting("PipelineModule(num_stages)", degrees.pipeline, " = ", usual: 1),
      Setting("zero_optimization.stage", degrees.zero.rawValue, ": ", usual: -1),
      Setting("sequence_parallel_size", degrees.context, ": ", usual: 1), Setting("ep_size", degrees.expert, " = ", usual: 1),
      Setting("activation checkpointing", degrees.recompute == .none ? "" : "activation checkpointing of \(degrees.recompute.rawValue)"),
      Setting("train_micro_batch_size_per_gpu", degrees.microBatchSize.map { "train_micro_batch_size_per_gpu: \($0)" } ?? ""),
    ]
  }

  private static func torchtitan(_ degrees: MegatronDegrees) -> [Setting] {
    let shards = degrees.zero >= .gradients
    return [
      Setting("parallelism.tensor_parallel_degree", degrees.tensor, " = ", usual: 0),
      Setting("parallelism.pipeline_parallel_degree", degrees.pipeline, " = ", usual: 0),
      Setting("parallelism.context_parallel_degree", degrees.context, " = ", usual: 1),
      Setting("parallelism.expert_parallel_degree", degrees.expert, " = ", usual: 1),
      Setting("parallelism.data_parallel_shard_degree", shards ? degrees.data : 1, " = ", usual: 0),
      Setting(
        "parallelism.fsdp_reshard_after_forward",
        shards ? "parallelism.fsdp_reshard_after_forward = \"\(degrees.zero == .weights ? "always" : "never")\"" : ""),
      Setting("parallelism.data_parallel_replicate_degree", shards ? 1 : degrees.data, " = ", usual: 0),
      Setting("parallelism.pipeline_parallel_schedule", degrees.chunks > 1 ? "parallelism.pipeline_parallel_schedule = \"Interleaved1F1B\"" : ""),
      Setting("activation_checkpoint.mode", Self.torchtitanRecompute(degrees)),
      Setting("parallelism.pipeline_parallel_microbatch_size", degrees.microBatchSize.map { "sequences of a micro-batch: \($0)" } ?? ""),
    ]
  }

  private static func torchtitanRecompute(_ degrees: MegatronDegrees) -> String {
    let mode = "activation_checkpoint.mode = "
    switch degrees.recompute {
    case .none: return mode + "\"none\""
    case .full: return mode + "\"full\"" + (degrees.recomputedLayers.map { " in \(counted($0, "layer")) of each stage" } ?? "")
    default: return mode + "\"selective\", activation_checkpoint.selective_ac_option = \"op\""
    }
  }

  private static func options(_ degrees: MegatronDegrees) -> [Setting] {
    [
      Setting("--tp", degrees.tensor, " ", usual: 0), Setting("--pp", degrees.pipeline, " ", usual: 0), Setting("--dp", degrees.data, " ", usual: 0),
      Setting("--cp", degrees.context, " ", usual: 1), Setting("--ep", degrees.expert, " ", usual: 1),
      Setting("--sp", degrees.isSequenceParallel ? "--sp" : ""), Setting("--zero", degrees.zero.rawValue, " ", usual: -1),
      Setting("--recompute", "--recompute \(degrees.recompute.rawValue)"), Setting("--vpp", degrees.chunks, " ", usual: 1),
      Setting("--micro-batch", degrees.microBatchSize.map { "--micro-batch \($0)" } ?? ""),
    ]
  }
}

extension MegatronFlags {
  /// The cut, where stages do not have equally many layers; else nothing.
  static func layout(_ degrees: MegatronDegrees) -> String {
    guard let layers = degrees.stageLayers, degrees.pipeline > 1, layers.contains(where: { $0 != layers[0] }) else { return "" }
    return "--pipeline-model-parallel-layout \"\(MegatronLayout(layers: layers).text)\""
  }

  /// What backward does again. That sequence parallelism gathers again is not said apart.
  static func recompute(_ degrees: MegatronDegrees) -> String {
    switch degrees.recompute {
    case .none, .gathered: return ""
    case .selective, .selectiveGathered: return "--recompute-granularity selective"
    case .elementwise: return "--recompute-granularity selective --recompute-modules layernorm moe_act"
    case .full:
      let count = degrees.recomputedLayers
      return "--recompute-granularity full --recompute-method \(count == nil ? "uniform" : "block") --recompute-num-layers \(count ?? 1)"
    }
  }

  static func zero(_ stage: ZeROStage) -> String {
    switch stage {
    case .none: ""
    case .optimizer: "--use-distributed-optimizer"
    case .gradients: "--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads --ckpt-format fsdp_dtensor"
    case .weights: "--use-megatron-fsdp --data-parallel-sharding-strategy optim_grads_params --ckpt-format fsdp_dtensor"
    }
  }
}
