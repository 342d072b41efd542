// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

extension LlamaConfiguration {
  /// The model types that share this architecture.
  package enum Family: String, Sendable {
    case llama, mistral, qwen2, mixtral
    case qwen2MoE = "qwen2_moe"

    /// What the library's class names begin with.
    var className: String {
      switch self {
      case .llama: "Llama"
      case .mistral: "Mistral"
      case .qwen2: "Qwen2"
      case .mixtral: "Mixtral"
      case .qwen2MoE: "Qwen2Moe"
      }
    }
  }

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
    activation = try file.activation("hidden_act", default: activation)
    epsilon = try file.positive("rms_norm_eps", default: epsilon)
    tiesEmbeddings = try file.bool("tie_word_embeddings", default: tiesEmbeddings)
    _ = try file.probability("attention_dropout", default: 0)
    try readHeads(&file, family)
    try readBiases(&file, family)
    try readSlidingWindow(&file, family)
    rotary = try RotaryParameters(reading: &file, base: rotary.base)
    switch family {
    case .llama, .mistral, .qwen2: break
    case .mixtral: experts = try .mixtral(&file, ffn: ffn)
    case .qwen2MoE: experts = try experts.map { try .qwen(&file, defaults: $0) }
    }

    name = try file.name(default: family.rawValue)
    workload = try file.workload(maximumSequence: maximumPositions)
    // `pretraining_tp` sums a product in parts, `max_window_layers` counts layers of a window that is not in use.
    try file.finish(harmless: ["pretraining_tp", "max_window_layers"])
  }

  private mutating func setDefaults(of family: Family) {
    switch family {
    case .llama: break
    case .mistral: (ffn, maximumPositions) = (14336, 4096 * 32)
    case .qwen2:
      (vocabulary, ffn, maximumPositions) = (151936, 22016, 32768)
      queryKeyValueBias = true
    case .mixtral:
      (ffn, maximumPositions, epsilon) = (14336, 4096 * 32, 1e-5)
      rotary.base = 1e6
    case .qwen2MoE:
      (vocabulary, hidden, layers, heads, ffn, maximumPositions) = (151936, 2048, 24, 16, 5632, 32768)
      queryKeyValueBias = true
      experts = ExpertLayer(naming: .qwen, count: 60, perToken: 4, ffn: 1408, renormalises: false, sharedFFN: 5632)
    }
  }

  private mutating func readHeads(_ file: inout ConfigurationReader, _ family: Family) throws {
    heads = try file.extent("num_attention_heads", default: heads)
    // Null means as many as query heads, in every family; only Llama takes an absent key for null.
    let absent =
      switch family {
      case .llama: heads
      case .mistral, .mixtral: 8
      case .qwen2: 32
      case .qwen2MoE: 16
      }
    let isStated = file.contains("num_key_value_heads")
    keyValueHeads = try file.optionalExtent("num_key_value_heads") ?? (isStated ? heads : absent)
    if heads % keyValueHeads != 0 {
      throw file.invalid("num_key_value_heads", found: "\(keyValueHeads)", expected: "a divisor of num_attention_heads, \(heads)")
    }
    headSize =
      try file.optionalExtent("head_dim")
      ?? file.headSize(hidden: hidden, hiddenKey: "hidden_size", heads: heads, headsKey: "num_attention_heads")
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
    case .mistral, .mixtral:
      try file.require("attention_bias", false)
      try file.require("mlp_bias", false)
    case .qwen2MoE:
      queryKeyValueBias = try file.bool("qkv_bias", default: queryKeyValueBias)
      try file.require("mlp_bias", false)
    case .qwen2:
      try file.require("attention_bias", true)
      try file.require("mlp_bias", false)
    }
  }

  /// Refuses a window that some sequence of the model would feel: attention here sees all positions before.
  private func readSlidingWindow(_ file: inout ConfigurationReader, _ family: Family) throws {
    switch family {
    case .llama:
      if let node = file.optional("sliding_window") { throw file.unsupported(node, supported: "null") }
    case .mistral, .mixtral:
      // Mistral has a window where the file says nothing, Mixtral none.
      let absent = family == .mistral ? 4096 : nil
      let window = try file.contains("sliding_window") ? file.optionalExtent("sliding_window") : absent
      if let window, window < maximumPositions {
        throw file.unsupported(
          "sliding_window", found: "\(window)",
          supported: "null, or at least max_position_embeddings (\(maximumPositions)); sequences of up to \(window) positions are not affected, so "
            + "with them it is safe to set max_position_embeddings to \(window)")
      }
    case .qwen2, .qwen2MoE:
      try file.require("use_sliding_window", false)
      try file.require("use_mrope", false)
      _ = try file.optionalExtent("sliding_window")
    }
    for layer in try file.optional("layer_types")?.elements() ?? [] where layer.value != "full_attention" {
      throw file.unsupported(layer, supported: "\"full_attention\"")
    }
  }
}

