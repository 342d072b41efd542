// SPDX-License-Identifier: GPL-3.0-or-later

extension LlamaConfiguration {
  struct Axes {
    let batch, sequence, vocabulary, hidden, ffn: AxisID
    let attention: AttentionAxes

    init(_ model: LlamaConfiguration, _ builder: inout GraphBuilder) {
      batch = builder.axis("batch", model.workload.batch ?? 1, .batch)
      sequence = builder.axis("seq", model.workload.sequence ?? model.maximumPositions, .sequence)
      vocabulary = builder.axis("vocab", model.vocabulary, .vocabulary)
      hidden = builder.axis("hidden", model.hidden, .feature)
      attention = AttentionAxes(heads: model.heads, keyValueHeads: model.keyValueHeads, headSize: model.headSize, in: &builder)
      ffn = builder.axis("ffn", model.experts?.ffn ?? model.ffn, .feature)
    }

    var carry: [AxisID] { [batch, sequence, hidden] }
  }

  func norm(_ path: String, _ x: TensorID, _ builder: inout GraphBuilder) -> TensorID {
    builder.rmsNorm(path, x, epsilon: epsilon, addsOne: normAddsOne)
  }

  func attention(_ block: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let path = block + ".self_attn"
    let normed = norm(block + ".input_layernorm", x, &builder)
    var (query, key, value) = projections(path, normed, axes, &builder)
    if normalisesQueriesAndKeys {
      query = norm(path + ".q_norm", query, &builder)
      key = norm(path + ".k_norm", key, &builder)
    }
    query = builder.elementwise(.rotary(rotary), path + ".rotary_q", query)
    key = builder.elementwise(.rotary(rotary), path + ".rotary_k", key)
    let core = builder.apply(
      .attention(causal: true, dropout: attentionDropout), path + ".core", [query, key, value],
      to: [axes.batch, axes.sequence] + axes.attention.query)
    let projected = builder.linear(path + ".o_proj", core, from: axes.attention.query, to: [axes.hidden], bias: outputBias)
    return builder.add(path + ".residual", x, builder.dropout(path + ".dropout", projected, probability: residualDropout))
  }

  private func projections(
    _ path: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder
  ) -> (query: TensorID, key: TensorID, value: TensorID) {
    let (toQuery, toKey) = (axes.attention.query, axes.attention.keyValue)
    if fusesProjections {
      // Rows of the stored weight: all queries, all keys, all values, each head by head.
      let (queries, keys) = (heads * headSize, keyValueHeads * headSize)
      let fused = FusedLinear(path: path + ".qkv_proj", rows: queries + 2 * keys, hasBias: false)
      return (
        builder.linear(fused, "q", x, from: axes.hidden, to: toQuery, first: 0),
        builder.linear(fused, "k", x, from: axes.hidden, to: toKey, first: queries),
        builder.linear(fused, "v", x, from: axes.hidden, to: toKey, first: queries + keys)
      )
    }
    return (
      builder.linear(path + ".q_proj", x, from: [axes.hidden], to: toQuery, bias: queryKeyValueBias),
      builder.linear(path + ".k_proj", x, from: [axes.hidden], to: toKey, bias: queryKeyValueBias),
      builder.linear(path + ".v_proj", x, from: [axes.hidden], to: toKey, bias: queryKeyValueBias)
    )
  }

  func mlp(_ block: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let normed = norm(block + ".post_attention_layernorm", x, &builder)
    if let experts {
      let path = block + "." + experts.module
      return builder.add(path + ".residual", x, experts.apply(path, normed, width: axes.ffn, activation: activation, &builder))
    }
    let path = block + ".mlp"
    let fused = FusedLinear(path: path + ".gate_up_proj", rows: 2 * ffn, hasBias: false)
    let gate =
      fusesProjections
      ? builder.linear(fused, "gate", normed, from: axes.hidden, to: [axes.ffn], first: 0)
      : builder.linear(path + ".gate_proj", normed, from: [axes.hidden], to: [axes.ffn], bias: mlpBias)
    let act = builder.elementwise(.activation(activation), path + ".act", gate)
    let up =
      fusesProjections
      ? builder.linear(fused, "up", normed, from: axes.hidden, to: [axes.ffn], first: ffn)
      : builder.linear(path + ".up_proj", normed, from: [axes.hidden], to: [axes.ffn], bias: mlpBias)
    let product = builder.apply(.multiply, path + ".multiply", [act, up], to: [axes.batch, axes.sequence, axes.ffn])
    let down = builder.linear(path + ".down_proj", product, from: [axes.ffn], to: [axes.hidden], bias: mlpBias)
    return builder.add(path + ".residual", x, builder.dropout(path + ".dropout", down, probability: residualDropout))
  }
}
