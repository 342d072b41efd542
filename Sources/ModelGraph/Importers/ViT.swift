// SPDX-License-Identifier: GPL-3.0-or-later

/// The dimensions of a Vision Transformer (Dosovitskiy et al. 2020), with Hugging Face's defaults (`ViTConfig`).
package struct ViTConfiguration: Hashable, Sendable {
  package enum Head: Hashable, Sendable {
    /// `ViTModel`: the last hidden state and the pooler's output.
    case none(poolerSize: Int, poolerActivation: ActivationFunction)
    /// `ViTForImageClassification`: logits of the image and their loss.
    case imageClassification(labels: Int)
  }

  package var name = "vit"
  package var head = Head.imageClassification(labels: 2)
  package var workload = Workload()
  /// Height and width of an image in pixels.
  package var imageSize = 224
  /// Height and width of a patch in pixels; it divides `imageSize`.
  package var patchSize = 16
  package var channels = 3
  package var hidden = 768
  package var layers = 12
  package var heads = 12
  package var ffn = 3072
  package var activation = ActivationFunction.gelu
  package var queryKeyValueBias = true
  package var dropout = 0.0
  package var attentionDropout = 0.0
  package var epsilon = 1e-12

  package init() {}

  /// The model: patches and a class token with learned positions, pre-norm blocks, attention over all patches.
  ///
  /// The sequence is the image's patches and the class token, so the workload does not choose it.
  ///
  /// - Throws: `ModelError.inconsistent` where the dimensions do not fit together.
  package func graph() throws -> Graph {
    var builder = GraphBuilder(name: name)
    builder.workload = workload
    let axes = Axes(self, &builder)
    let prefix = if case .imageClassification = head { "vit." } else { "" }

    builder.begin(segment: "embedding")
    builder.end(exits: [embeddings(prefix + "embeddings", axes, &builder)])

    let path = prefix + "encoder.layer.{i}"
    let entry = builder.begin(segment: "block", repeats: layers, path: path, carry: axes.carry)
    let attended = attention(path, entry, axes, &builder)
    builder.end(exits: [mlp(path, attended, axes, &builder)])

    let last = builder.begin(segment: "head", path: "head", carry: axes.carry)
    let normed = builder.layerNorm(prefix + "layernorm", last, epsilon: epsilon)
    switch head {
    case .none(let poolerSize, let poolerActivation):
      builder.output("last_hidden_state", normed)
      let first = builder.apply(.selectToken(position: 0), "pooler.first", [normed], to: [axes.batch, axes.hidden])
      let pooled = builder.axis("pooled", poolerSize, .feature)
      let dense = builder.linear("pooler.dense", first, from: [axes.hidden], to: [pooled], bias: true)
      builder.output("pooler_output", builder.elementwise(.activation(poolerActivation), "pooler.activation", dense))
    case .imageClassification(let labels):
      let first = builder.apply(.selectToken(position: 0), "classifier.first", [normed], to: [axes.batch, axes.hidden])
      let classes = builder.axis("labels", labels, .vocabulary)
      let logits = builder.linear("classifier", first, from: [axes.hidden], to: [classes], bias: true)
      builder.logits(logits)
    }
    builder.end()
    return try builder.finish()
  }

  private struct Axes {
    let batch, channels, height, width, patches, patch, sequence, positions, hidden, ffn: AxisID
    let attention: AttentionAxes

    init(_ model: ViTConfiguration, _ builder: inout GraphBuilder) {
      let side = model.imageSize / model.patchSize
      batch = builder.axis("batch", model.workload.batch ?? 1, .batch)
      channels = builder.axis("channels", model.channels, .whole)
      height = builder.axis("height", model.imageSize, .whole)
      width = builder.axis("width", model.imageSize, .whole)
      patches = builder.axis("patches", side * side, .whole)
      patch = builder.axis("patch", model.channels * model.patchSize * model.patchSize, .whole)
      sequence = builder.axis("seq", side * side + 1, .sequence)
      positions = builder.axis("positions", side * side + 1, .whole)
      hidden = builder.axis("hidden", model.hidden, .feature)
      attention = AttentionAxes(heads: model.heads, hidden: model.hidden, in: &builder)
      ffn = builder.axis("ffn", model.ffn, .feature)
    }

    var carry: [AxisID] { [batch, sequence, hidden] }
  }

  private func embeddings(_ path: String, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let pixels = builder.input(.pixelValues, [axes.batch, axes.channels, axes.height, axes.width])
    let patches = builder.apply(
      .patches(size: patchSize), path + ".patch_embeddings", [pixels], to: [axes.batch, axes.patches, axes.patch])
    // A convolution's kernel [hidden, c, p, p] read as the matrix [hidden, c·p·p].
    let projection = path + ".patch_embeddings.projection"
    let kernel = builder.parameter(
      projection + ".weight", [axes.hidden, axes.patch], shape: [hidden, channels, patchSize, patchSize],
      strides: [builder.extent(axes.patch), 1])
    let projected = builder.matrixProduct(projection, patches, weight: kernel, from: [axes.patch], to: [axes.hidden])
    let biased = builder.bias(projection, projected, builder.parameter(projection + ".bias", stored: [[axes.hidden]]))

    let token = builder.parameter(path + ".cls_token", [axes.hidden], shape: [1, 1, hidden], strides: [1])
    let tokens = builder.apply(.prependToken, path + ".cls_token", [biased, token], to: axes.carry)
    let table = builder.parameter(
      path + ".position_embeddings", [axes.positions, axes.hidden], shape: [1, builder.extent(axes.positions), hidden], strides: [hidden, 1])
    let position = builder.apply(.positionEmbedding(offset: 0), path + ".position_embeddings", [table], to: [axes.sequence, axes.hidden])
    let sum = builder.add(path + ".position_embeddings.add", tokens, position)
    return builder.dropout(path + ".dropout", sum, probability: dropout)
  }

  private func attention(_ block: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let path = block + ".attention.attention"
    let normed = builder.layerNorm(block + ".layernorm_before", x, epsilon: epsilon)
    let query = builder.linear(path + ".query", normed, from: [axes.hidden], to: axes.attention.query, bias: queryKeyValueBias)
    let key = builder.linear(path + ".key", normed, from: [axes.hidden], to: axes.attention.keyValue, bias: queryKeyValueBias)
    let value = builder.linear(path + ".value", normed, from: [axes.hidden], to: axes.attention.keyValue, bias: queryKeyValueBias)
    let core = builder.apply(
      .attention(causal: false, dropout: attentionDropout), path + ".core", [query, key, value],
      to: [axes.batch, axes.sequence] + axes.attention.query)
    let output = block + ".attention.output"
    let projected = builder.linear(output + ".dense", core, from: axes.attention.query, to: [axes.hidden], bias: true)
    return builder.add(output + ".residual", x, builder.dropout(output + ".dropout", projected, probability: dropout))
  }

  private func mlp(_ path: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let normed = builder.layerNorm(path + ".layernorm_after", x, epsilon: epsilon)
    let up = builder.linear(path + ".intermediate.dense", normed, from: [axes.hidden], to: [axes.ffn], bias: true)
    let act = builder.elementwise(.activation(activation), path + ".intermediate.act", up)
    let down = builder.linear(path + ".output.dense", act, from: [axes.ffn], to: [axes.hidden], bias: true)
    return builder.add(path + ".output.residual", x, builder.dropout(path + ".output.dropout", down, probability: dropout))
  }
}
