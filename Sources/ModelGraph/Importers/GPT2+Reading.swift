// SPDX-License-Identifier: GPL-3.0-or-later

extension GPT2Configuration {
  /// Reads a `config.json` whose `model_type` is `gpt2`.
  ///
  /// - Throws: as `HuggingFace.graph` documents.
  package init(reading file: inout ConfigurationReader) throws {
    head = try file.head([("GPT2LMHeadModel", .languageModel), ("GPT2Model", .none)], default: .languageModel)
    vocabulary = try file.extent("vocab_size", default: vocabulary)
    positions = try file.extent("n_positions", default: positions)
    hidden = try file.extent("n_embd", default: hidden)
    layers = try file.extent("n_layer", default: layers, atMost: ConfigurationReader.mostLayers)
    heads = try file.extent("n_head", default: heads)
    ffn = try file.optionalExtent("n_inner") ?? 4 * hidden
    activation = try file.activation("activation_function", default: activation)
    residualDropout = try file.probability("resid_pdrop", default: residualDropout)
    embeddingDropout = try file.probability("embd_pdrop", default: embeddingDropout)
    epsilon = try file.positive("layer_norm_epsilon", default: epsilon)
    tiesEmbeddings = try file.bool("tie_word_embeddings", default: tiesEmbeddings)
    _ = try file.headSize(hidden: hidden, hiddenKey: "n_embd", heads: heads, headsKey: "n_head")

    attentionDropout = try file.probability("attn_pdrop", default: attentionDropout)
    try file.require("scale_attn_weights", true)
    try file.require("scale_attn_by_inverse_layer_idx", false)
    name = try file.name(default: "gpt2")
    workload = try file.workload(maximumSequence: positions)
    try file.finish(harmless: Self.harmlessKeys)
  }

  private static let harmlessKeys = [
    // The context length under its first name; the library reads `n_positions`.
    "n_ctx",
    // Only the precision of the scores, which are computed in fp32 here.
    "reorder_and_upcast_attn",
    // The head of GPT2DoubleHeadsModel, which is not implemented.
    "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
  ]
}
