// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension LlamaConfiguration {
  /// Reads a `config.json` whose `model_type` is the family's name.
  ///
  /// - Throws: as `HuggingFace.graph` documents.
  package init(reading file: inout ConfigurationReader, family: Family) throws {
    setDefaults(of: family)
    head = try file.head(
      [(family.className + "ForCausalLM", .languageModel), (family.className + "Model", .none)], default: .languageModel)
    vocabulary = try file.extent("vocab_size", default: vocabulary)
    maximumPositions = try file.extent("max_position_embeddings", default: maximumPositions)
    hidden = try file.extent("hidden_size", default: hidden)
    layers = try file.extent("num_hidden_layers", default: layers, atMost: ConfigurationReader.mostLayers)
    ffn = try file.extent("intermediate_size", default: ffn)
    try readActivation(&file, family)
    epsilon = try file.positive("rms_norm_eps", default: epsilon)
    tiesEmbeddings = try file.bool("tie_word_embeddings", default: tiesEmbeddings)
    attentionDropout = try file.probability("attention_dropout", default: attentionDropout)
    try readHeads(&file, family)
    try readBiases(&file, family)
    try readSlidingWindow(&file, family)
    try readDropout(&file, family)
    var rotaryKeys = RotaryParameters.Keys()
    rotaryKeys.allowsPart = family == .phi3
    if family == .mixtral { rotaryKeys.defaultBase = 1e6 }
    rotary = try RotaryParameters(reading: &file, headSize: headSize, keys: rotaryKeys)
    if family == .mixtral { experts = try .mixtral(&file, ffn: ffn) } else { experts = try experts.map { try .qwen(&file, defaults: $0) } }

    name = try file.name(default: family.rawValue)
    workload = try file.workload(maximumSequence: maximumPositions)
    // `pretraining_tp` sums a product in parts, `max_window_layers` counts layers of a window that is not in use, and the original positions
    // serve a scaling of the rotary embedding that is refused.
    try file.finish(harmless: ["pretraining_tp", "max_window_layers"] + (family == .phi3 ? ["original_max_position_embeddings"] : []))
  }

  /// Gemma's checkpoints all compute the tanh approximation, whatever of the two keys and names they call it by.
  private mutating func readActivation(_ file: inout ConfigurationReader, _ family: Family) throws {
    guard family == .gemma else {
      activation = try file.activation("hidden_act", default: activation)
      return
    }
    let names = ["gelu_pytorch_tanh", "gelu"]
    for (key, supported) in [("hidden_act", names), ("hidden_activation", Array(names.prefix(1)))] {
      guard let node = file.optional(key) else { continue }
      let found = try node.string()
      if !supported.contains(found) { throw file.unsupported(node, supported: supported.map { "\"\($0)\"" }.joined(separator: ", ")) }
    }
  }

  private mutating func readDropout(_ file: inout ConfigurationReader, _ family: Family) throws {
    guard family == .phi3 else { return }
    residualDropout = try file.probability("resid_pdrop", default: 0)
    // The library reads it and does not use it.
    _ = try file.probability("embd_pdrop", default: 0)
  }

  private mutating func readHeads(_ file: inout ConfigurationReader, _ family: Family) throws {
    heads = try file.extent("num_attention_heads", default: heads)
    // Null means as many as query heads, in every family; not all take an absent key for null.
    let isStated = file.contains("num_key_value_heads")
    keyValueHeads = try file.optionalExtent("num_key_value_heads") ?? (isStated ? heads : family.keyValueHeads ?? heads)
    if heads % keyValueHeads != 0 {
      throw file.invalid("num_key_value_heads", found: "\(keyValueHeads)", expected: "a divisor of num_attention_heads, \(heads)")
    }
    if let absent = family.headSize {
      headSize = try file.extent("head_dim", default: absent)
    } else {
      headSize =
        try file.optionalExtent("head_dim")
        ?? file.headSize(hidden: hidden, hiddenKey: "hidden_size", heads: heads, headsKey: "num_attention_heads")
    }
    if headSize % 2 != 0 { throw file.invalid("head_dim", found: "\(headSize)", expected: "an even number: rotary positions pair its features") }
    if heads * headSize > ConfigurationReader.largestExtent {
      throw file.invalid("head_dim", found: "\(headSize)", expected: "at most \(ConfigurationReader.largestExtent / heads)")
    }
  }

  private mutating func readBiases(_ file: inout ConfigurationReader, _ family: Family) throws {
    switch family {
    case .llama:
      queryKeyValueBias = try file.bool("attention_bias", default: false)
      outputBias = queryKeyValueBias
      mlpBias = try file.bool("mlp_bias", default: false)
    case .qwen2MoE:
      queryKeyValueBias = try file.bool("qkv_bias", default: queryKeyValueBias)
      try file.require("mlp_bias", false)
    case .mistral, .mixtral:
      try file.require("attention_bias", false)
      try file.require("mlp_bias", false)
    case .qwen2:
      try file.require("attention_bias", true)
      try file.require("mlp_bias", false)
    case .qwen3, .gemma, .qwen3MoE:
      queryKeyValueBias = try file.bool("attention_bias", default: false)
      outputBias = queryKeyValueBias
    case .phi3: try file.require("attention_bias", false)
    }
  }

  /// Attention here sees all positions before: a model with a window has as many positions as no sequence feels it with.
  private mutating func readSlidingWindow(_ file: inout ConfigurationReader, _ family: Family) throws {
    switch family {
    case .llama:
      if let node = file.optional("sliding_window") { throw file.unsupported(node, supported: "null") }
    case .mistral, .phi3, .mixtral:
      // Mistral alone has a window where the file says nothing.
      let stated = try file.optionalExtent("sliding_window")
      let window = family != .mistral || file.contains("sliding_window") ? stated : 4096
      maximumPositions = min(maximumPositions, window ?? maximumPositions)
    case .gemma: try file.require("use_bidirectional_attention", false)
    case .qwen2, .qwen3, .qwen2MoE, .qwen3MoE:
      try file.require("use_sliding_window", false)
      if family == .qwen2 { try file.require("use_mrope", false) }
      _ = try file.optionalExtent("sliding_window")
    }
    for layer in try file.optional("layer_types")?.elements() ?? [] where layer.value != "full_attention" {
      throw file.unsupported(layer, supported: "\"full_attention\"")
    }
  }
}
