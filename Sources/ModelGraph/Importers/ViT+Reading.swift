// SPDX-License-Identifier: GPL-3.0-or-later

extension ViTConfiguration {
  /// Reads a `config.json` whose `model_type` is `vit`.
  ///
  /// - Throws: as `HuggingFace.graph` documents.
  package init(reading file: inout ConfigurationReader) throws {
    imageSize = try file.extent("image_size", default: imageSize, atMost: 1 << 12)
    patchSize = try file.extent("patch_size", default: patchSize, atMost: imageSize)
    channels = try file.extent("num_channels", default: channels, atMost: 1 << 10)
    hidden = try file.extent("hidden_size", default: hidden)
    layers = try file.extent("num_hidden_layers", default: layers, atMost: ConfigurationReader.mostLayers)
    heads = try file.extent("num_attention_heads", default: heads)
    ffn = try file.extent("intermediate_size", default: ffn)
    activation = try file.activation("hidden_act", default: activation)
    queryKeyValueBias = try file.bool("qkv_bias", default: queryKeyValueBias)
    dropout = try file.probability("hidden_dropout_prob", default: dropout)
    epsilon = try file.positive("layer_norm_eps", default: epsilon)
    _ = try file.headSize(hidden: hidden, hiddenKey: "hidden_size", heads: heads, headsKey: "num_attention_heads")
    if imageSize % patchSize != 0 { throw file.invalid("patch_size", found: "\(patchSize)", expected: "a divisor of image_size, \(imageSize)") }

    attentionDropout = try file.probability("attention_probs_dropout_prob", default: attentionDropout)
    let poolerSize = try file.optionalExtent("pooler_output_size") ?? hidden
    let poolerActivation = try file.activation("pooler_act", default: .tanh)
    enum Class { case base, imageClassification }
    switch try file.head([("ViTForImageClassification", Class.imageClassification), ("ViTModel", .base)], default: .base) {
    case .base: head = .none(poolerSize: poolerSize, poolerActivation: poolerActivation)
    case .imageClassification: head = .imageClassification(labels: try file.classes())
    }
    name = try file.name(default: "vit")
    workload = try file.workload(maximumSequence: nil)
    // The stride of the decoder for masked image modelling, and a flag for untied weights of models with a vocabulary.
    try file.finish(harmless: ["encoder_stride", "tie_word_embeddings"])
  }
}
