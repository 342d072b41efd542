// SPDX-License-Identifier: GPL-3.0-or-later

/// The dimensions of an OPT model (Zhang et al. 2022), with Hugging Face's defaults (`OPTConfig`).
package struct OPTConfiguration: Hashable, Sendable {
  package var name = "opt"
  /// Of `OPTModel` or `OPTForCausalLM`.
  package var head = DecoderHead.languageModel
  package var workload = Workload()
  package var vocabulary = 50272
  package var positions = 2048
  package var hidden = 768
  package var layers = 12
  package var heads = 12
  package var ffn = 3072
  package var activation = ActivationFunction.relu
  package var dropout = 0.1
  package var attentionDropout = 0.0
  /// Biases of the products.
  package var hasBias = true
  /// Whether norms stand before attention and MLP, or after their residuals (the 350M model).
  package var normsFirst = true
  /// Whether a norm stands before the head, where norms stand first.
  package var hasFinalNorm = true
  /// Whether the language-model head is the embedding table.
  package var tiesEmbeddings = true

  /// `torch.nn.LayerNorm`'s, which the library leaves as it is.
  private static let epsilon = 1e-5
  /// The first rows of the table of positions, which no position reads.
  private static let positionOffset = 2

  package init() {}

  /// The model: learned positions, causal attention, and an MLP with ReLU.
  ///
  /// - Throws: `ModelError.inconsistent` where the dimensions do not fit together.
  package func graph() throws -> Graph {
    var builder = GraphBuilder(name: name)
    builder.workload = workload
    builder.maximumSequence = positions
    let axes = Axes(self, &builder)
    let prefix = head == .none ? "decoder" : "model.decoder"

    builder.begin(segment: "embedding")
    let ids = builder.input(.inputIDs, [axes.batch, axes.sequence])
    let tokens = builder.embedding(prefix + ".embed_tokens", ids: ids, rows: axes.vocabulary, features: axes.hidden)
    let path = prefix + ".embed_positions"
    let table = builder.parameter(path + ".weight", stored: [[axes.positions], [axes.hidden]])
    let position = builder.apply(.positionEmbedding(offset: Self.positionOffset), path, [table], to: [axes.sequence, axes.hidden])
    builder.end(exits: [builder.add(path + ".add", tokens.result, position)])

    let entry = builder.begin(segment: "block", repeats: layers, path: prefix + ".layers.{i}", carry: axes.carry)
    let attended = attention(prefix + ".layers.{i}", entry, axes, &builder)
    builder.end(exits: [mlp(prefix + ".layers.{i}", attended, axes, &builder)])

    let last = builder.begin(segment: "head", path: "head", carry: axes.carry)
    let normed =
      normsFirst && hasFinalNorm
      ? builder.layerNorm(prefix + ".final_layer_norm", last, epsilon: Self.epsilon) : builder.elementwise(.pass, prefix + ".last", last)
    builder.decoderHead(head, normed, from: axes.hidden, to: axes.vocabulary, tied: tiesEmbeddings ? tokens.table : nil)
    builder.end()
    return try builder.finish()
  }

  private struct Axes {
    let batch, sequence, vocabulary, positions, hidden, ffn: AxisID
    let attention: AttentionAxes

    init(_ model: OPTConfiguration, _ builder: inout GraphBuilder) {
      batch = builder.axis("batch", model.workload.batch ?? 1, .batch)
      sequence = builder.axis("seq", model.workload.sequence ?? model.positions, .sequence)
      vocabulary = builder.axis("vocab", model.vocabulary, .vocabulary)
      positions = builder.axis("positions", model.positions + OPTConfiguration.positionOffset, .whole)
      hidden = builder.axis("hidden", model.hidden, .feature)
      attention = AttentionAxes(heads: model.heads, hidden: model.hidden, in: &builder)
      ffn = builder.axis("ffn", model.ffn, .feature)
    }

    var carry: [AxisID] { [batch, sequence, hidden] }
  }

  private func attention(_ block: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let (path, norm) = (block + ".self_attn", block + ".self_attn_layer_norm")
    let normed = normsFirst ? builder.layerNorm(norm, x, epsilon: Self.epsilon) : x
    let query = builder.linear(path + ".q_proj", normed, from: [axes.hidden], to: axes.attention.query, bias: hasBias)
    let key = builder.linear(path + ".k_proj", normed, from: [axes.hidden], to: axes.attention.keyValue, bias: hasBias)
    let value = builder.linear(path + ".v_proj", normed, from: [axes.hidden], to: axes.attention.keyValue, bias: hasBias)
    let core = builder.apply(
      .attention(causal: true, dropout: attentionDropout), path + ".core", [query, key, value],
      to: [axes.batch, axes.sequence] + axes.attention.query)
    let projected = builder.linear(path + ".out_proj", core, from: axes.attention.query, to: [axes.hidden], bias: hasBias)
    let sum = builder.add(path + ".residual", x, builder.dropout(path + ".dropout", projected, probability: dropout))
    return normsFirst ? sum : builder.layerNorm(norm, sum, epsilon: Self.epsilon)
  }

  private func mlp(_ block: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let norm = block + ".final_layer_norm"
    let normed = normsFirst ? builder.layerNorm(norm, x, epsilon: Self.epsilon) : x
    let up = builder.linear(block + ".fc1", normed, from: [axes.hidden], to: [axes.ffn], bias: hasBias)
    let act = builder.elementwise(.activation(activation), block + ".act", up)
    let down = builder.linear(block + ".fc2", act, from: [axes.ffn], to: [axes.hidden], bias: hasBias)
    let sum = builder.add(block + ".residual", x, builder.dropout(block + ".dropout", down, probability: dropout))
    return normsFirst ? sum : builder.layerNorm(norm, sum, epsilon: Self.epsilon)
  }
}
