// SPDX-License-Identifier: GPL-3.0-or-later

/// The dimensions of a GPT-NeoX model (Black et al. 2022), with Hugging Face's defaults (`GPTNeoXConfig`).
package struct GPTNeoXConfiguration: Hashable, Sendable {
  package var name = "gpt_neox"
  /// Of `GPTNeoXModel` or `GPTNeoXForCausalLM`.
  package var head = DecoderHead.languageModel
  package var workload = Workload()
  package var vocabulary = 50432
  package var maximumPositions = 2048
  package var hidden = 6144
  package var layers = 44
  package var heads = 64
  package var ffn = 24576
  package var activation = ActivationFunction.gelu
  package var hiddenDropout = 0.0
  package var attentionDropout = 0.0
  package var epsilon = 1e-5
  package var rotary = RotaryParameters(base: 10000, rotated: 24)
  package var attentionBias = true
  /// Whether attention and MLP both read the block's input, and are added together (Wang & Komatsuzaki 2021), or one after the other.
  package var hasParallelResidual = true
  /// Whether the language-model head is the embedding table.
  package var tiesEmbeddings = false

  package init() {}

  /// The model: pre-norm blocks with layer norm, rotary positions of a part of each head, causal attention and an MLP.
  ///
  /// - Throws: `ModelError.inconsistent` where the dimensions do not fit together.
  package func graph() throws -> Graph {
    var builder = GraphBuilder(name: name)
    builder.workload = workload
    builder.maximumSequence = maximumPositions
    let axes = Axes(self, &builder)
    let prefix = head == .none ? "" : "gpt_neox."

    builder.begin(segment: "embedding")
    let ids = builder.input(.inputIDs, [axes.batch, axes.sequence])
    let tokens = builder.embedding(prefix + "embed_in", ids: ids, rows: axes.vocabulary, features: axes.hidden)
    builder.end(exits: [builder.dropout(prefix + "emb_dropout", tokens.result, probability: hiddenDropout)])

    let path = prefix + "layers.{i}"
    let entry = builder.begin(segment: "block", repeats: layers, path: path, carry: axes.carry)
    let attended = attention(path, entry, axes, &builder)
    let result: TensorID
    if hasParallelResidual {
      let both = builder.add(path + ".parallel", mlp(path, entry, axes, &builder), attended)
      result = builder.add(path + ".residual", both, entry)
    } else {
      let residual = builder.add(path + ".attention.residual", attended, entry)
      result = builder.add(path + ".mlp.residual", mlp(path, residual, axes, &builder), residual)
    }
    builder.end(exits: [result])

    let last = builder.begin(segment: "head", path: "head", carry: axes.carry)
    let normed = builder.layerNorm(prefix + "final_layer_norm", last, epsilon: epsilon)
    builder.decoderHead(
      head, normed, from: axes.hidden, to: axes.vocabulary, tied: tiesEmbeddings ? tokens.table : nil, path: "embed_out")
    builder.end()
    return try builder.finish()
  }

  private struct Axes {
    let batch, sequence, vocabulary, hidden, ffn: AxisID
    let attention: AttentionAxes

    init(_ model: GPTNeoXConfiguration, _ builder: inout GraphBuilder) {
      batch = builder.axis("batch", model.workload.batch ?? 1, .batch)
      sequence = builder.axis("seq", model.workload.sequence ?? model.maximumPositions, .sequence)
      vocabulary = builder.axis("vocab", model.vocabulary, .vocabulary)
      hidden = builder.axis("hidden", model.hidden, .feature)
      attention = AttentionAxes(heads: model.heads, hidden: model.hidden, in: &builder)
      ffn = builder.axis("ffn", model.ffn, .feature)
    }

    var carry: [AxisID] { [batch, sequence, hidden] }
  }

  private func attention(_ block: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let path = block + ".attention"
    let normed = builder.layerNorm(block + ".input_layernorm", x, epsilon: epsilon)
    // Rows of the stored weight: head by head, and in each its query, its key and its value.
    let fused = FusedLinear(path: path + ".query_key_value", rows: 3 * hidden, hasBias: attentionBias)
    let size = builder.extent(axes.attention.features)
    func part(_ name: String, _ index: Int, to output: [AxisID], _ strides: [Int]) -> TensorID {
      builder.linear(fused, name, normed, from: axes.hidden, to: output, first: index * size, strides: strides)
    }
    let query = part("q", 0, to: axes.attention.query, [3 * size, size, 1])
    let key = part("k", 1, to: axes.attention.keyValue, [3 * size, 1])
    let value = part("v", 2, to: axes.attention.keyValue, [3 * size, 1])
    let rotatedQuery = builder.elementwise(.rotary(rotary), path + ".rotary_q", query)
    let rotatedKey = builder.elementwise(.rotary(rotary), path + ".rotary_k", key)
    let core = builder.apply(
      .attention(causal: true, dropout: attentionDropout), path + ".core", [rotatedQuery, rotatedKey, value],
      to: [axes.batch, axes.sequence] + axes.attention.query)
    let projected = builder.linear(path + ".dense", core, from: axes.attention.query, to: [axes.hidden], bias: attentionBias)
    return builder.dropout(block + ".post_attention_dropout", projected, probability: hiddenDropout)
  }

  private func mlp(_ block: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let path = block + ".mlp"
    let normed = builder.layerNorm(block + ".post_attention_layernorm", x, epsilon: epsilon)
    let up = builder.linear(path + ".dense_h_to_4h", normed, from: [axes.hidden], to: [axes.ffn], bias: true)
    let act = builder.elementwise(.activation(activation), path + ".act", up)
    let down = builder.linear(path + ".dense_4h_to_h", act, from: [axes.ffn], to: [axes.hidden], bias: true)
    return builder.dropout(block + ".post_mlp_dropout", down, probability: hiddenDropout)
  }
}
