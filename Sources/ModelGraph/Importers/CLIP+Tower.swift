// SPDX-License-Identifier: GPL-3.0-or-later

extension CLIPConfiguration.Tower {
  struct Axes {
    let batch, positions, hidden, ffn: AxisID
    let attention: AttentionAxes

    init(_ tower: CLIPConfiguration.Tower, _ name: String, batch: AxisID, positions: AxisID, _ builder: inout GraphBuilder) {
      self.batch = batch
      self.positions = positions
      hidden = builder.axis(name + "_hidden", tower.hidden, .feature)
      attention = AttentionAxes(heads: tower.heads, hidden: tower.hidden, prefix: name + "_", in: &builder)
      ffn = builder.axis(name + "_ffn", tower.ffn, .feature)
    }

    var carry: [AxisID] { [batch, positions, hidden] }
  }

  /// A pre-norm block, the same in both towers but for the mask.
  func block(_ path: String, _ x: TensorID, _ axes: Axes, causal: Bool, _ builder: inout GraphBuilder) -> TensorID {
    let attended = attention(path, x, axes, causal: causal, &builder)
    let normed = builder.layerNorm(path + ".layer_norm2", attended, epsilon: epsilon)
    let up = builder.linear(path + ".mlp.fc1", normed, from: [axes.hidden], to: [axes.ffn], bias: true)
    let act = builder.elementwise(.activation(activation), path + ".mlp.act", up)
    let down = builder.linear(path + ".mlp.fc2", act, from: [axes.ffn], to: [axes.hidden], bias: true)
    return builder.add(path + ".mlp.residual", attended, down)
  }

  private func attention(_ block: String, _ x: TensorID, _ axes: Axes, causal: Bool, _ builder: inout GraphBuilder) -> TensorID {
    let path = block + ".self_attn"
    let normed = builder.layerNorm(block + ".layer_norm1", x, epsilon: epsilon)
    let query = builder.linear(path + ".q_proj", normed, from: [axes.hidden], to: axes.attention.query, bias: true)
    let key = builder.linear(path + ".k_proj", normed, from: [axes.hidden], to: axes.attention.keyValue, bias: true)
    let value = builder.linear(path + ".v_proj", normed, from: [axes.hidden], to: axes.attention.keyValue, bias: true)
    let core = builder.apply(
      .attention(causal: causal, dropout: attentionDropout), path + ".core", [query, key, value],
      to: [axes.batch, axes.positions] + axes.attention.query)
    let projected = builder.linear(path + ".out_proj", core, from: axes.attention.query, to: [axes.hidden], bias: true)
    return builder.add(path + ".residual", x, projected)
  }
}
