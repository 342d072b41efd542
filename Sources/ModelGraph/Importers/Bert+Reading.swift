// SPDX-License-Identifier: GPL-3.0-or-later

extension BertConfiguration {
  /// Reads a `config.json` whose `model_type` is `bert`.
  ///
  /// - Throws: as `HuggingFace.graph` documents.
  package init(reading file: inout ConfigurationReader) throws {
    enum Class { case base, maskedLanguageModel, sequenceClassification }
    let kind = try file.head(
      [
        ("BertModel", Class.base), ("BertForMaskedLM", .maskedLanguageModel), ("BertForSequenceClassification", .sequenceClassification),
      ], default: .base)
    switch kind {
    case .base: head = .none
    case .maskedLanguageModel: head = .maskedLanguageModel
    case .sequenceClassification: head = .sequenceClassification(labels: try file.classes())
    }
    vocabulary = try file.extent("vocab_size", default: vocabulary)
    positions = try file.extent("max_position_embeddings", default: positions)
    tokenTypes = try file.extent("type_vocab_size", default: tokenTypes)
    hidden = try file.extent("hidden_size", default: hidden)
    layers = try file.extent("num_hidden_layers", default: layers, atMost: ConfigurationReader.mostLayers)
    heads = try file.extent("num_attention_heads", default: heads)
    ffn = try file.extent("intermediate_size", default: ffn)
    activation = try file.activation("hidden_act", default: activation)
    hiddenDropout = try file.probability("hidden_dropout_prob", default: hiddenDropout)
    let stated = file.optional("classifier_dropout") != nil
    classifierDropout = stated ? try file.probability("classifier_dropout", default: hiddenDropout) : hiddenDropout
    epsilon = try file.positive("layer_norm_eps", default: epsilon)
    tiesEmbeddings = try file.bool("tie_word_embeddings", default: tiesEmbeddings)
    _ = try file.headSize(hidden: hidden, hiddenKey: "hidden_size", heads: heads, headsKey: "num_attention_heads")

    attentionDropout = try file.probability("attention_probs_dropout_prob", default: attentionDropout)
    try file.require("position_embedding_type", "absolute")
    try file.require("is_decoder", false)
    name = try file.name(default: "bert")
    workload = try file.workload(maximumSequence: positions)
    try file.finish(harmless: Self.harmlessKeys)
  }

  /// Of the first BERT checkpoints: pooler settings that the library does not read.
  private static let harmlessKeys = [
    "directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
  ]
}
