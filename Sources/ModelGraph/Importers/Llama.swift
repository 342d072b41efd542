// SPDX-License-Identifier: GPL-3.0-or-later

/// The dimensions of a model of the Llama family: Llama (Touvron et al. 2023; Grattafiori et al. 2024), Mistral and Qwen2, which differ in
/// their defaults and in which projections have biases, and Mixtral and Qwen2-MoE, whose MLPs are mixtures of experts.
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
    builder.end(exits: [tokens.result])

    let entry = builder.begin(segment: "block", repeats: layers, path: prefix + "layers.{i}", carry: axes.carry)
    let attended = attention(prefix + "layers.{i}", entry, axes, &builder)
    builder.end(exits: [feedForward(prefix + "layers.{i}", attended, &builder)])

    let last = builder.begin(segment: "head", path: "head", carry: axes.carry)
    let normed = builder.rmsNorm(prefix + "norm", last, epsilon: epsilon)
    builder.decoderHead(head, normed, from: axes.hidden, to: axes.vocabulary, tied: tiesEmbeddings ? tokens.table : nil)
    builder.end()
    return try builder.finish()
  }

  private struct Axes {
    let batch, sequence, vocabulary, hidden: AxisID
    let attention: AttentionAxes

    init(_ model: LlamaConfiguration, _ builder: inout GraphBuilder) {
      batch = builder.axis("batch", model.workload.batch ?? 1, .batch)
      sequence = builder.axis("seq", model.workload.sequence ?? model.maximumPositions, .sequence)
      vocabulary = builder.axis("vocab", model.vocabulary, .vocabulary)
      hidden = builder.axis("hidden", model.hidden, .feature)
      attention = AttentionAxes(heads: model.heads, keyValueHeads: model.keyValueHeads, headSize: model.headSize, in: &builder)
    }

    var carry: [AxisID] { [batch, sequence, hidden] }
  }

  private func attention(_ block: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let path = block + ".self_attn"
    let normed = builder.rmsNorm(block + ".input_layernorm", x, epsilon: epsilon)
    let query = builder.linear(path + ".q_proj", normed, from: [axes.hidden], to: axes.attention.query, bias: queryKeyValueBias)
    let key = builder.linear(path + ".k_proj", normed, from: [axes.hidden], to: axes.attention.keyValue, bias: queryKeyValueBias)
    let value = builder.linear(path + ".v_proj", normed, from: [axes.hidden], to: axes.attention.keyValue, bias: queryKeyValueBias)
    let rotatedQuery = builder.elementwise(.rotary(rotary), path + ".rotary_q", query)
    let rotatedKey = builder.elementwise(.rotary(rotary), path + ".rotary_k", key)
    let core = builder.apply(
      .attention(causal: true), path + ".core", [rotatedQuery, rotatedKey, value], to: [axes.batch, axes.sequence] + axes.attention.query)
    let projected = builder.linear(path + ".o_proj", core, from: axes.attention.query, to: [axes.hidden], bias: outputBias)
    return builder.add(path + ".residual", x, projected)
  }

  private func feedForward(_ block: String, _ x: TensorID, _ builder: inout GraphBuilder) -> TensorID {
    let normed = builder.rmsNorm(block + ".post_attention_layernorm", x, epsilon: epsilon)
    if let experts {
      let path = block + "." + experts.module
      return builder.add(path + ".residual", x, experts.apply(path, normed, activation: activation, &builder))
    }
    let path = block + ".mlp"
    let width = builder.axis("ffn", ffn, .feature)
    return builder.add(path + ".residual", x, builder.gatedMLP(path, normed, width: width, activation: activation, bias: mlpBias))
  }
}
