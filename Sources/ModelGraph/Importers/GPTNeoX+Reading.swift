// SPDX-License-Identifier: GPL-3.0-or-later

extension GPTNeoXConfiguration {
  /// Reads a `config.json` whose `model_type` is `gpt_neox`.
  ///
  /// - Throws: as `HuggingFace.graph` documents.
  package init(reading file: inout ConfigurationReader) throws {
    head = try file.head([("GPTNeoXForCausalLM", .languageModel), ("GPTNeoXModel", .none)], default: .languageModel)
    vocabulary = try file.extent("vocab_size", default: vocabulary)
    maximumPositions = try file.extent("max_position_embeddings", default: maximumPositions)
    hidden = try file.extent("hidden_size", default: hidden)
    layers = try file.extent("num_hidden_layers", default: layers, atMost: ConfigurationReader.mostLayers)
    heads = try file.extent("num_attention_heads", default: heads)
    ffn = try file.extent("intermediate_size", default: ffn)
    activation = try file.activation("hidden_act", default: activation)
    hiddenDropout = try file.probability("hidden_dropout", default: hiddenDropout)
    epsilon = try file.positive("layer_norm_eps", default: epsilon)
    attentionBias = try file.bool("attention_bias", default: attentionBias)
    hasParallelResidual = try file.bool("use_parallel_residual", default: hasParallelResidual)
    tiesEmbeddings = try file.bool("tie_word_embeddings", default: tiesEmbeddings)
    let headSize = try file.headSize(hidden: hidden, hiddenKey: "hidden_size", heads: heads, headsKey: "num_attention_heads")
    var keys = RotaryParameters.Keys(base: "rotary_emb_base", fraction: "rotary_pct", defaultFraction: 0.25)
    keys.allowsPart = true
    rotary = try RotaryParameters(reading: &file, headSize: headSize, keys: keys)

    attentionDropout = try file.probability("attention_dropout", default: attentionDropout)
    try file.require("is_decoder", false)
    name = try file.name(default: "gpt_neox")
    workload = try file.workload(maximumSequence: maximumPositions)
    try file.finish(harmless: Self.harmlessKeys)
  }

  private static let harmlessKeys = [
    // Of token classifiers.
    "classifier_dropout",
    // Of the first checkpoints; the library does not read them.
    "attention_probs_dropout_prob", "hidden_dropout_prob",
  ]
}
