// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension CLIPConfiguration {
  /// Reads a `config.json` whose `model_type` is `clip`.
  ///
  /// - Throws: as `HuggingFace.graph` documents.
  package init(reading file: inout ConfigurationReader) throws {
    _ = try file.head([("CLIPModel", ())], default: ())
    projection = try file.extent("projection_dim", default: projection)
    if let text = try Self.part("text", "clip_text_model", &file) { try readText(text) }
    if let vision = try Self.part("vision", "clip_vision_model", &file) { try readVision(vision) }
    name = try file.name(default: "clip")
    workload = try file.workload(maximumSequence: positions)
    // Of initial weights.
    try file.finish(harmless: ["logit_scale_init_value"])
  }

  /// The configuration of one tower. The library lets `…_config_dict`, which old files have beside `…_config`, win as a whole.
  private static func part(_ name: String, _ modelType: String, _ file: inout ConfigurationReader) throws -> Node? {
    let (old, new) = (file.optional("\(name)_config_dict"), file.optional("\(name)_config"))
    guard let node = old ?? new else { return nil }
    if let type = try node.object().nodeIfPresent("model_type"), try type.string() != modelType {
      throw file.unsupported(type, supported: "\"\(modelType)\"")
    }
    return node
  }

  private mutating func readText(_ node: Node) throws {
    var file = try ConfigurationReader(node)
    vocabulary = try file.extent("vocab_size", default: vocabulary)
    positions = try file.extent("max_position_embeddings", default: positions)
    let end = try file.optional("eos_token_id")?.int(.within(0, ConfigurationReader.largestExtent)) ?? 49407
    // The library takes this value for a mistake of its first files.
    endToken = end == 2 ? nil : end
    try text.read(&file)
    try file.finish(harmless: Self.harmlessKeys)
  }

  private mutating func readVision(_ node: Node) throws {
    var file = try ConfigurationReader(node)
    imageSize = try file.extent("image_size", default: imageSize, atMost: 1 << 12)
    patchSize = try file.extent("patch_size", default: patchSize, atMost: imageSize)
    channels = try file.extent("num_channels", default: channels, atMost: 1 << 10)
    if imageSize % patchSize != 0 { throw file.invalid("patch_size", found: "\(patchSize)", expected: "a divisor of image_size, \(imageSize)") }
    try vision.read(&file)
    try file.finish(harmless: Self.harmlessKeys)
  }

  /// The projection's size is the whole model's; `dropout` is not read by the library.
  private static let harmlessKeys = ["projection_dim", "dropout"]
}

extension CLIPConfiguration.Tower {
  fileprivate mutating func read(_ file: inout ConfigurationReader) throws {
    hidden = try file.extent("hidden_size", default: hidden)
    layers = try file.extent("num_hidden_layers", default: layers, atMost: ConfigurationReader.mostLayers)
    heads = try file.extent("num_attention_heads", default: heads)
    ffn = try file.extent("intermediate_size", default: ffn)
    activation = try file.activation("hidden_act", default: activation)
    epsilon = try file.positive("layer_norm_eps", default: epsilon)
    _ = try file.headSize(hidden: hidden, hiddenKey: "hidden_size", heads: heads, headsKey: "num_attention_heads")
    attentionDropout = try file.probability("attention_dropout", default: attentionDropout)
  }
}
