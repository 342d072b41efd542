// SPDX-License-Identifier: GPL-3.0-or-later

/// What is known of the programs that Megatron-LM's options are given to, by their file names.
enum MegatronProgram {
  /// Parts of the names of programs that use, convert or measure a model, and do not train one (examples/, tools/ and tasks/).
  private static let uses = [
    "text_generation", "generate", "inference", "server", "convert", "preprocess", "merge", "export", "prune", "quantize", "mmlu", "validate",
    "checkpoint_util", "offline_feature", "benchmark",
  ]

  static func trainsNothing(_ program: String) -> Bool { !program.hasPrefix("pretrain") && uses.contains { program.contains($0) } }

  /// Whether Megatron-LM's options are all that it takes; other programs may add their own.
  static func hasNoOptionsOfItsOwn(_ program: String) -> Bool {
    ["pretrain_gpt.py", "pretrain_bert.py", "pretrain_t5.py", "pretrain_mamba.py", "pretrain_hybrid.py"].contains(program)
  }

  /// What a program trains that its options do not build here; nil where they may.
  static func model(_ program: String) -> String? {
    let models = [
      ("pretrain_bert", "BERT"), ("pretrain_ict", "a retriever"), ("pretrain_t5", "T5"), ("pretrain_vision", "a vision model"),
      ("pretrain_retro", "a retrieval transformer"), ("pretrain_vlm", "a vision-language model"),
      ("pretrain_mimo", "a model of several modalities"),
    ]
    return models.first { program.hasPrefix($0.0) }?.1
  }
}
