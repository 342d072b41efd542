// SPDX-License-Identifier: GPL-3.0-or-later

extension LlamaConfiguration {
  /// The model types that share this architecture.
  package enum Family: String, Sendable {
    case llama, mistral, qwen2, qwen3, gemma, phi3, mixtral
    case qwen2MoE = "qwen2_moe"
    case qwen3MoE = "qwen3_moe"

    /// What the library's class names begin with.
    var className: String {
      switch self {
      case .llama: "Llama"
      case .mistral: "Mistral"
      case .qwen2: "Qwen2"
      case .qwen3: "Qwen3"
      case .gemma: "Gemma"
      case .phi3: "Phi3"
      case .mixtral: "Mixtral"
      case .qwen2MoE: "Qwen2Moe"
      case .qwen3MoE: "Qwen3Moe"
      }
    }

    /// The key-value heads of a file that does not state them, where they are not as many as query heads.
    var keyValueHeads: Int? {
      switch self {
      case .llama, .phi3: nil
      case .mistral, .mixtral: 8
      case .qwen2, .qwen3: 32
      case .gemma, .qwen2MoE: 16
      case .qwen3MoE: 4
      }
    }

    /// The features of a head where neither the file states them nor the heads share the hidden dimension.
    var headSize: Int? {
      switch self {
      case .llama, .mistral, .qwen2, .phi3, .mixtral, .qwen2MoE, .qwen3MoE: nil
      case .qwen3: 128
      case .gemma: 256
      }
    }
  }

  /// The library's defaults, and what every model of a family has.
  mutating func setDefaults(of family: Family) {
    switch family {
    case .llama: break
    case .mistral: (ffn, maximumPositions) = (14336, 4096 * 32)
    case .qwen2:
      (vocabulary, ffn, maximumPositions) = (151936, 22016, 32768)
      queryKeyValueBias = true
    case .qwen3:
      (vocabulary, ffn, maximumPositions) = (151936, 22016, 32768)
      normalisesQueriesAndKeys = true
    case .gemma:
      (vocabulary, hidden, ffn, layers, heads, maximumPositions) = (256000, 3072, 24576, 28, 16, 8192)
      (activation, tiesEmbeddings, normAddsOne, scalesEmbeddings) = (.geluTanh, true, true, true)
    case .phi3:
      (vocabulary, hidden, ffn, maximumPositions, epsilon) = (32064, 3072, 8192, 4096, 1e-5)
      fusesProjections = true
    case .mixtral: (ffn, maximumPositions, epsilon) = (14336, 4096 * 32, 1e-5)
    case .qwen2MoE:
      (vocabulary, hidden, ffn, layers, heads, maximumPositions) = (151936, 2048, 5632, 24, 16, 32768)
      queryKeyValueBias = true
      experts = ExpertLayer(naming: .qwen, count: 60, perToken: 4, ffn: 1408, renormalises: false, sharedFFN: 5632)
    case .qwen3MoE:
      (vocabulary, hidden, ffn, layers, maximumPositions) = (151936, 2048, 6144, 24, 32768)
      normalisesQueriesAndKeys = true
      experts = ExpertLayer(naming: .qwen, count: 128, perToken: 8, ffn: 768, renormalises: false)
    }
  }
}
