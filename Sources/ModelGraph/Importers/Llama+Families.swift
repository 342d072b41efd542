// SPDX-License-Identifier: GPL-3.0-or-later

extension LlamaConfiguration {
  /// The model types that share this architecture.
  package enum Family: String, Sendable {
    case llama, mistral, qwen2, qwen3, gemma, phi3

    /// What the library's class names begin with.
    var className: String {
      switch self {
      case .llama: "Llama"
      case .mistral: "Mistral"
      case .qwen2: "Qwen2"
      case .qwen3: "Qwen3"
      case .gemma: "Gemma"
      case .phi3: "Phi3"
      }
    }

    /// The key-value heads of a file that does not state them, where they are not as many as query heads.
    var keyValueHeads: Int? {
      switch self {
      case .llama, .phi3: nil
      case .mistral: 8
      case .qwen2, .qwen3: 32
      case .gemma: 16
      }
    }

    /// The features of a head where neither the file states them nor the heads share the hidden dimension.
    var headSize: Int? {
      switch self {
      case .llama, .mistral, .qwen2, .phi3: nil
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
    }
  }
}
