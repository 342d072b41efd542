// SPDX-License-Identifier: GPL-3.0-or-later

extension OPTConfiguration {
  /// Reads a `config.json` whose `model_type` is `opt`.
  ///
  /// - Throws: as `HuggingFace.graph` documents.
  package init(reading file: inout ConfigurationReader) throws {
    head = try file.head([("OPTForCausalLM", .languageModel), ("OPTModel", .none)], default: .languageModel)
    vocabulary = try file.extent("vocab_size", default: vocabulary)
    positions = try file.extent("max_position_embeddings", default: positions, atMost: ConfigurationReader.largestExtent - 2)
    hidden = try file.extent("hidden_size", default: hidden)
    layers = try file.extent("num_hidden_layers", default: layers, atMost: ConfigurationReader.mostLayers)
    heads = try file.extent("num_attention_heads", default: heads)
    ffn = try file.extent("ffn_dim", default: ffn)
    activation = try file.activation("activation_function", default: activation)
    dropout = try file.probability("dropout", default: dropout)
    hasBias = try file.bool("enable_bias", default: hasBias)
    normsFirst = try file.bool("do_layer_norm_before", default: normsFirst)
    hasFinalNorm = try !file.bool("_remove_final_layer_norm", default: false)
    tiesEmbeddings = try file.bool("tie_word_embeddings", default: tiesEmbeddings)
    _ = try file.headSize(hidden: hidden, hiddenKey: "hidden_size", heads: heads, headsKey: "num_attention_heads")

    // Embeddings of another width would need projections to and from the hidden size.
    try file.require("word_embed_proj_dim", .int(hidden))
    try file.require("layer_norm_elementwise_affine", true)
    // Layers that are left out at random in training.
    let layerDrop = try file.probability("layerdrop", default: 0)
    if layerDrop != 0 { throw file.unsupported("layerdrop", found: "\(layerDrop)", supported: "0") }
    attentionDropout = try file.probability("attention_dropout", default: attentionDropout)
    // The library does not read it.
    _ = try file.probability("activation_dropout", default: 0)
    name = try file.name(default: "opt")
    workload = try file.workload(maximumSequence: positions)
    // Of initial weights.
    try file.finish(harmless: ["init_std"])
  }
}