extension RotaryParameters {
  /// Reads `rope_theta` and `rope_scaling`, or `rope_parameters`, which holds both in files of newer versions of the library.
  ///
  /// - Parameter fallback: the family's base, where the file states none.
  /// - Throws: `ModelError.unsupported` for a type of scaling that is not implemented; `DocumentError` where the two disagree.
  init(reading file: inout ConfigurationReader, base fallback: Double = 10000) throws {
    let stated = try file.optional("rope_theta")?.double(.positive)
    let old = try file.optional("rope_scaling").map { try Self.scaling($0, &file) }
    let new = try file.optional("rope_parameters").map { try Self.scaling($0, &file) }
    try file.require("partial_rotary_factor", 1)
    let base = stated ?? new?.base ?? old?.base ?? fallback
    for (key, found) in [("rope_parameters", new), ("rope_scaling", old)] {
      if let other = found?.base, other != base {
        throw file.invalid("\(key).rope_theta", found: "\(other)", expected: "\(base), the base that is stated beside it")
      }
    }
    if let old, let new, old.scaling != new.scaling {
      throw file.invalid(
        "rope_scaling", found: "a scaling that differs from rope_parameters", expected: "the same scaling, or only one of the two keys")
    }
    self.init(base: base, scaling: (new ?? old)?.scaling)
  }

  private static func scaling(_ node: Node, _ file: inout ConfigurationReader) throws -> (base: Double?, scaling: Llama3Scaling?) {
    let object = try node.object()
    let base = try object.doubleIfPresent("rope_theta", .positive)
    // The key was called `type` before transformers 4.43.
    let (newName, oldName) = (object.nodeIfPresent("rope_type"), object.nodeIfPresent("type"))
    let type = try (newName ?? oldName)?.string()
    if let factor = object.nodeIfPresent("partial_rotary_factor"), try factor.double() != 1 { throw file.unsupported(factor, supported: "1") }
    switch type {
    case nil, "default":
      // A factor has no effect on this type; without a type, what it should do is unclear, and it is refused as unknown.
      if type != nil { object.ignore("factor") }
      try object.finish()
      return (base, nil)
    case "llama3":
      let scaling = Llama3Scaling(
        factor: try object.double("factor", .positive), lowFrequencyFactor: try object.double("low_freq_factor", .positive),
        highFrequencyFactor: try object.double("high_freq_factor", .positive),
        originalMaxPositions: try object.int("original_max_position_embeddings", .within(1, ConfigurationReader.largestExtent)))
      if scaling.lowFrequencyFactor >= scaling.highFrequencyFactor {
        throw try object.node("high_freq_factor").invalid(expected: "more than low_freq_factor, \(scaling.lowFrequencyFactor)")
      }
      try object.finish()
      return (base, scaling)
    default:
      throw file.unsupported(newName ?? oldName ?? node, supported: "\"default\", \"llama3\", or no scaling")
    }
  }
}
