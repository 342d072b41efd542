// SPDX-License-Identifier: GPL-3.0-or-later

/// The dimensions of a GPT-2 model (Radford et al. 2019), with Hugging Face's defaults (`GPT2Config`).
package struct GPT2Configuration: Hashable, Sendable {
  package var name = "gpt2"
  /// Of `GPT2Model` or `GPT2LMHeadModel`.
  package var head = DecoderHead.languageModel
  package var workload = Workload()
  package var vocabulary = 50257
  package var positions = 1024
  package var hidden = 768
  package var layers = 12
  package var heads = 12
  /// Width of the MLP; `n_inner`, 4 · hidden where the file leaves it out.
  package var ffn = 3072
  package var activation = ActivationFunction.geluTanh
  package var residualDropout = 0.1
  package var embeddingDropout = 0.1
  package var attentionDropout = 0.1
  package var epsilon = 1e-5
  /// Whether the language-model head is the embedding table.
  package var tiesEmbeddings = true

  package init() {}

  /// The model: pre-norm blocks, learned positions, causal attention, biases everywhere but in the head.
  ///
  /// - Throws: `ModelError.inconsistent` where the dimensions do not fit together.
  package func graph() throws -> Graph {
    var builder = GraphBuilder(name: name)
    builder.workload = workload
    builder.maximumSequence = positions
    let axes = Axes(self, &builder)
    let prefix = head == .none ? "" : "transformer."

    builder.begin(segment: "embedding")
    let ids = builder.input(.inputIDs, [axes.batch, axes.sequence])
    let tokens = builder.embedding(prefix + "wte", ids: ids, rows: axes.vocabulary, features: axes.hidden)
    let table = builder.parameter(prefix + "wpe.weight", stored: [[axes.positions], [axes.hidden]])
    let position = builder.apply(.positionEmbedding(offset: 0), prefix + "wpe", [table], to: [axes.sequence, axes.hidden])
    let embedded = builder.add(prefix + "wpe.add", tokens.result, position)
    builder.end(exits: [builder.dropout(prefix + "drop", embedded, probability: embeddingDropout)])

    let entry = builder.begin(segment: "block", repeats: layers, path: prefix + "h.{i}", carry: axes.carry)
    builder.end(exits: [block(prefix + "h.{i}", entry, axes, &builder)])

    let last = builder.begin(segment: "head", path: "head", carry: axes.carry)
    let normed = builder.layerNorm(prefix + "ln_f", last, epsilon: epsilon)
    builder.decoderHead(head, normed, from: axes.hidden, to: axes.vocabulary, tied: tiesEmbeddings ? tokens.table : nil)
    builder.end()
    return try builder.finish()
  }

  private struct Axes {
    let batch, sequence, vocabulary, positions, hidden, ffn: AxisID
    let attention: AttentionAxes

    init(_ model: GPT2Configuration, _ builder: inout GraphBuilder) {
      batch = builder.axis("batch", model.workload.batch ?? 1, .batch)
      sequence = builder.axis("seq", model.workload.sequence ?? model.positions, .sequence)
      vocabulary = builder.axis("vocab", model.vocabulary, .vocabulary)
      positions = builder.axis("positions", model.positions, .whole)
      hidden = builder.axis("hidden", model.hidden, .feature)
      attention = AttentionAxes(heads: model.heads, hidden: model.hidden, in: &builder)
      ffn = builder.axis("ffn", model.ffn, .feature)
    }

    var carry: [AxisID] { [batch, sequence, hidden] }
  }

  private func block(_ path: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let normed = builder.layerNorm(path + ".ln_1", x, epsilon: epsilon)
    let query = fused(path + ".attn.c_attn", "q", 0, normed, to: axes.attention.query, axes, &builder)
    let key = fused(path + ".attn.c_attn", "k", 1, normed, to: axes.attention.keyValue, axes, &builder)
    let value = fused(path + ".attn.c_attn", "v", 2, normed, to: axes.attention.keyValue, axes, &builder)
    let core = builder.apply(
      .attention(causal: true, dropout: attentionDropout), path + ".attn.core", [query, key, value],
      to: [axes.batch, axes.sequence] + axes.attention.query)
    let projected = builder.linear(
      path + ".attn.c_proj", core, from: axes.attention.query, to: [axes.hidden], order: .inputFirst, bias: true)
    let attended = builder.add(
      path + ".attn.residual", x, builder.dropout(path + ".attn.dropout", projected, probability: residualDropout))

    let normed2 = builder.layerNorm(path + ".ln_2", attended, epsilon: epsilon)
    let up = builder.linear(path + ".mlp.c_fc", normed2, from: [axes.hidden], to: [axes.ffn], order: .inputFirst, bias: true)
    let act = builder.elementwise(.activation(activation), path + ".mlp.act", up)
    let down = builder.linear(path + ".mlp.c_proj", act, from: [axes.ffn], to: [axes.hidden], order: .inputFirst, bias: true)
    return builder.add(path + ".mlp.residual", attended, builder.dropout(path + ".mlp.dropout", down, probability: residualDropout))
  }

  /// One third of `c_attn`, whose stored weight is `[hidden, q | k | v]`, each of them head by head.
  private func fused(
    _ path: String, _ part: String, _ index: Int, _ x: TensorID, to output: [AxisID], _ axes: Axes, _ builder: inout GraphBuilder
  ) -> TensorID {
    let columns = rowMajorStrides(output.map(builder.extent))
    let weight = builder.parameter(
      "\(path).\(part).weight", [axes.hidden] + output, checkpoint: path + ".weight", shape: [hidden, 3 * hidden], offset: index * hidden,
      strides: [3 * hidden] + columns)
    let product = builder.matrixProduct("\(path).\(part)", x, weight: weight, from: [axes.hidden], to: output)
    let bias = builder.parameter(
      "\(path).\(part).bias", output, checkpoint: path + ".bias", shape: [3 * hidden], offset: index * hidden, strides: columns)
    return builder.bias("\(path).\(part)", product, bias)
  }
}
