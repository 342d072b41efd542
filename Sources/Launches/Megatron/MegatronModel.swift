// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// The architecture that Megatron-LM's options describe (defaults: megatron/training/arguments.py, megatron/core/transformer/transformer_config.py).
struct MegatronModel: Hashable {
  enum Activation: Hashable {
    case gelu, squaredRelu, swiglu
  }

  struct Experts: Hashable {
    var count: Int
    var perToken: Int
    var ffn: Int
    /// Whether that is a width of their own, beside the MLP's: layers are then named as Qwen's are, else as Mixtral's.
    var hasOwnWidth = false
    /// The MLP that every token visits besides, with a gate.
    var sharedFFN: Int?
  }

  var layers: Int
  var hidden: Int
  var ffn: Int
  var heads: Int
  var keyValueHeads: Int
  var headSize: Int
  var positions: Int
  var vocabulary: Int
  var activation = Activation.gelu
  /// RMS norm, or layer norm.
  var isRMS = false
  var epsilon = 1e-5
  /// Rotary positions, or learned ones.
  var isRotary = false
  var rotaryBase = 10000
  var rotaryShare = 1.0
  /// How much longer Llama 3's scaling makes sequences; nil: none.
  var rotaryScaling: Double?
  var tiesEmbeddings = true
  var hasBias = true
  var hasQueryKeyValueBias = true
  var normalisesQueriesAndKeys = false
  var attentionDropout = 0.1
  var hiddenDropout = 0.1
  var experts: Experts?

  init(layers: Int, hidden: Int, heads: Int, positions: Int, vocabulary: Int) {
    (self.layers, self.hidden, self.heads, self.positions, self.vocabulary) = (layers, hidden, heads, positions, vocabulary)
    (keyValueHeads, headSize, ffn) = (heads, hidden / max(1, heads), 4 * hidden)
  }

  /// Why no importer builds a model.
  struct Unknown: Error, Hashable {
    let reason: String
  }

  /// - Throws: `Unknown`; `ModelError` where the dimensions do not fit together.
  func graph(name: String = "megatron-lm", workload: Workload = Workload()) throws -> Graph {
    if isRMS, isRotary, activation == .swiglu { return try llama(name, workload) }
    let features = "\(isRMS ? "RMS norms" : "layer norms"), \(isRotary ? "rotary" : "learned") positions and \(activationInWords)"
    if isRMS || activation == .swiglu || experts != nil {
      throw Unknown(reason: "no importer builds a model with \(features)\(experts == nil ? "" : " and experts"); name one with --model")
    }
    if keyValueHeads != heads { throw Unknown(reason: "no importer builds grouped queries with \(features); name a model with --model") }
    if !hasBias { throw Unknown(reason: "no importer builds layers without biases with \(features); name a model with --model") }
    if normalisesQueriesAndKeys { throw Unknown(reason: "no importer builds norms of queries and keys with \(features); name a model with --model") }
    if headSize * heads != hidden {
      throw Unknown(reason: "no importer builds heads of \(headSize) features, which are not --hidden-size together; name a model with --model")
    }
    return isRotary ? try neoX(name, workload) : try gpt(name, workload)
  }

  private var activationInWords: String {
    switch activation {
    case .gelu: "GELU"
    case .squaredRelu: "squared ReLU"
    case .swiglu: "SwiGLU"
    }
  }

  /// The usual GELU is fused with the bias, as its tanh approximation.
  private var function: ActivationFunction { activation == .squaredRelu ? .squaredRelu : .geluTanh }

  private func gpt(_ name: String, _ workload: Workload) throws -> Graph {
    var model = GPT2Configuration()
    (model.name, model.workload, model.vocabulary, model.positions) = (name, workload, vocabulary, positions)
    (model.hidden, model.layers, model.heads, model.ffn, model.activation) = (hidden, layers, heads, ffn, function)
    (model.residualDropout, model.embeddingDropout, model.attentionDropout) = (hiddenDropout, hiddenDropout, attentionDropout)
    (model.epsilon, model.tiesEmbeddings) = (epsilon, tiesEmbeddings)
    return try model.graph()
  }

  private func neoX(_ name: String, _ workload: Workload) throws -> Graph {
    var model = GPTNeoXConfiguration()
    (model.name, model.workload, model.vocabulary, model.maximumPositions) = (name, workload, vocabulary, positions)
    (model.hidden, model.layers, model.heads, model.ffn, model.activation) = (hidden, layers, heads, ffn, function)
    (model.hiddenDropout, model.attentionDropout, model.epsilon) = (hiddenDropout, attentionDropout, epsilon)
    (model.hasParallelResidual, model.attentionBias, model.tiesEmbeddings) = (false, true, tiesEmbeddings)
    model.rotary = try rotary
    return try model.graph()
  }

  private func llama(_ name: String, _ workload: Workload) throws -> Graph {
    var model = LlamaConfiguration()
    (model.name, model.workload, model.vocabulary, model.maximumPositions) = (name, workload, vocabulary, positions)
    (model.hidden, model.layers, model.heads, model.keyValueHeads, model.headSize) = (hidden, layers, heads, keyValueHeads, headSize)
    (model.ffn, model.epsilon, model.tiesEmbeddings) = (ffn, epsilon, tiesEmbeddings)
    (model.residualDropout, model.attentionDropout) = (hiddenDropout, attentionDropout)
    (model.queryKeyValueBias, model.outputBias, model.mlpBias) = (hasBias || hasQueryKeyValueBias, hasBias, hasBias)
    model.normalisesQueriesAndKeys = normalisesQueriesAndKeys
    model.rotary = try rotary
    if let experts {
      // Where nothing is shared they differ in nothing else.
      model.experts = ExpertLayer(
        naming: experts.hasOwnWidth || experts.sharedFFN != nil ? .qwen : .mixtral, count: experts.count, perToken: experts.perToken,
        ffn: experts.ffn, renormalises: true, sharedFFN: experts.sharedFFN)
    }
    return try model.graph()
  }

  private var rotary: RotaryParameters {
    get throws {
      let rotated = Int(Double(headSize) * min(1, rotaryShare))
      guard headSize % 2 == 0, rotated >= 2, rotated % 2 == 0 else {
        throw Unknown(reason: "rotary positions pair features, and \(rotated) of \(headSize) in a head cannot be paired")
      }
      var parameters = RotaryParameters(base: Double(rotaryBase), rotated: rotated == headSize ? nil : rotated)
      // The other figures are fixed (megatron/core/models/common/embeddings/rotary_pos_embedding.py).
      parameters.scaling = rotaryScaling.map { .init(factor: $0, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192) }
      return parameters
    }
  }
}
