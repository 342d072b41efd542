// SPDX-License-Identifier: GPL-3.0-or-later

/// The dimensions of a model of the Llama family: Llama (Touvron et al. 2023; Grattafiori et al. 2024), Mistral, Qwen2, Qwen3, Gemma and Phi-3,
/// which differ in their defaults and in the choices that the properties name, and Mixtral, Qwen2-MoE and Qwen3-MoE, whose MLPs are mixtures
/// of experts.
package struct LlamaConfiguration: Hashable, Sendable {
  package var name = "llama"
  /// Of `LlamaModel` or `LlamaForCausalLM`.
  package var head = DecoderHead.languageModel
  package var workload = Workload()
  package var vocabulary = 32000
  package var maximumPositions = 2048
  package var hidden = 4096
  package var layers = 32
  package var heads = 32
  package var keyValueHeads = 32
  package var headSize = 128
  package var ffn = 11008
  package var activation = ActivationFunction.silu
  package var epsilon = 1e-6
  package var rotary = RotaryParameters(base: 10000)
  /// Biases of q, k and v (Qwen2; Llama with `attention_bias`).
  package var queryKeyValueBias = false
  /// Bias of the attention's output projection (Llama with `attention_bias`).
  package var outputBias = false
  package var mlpBias = false
  /// The mixture of experts that every block has for an MLP; nil for a dense model.
  package var experts: ExpertLayer?
  /// Whether each query's and key's features are normalised, head by head, before they are rotated (Qwen3).
  package var normalisesQueriesAndKeys = false
  /// Whether norms scale by 1 + weight (Gemma).
  package var normAddsOne = false
  /// Whether embeddings are multiplied by √hidden (Gemma).
  package var scalesEmbeddings = false
  /// Whether a checkpoint stores queries, keys and values as one weight, and gate and up as another (Phi-3).
  package var fusesProjections = false
  package var residualDropout = 0.0
  package var attentionDropout = 0.0
  /// Whether the language-model head is the embedding table.
  package var tiesEmbeddings = false

  package init() {}

  /// The model: pre-norm blocks with RMS norm, rotary positions, grouped-query causal attention and a gated MLP.
  ///
  /// - Throws: `ModelError.inconsistent` where the dimensions do not fit together.
  package func graph() throws -> Graph {
    var builder = GraphBuilder(name: name)
    builder.workload = workload
    builder.maximumSequence = maximumPositions
    let axes = Axes(self, &builder)
    let prefix = head == .none ? "" : "model."

    builder.begin(segment: "embedding")
    let ids = builder.input(.inputIDs, [axes.batch, axes.sequence])
    let tokens = builder.embedding(prefix + "embed_tokens", ids: ids, rows: axes.vocabulary, features: axes.hidden)
    // The library rounds √hidden to the format of the weights, which is fp32 where this is run.
    let scale = OperatorKind.scale(factor: Double(hidden).squareRoot())
    builder.end(exits: [scalesEmbeddings ? builder.elementwise(scale, prefix + "embed_tokens.scale", tokens.result) : tokens.result])

    let entry = builder.begin(segment: "block", repeats: layers, path: prefix + "layers.{i}", carry: axes.carry)
    let attended = attention(prefix + "layers.{i}", entry, axes, &builder)
    builder.end(exits: [mlp(prefix + "layers.{i}", attended, axes, &builder)])

    let last = builder.begin(segment: "head", path: "head", carry: axes.carry)
    let normed = norm(prefix + "norm", last, &builder)
    builder.decoderHead(head, normed, from: axes.hidden, to: axes.vocabulary, tied: tiesEmbeddings ? tokens.table : nil)
    builder.end()
    return try builder.finish()
  }
}
