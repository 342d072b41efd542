// SPDX-License-Identifier: GPL-3.0-or-later

/// What the planner says of degrees and batches, in the settings of a launch.
extension LaunchFormat {
  /// A sentence in which options of the planner are those settings of the launch that say the same.
  package func inOwnWords(_ text: String) -> String {
    var result = ""
    var rest = text[...]
    while let start = rest.firstRange(of: "--")?.lowerBound {
      result += rest[..<start]
      let option = rest[start...].prefix { $0 == "-" || $0.isLetter }
      result += ownWords[String(option)] ?? String(option)
      rest = rest[start...].dropFirst(option.count)
    }
    return result + rest
  }

  /// The first setting that a sentence names; nil where it names none.
  package func subject(of text: String) -> String? {
    ownWords.values.filter { $0.contains("_") || $0.hasPrefix("--") }.compactMap { name in text.firstRange(of: name).map { ($0.lowerBound, name) } }
      .min { ($0.0, -$0.1.count) < ($1.0, -$1.1.count) }?.1
  }

  /// The setting that says how large micro-batches are, in brackets; empty where there is none.
  var ofMicroBatches: String { ownWords["--micro-batch"].map { " (\($0))" } ?? "" }

  private var ownWords: [String: String] {
    switch self {
    case .megatron:
      [
        "--batch": "--global-batch-size", "--micro-batch": "--micro-batch-size", "--tp": "--tensor-model-parallel-size",
        "--pp": "--pipeline-model-parallel-size", "--cp": "--context-parallel-size", "--ep": "--expert-model-parallel-size",
        "--cp-way": "--cp-comm-type", "--dp": "the number of devices", "--sp": "--sequence-parallel",
        "--vpp": "--num-virtual-stages-per-pipeline-rank", "--stages": "--pipeline-model-parallel-layout",
        "--recompute-layers": "--recompute-num-layers", "--attention": "--attention-backend", "--seq": "--seq-length",
      ]
    case .deepspeed:
      [
        "--batch": "train_batch_size", "--micro-batch": "train_micro_batch_size_per_gpu", "--tp": "tensor_parallel.autotp_size",
        "--pp": "pipeline.stages", "--cp": "sequence_parallel_size", "--ep": "expert_parallel.autoep_size", "--dp": "the number of devices",
        "--optimizer": "optimizer.type", "--zero": "zero_optimization.stage",
      ]
    case .torchtitan:
      [
        "--batch": "training.global_batch_size", "--micro-batch": "training.local_batch_size", "--tp": "parallelism.tensor_parallel_degree",
        "--pp": "parallelism.pipeline_parallel_degree", "--cp": "parallelism.context_parallel_degree",
        "--ep": "parallelism.expert_parallel_degree", "--dp": "parallelism.data_parallel_shard_degree", "--seq": "training.seq_len",
        "--vpp": "parallelism.pipeline_parallel_layers_per_stage",
      ]
    case .huggingFace: ["--tp": "tp_size", "--dp": "the number of devices"]
    case .torch: [:]
    }
  }
}
