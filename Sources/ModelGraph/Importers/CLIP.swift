// SPDX-License-Identifier: GPL-3.0-or-later

/// The dimensions of a CLIP model (Radford et al. 2021), with Hugging Face's defaults (`CLIPConfig`).
package struct CLIPConfiguration: Hashable, Sendable {
  /// The encoder of one modality.
  package struct Tower: Hashable, Sendable {
    package var hidden: Int
    package var layers: Int
    package var heads: Int
    package var ffn: Int
    package var activation = ActivationFunction.quickGelu
    package var attentionDropout = 0.0
    package var epsilon = 1e-5

    package init(hidden: Int, layers: Int, heads: Int, ffn: Int) {
      self.hidden = hidden
      self.layers = layers
      self.heads = heads
      self.ffn = ffn
    }
  }

  package var name = "clip"
  package var workload = Workload()
  package var text = Tower(hidden: 512, layers: 12, heads: 8, ffn: 2048)
  package var vision = Tower(hidden: 768, layers: 12, heads: 12, ffn: 3072)
  package var vocabulary = 49408
  /// Positions of a text.
  package var positions = 77
  /// The token whose first position stands for the text; nil for the largest token of each text, as in the first checkpoints.
  package var endToken: Int? = 49407
  package var imageSize = 224
  /// Height and width of a patch in pixels; it divides `imageSize`.
  package var patchSize = 32
  package var channels = 3
  /// Features of the space in which texts and images are compared.
  package var projection = 512

  package init() {}

  /// The model: the text tower, then the image tower, through which the finished text embeddings are passed, then the loss over all pairs.
  ///
  /// - Throws: `ModelError.inconsistent` where the dimensions do not fit together.
  package func graph() throws -> Graph {
    var builder = GraphBuilder(name: name)
    builder.workload = workload
    builder.maximumSequence = positions
    let axes = Axes(self, &builder)

    builder.begin(segment: "text_embedding")
    let ids = builder.input(.inputIDs, [axes.batch, axes.sequence])
    let tokens = builder.embedding("text_model.embeddings.token_embedding", ids: ids, rows: axes.vocabulary, features: axes.text.hidden)
    builder.end(exits: [positioned("text_model.embeddings", tokens.result, rows: axes.positions, axes.text, &builder)])

    let textPath = "text_model.encoder.layers.{i}"
    let textEntry = builder.begin(segment: "text_block", repeats: text.layers, path: textPath, carry: axes.text.carry)
    builder.end(exits: [text.block(textPath, textEntry, axes.text, causal: true, &builder)])

    let lastText = builder.begin(segment: "image_embedding", path: "text_model.last", carry: axes.text.carry)
    let texts = textEmbeddings(lastText, ids, axes, &builder)
    builder.end(exits: [imageEmbeddings(axes, &builder), texts])

    let path = "vision_model.encoder.layers.{i}"
    let entry = builder.tensor(path + ".input", axes.vision.carry)
    let waiting = builder.tensor(path + ".text_embeds", axes.pooled)
    builder.begin(segment: "image_block", repeats: vision.layers, entries: [entry, waiting])
    let encoded = vision.block(path, entry, axes.vision, causal: false, &builder)
    builder.end(exits: [encoded, builder.elementwise(.pass, path + ".text_embeds.pass", waiting)])

    let last = builder.tensor("head.input", axes.vision.carry)
    let textSide = builder.tensor("head.text_embeds", axes.pooled)
    builder.begin(segment: "head", entries: [last, textSide])
    head(last, textSide, axes, &builder)
    builder.output("text_embeds", texts)
    builder.end()
    return try builder.finish()
  }

  struct Axes {
    let batch, sequence, vocabulary, positions, patches, pixels, imagePositions, projection, candidates, one: AxisID
    let image: [AxisID]
    let text, vision: Tower.Axes

    init(_ model: CLIPConfiguration, _ builder: inout GraphBuilder) {
      let side = model.imageSize / model.patchSize
      batch = builder.axis("batch", model.workload.batch ?? 1, .batch)
      sequence = builder.axis("seq", model.workload.sequence ?? model.positions, .sequence)
      vocabulary = builder.axis("vocab", model.vocabulary, .vocabulary)
      positions = builder.axis("positions", model.positions, .whole)
      text = Tower.Axes(model.text, "text", batch: batch, positions: sequence, &builder)
      image =
        [batch, builder.axis("channels", model.channels, .whole)]
        + ["height", "width"].map { builder.axis($0, model.imageSize, .whole) }
      patches = builder.axis("patches", side * side, .whole)
      pixels = builder.axis("patch", model.channels * model.patchSize * model.patchSize, .whole)
      imagePositions = builder.axis("image_positions", side * side + 1, .whole)
      let tokens = builder.axis("image_seq", side * side + 1, .patches)
      vision = Tower.Axes(model.vision, "vision", batch: batch, positions: tokens, &builder)
      projection = builder.axis("projection", model.projection, .feature)
      candidates = builder.axis("candidates", model.workload.batch ?? 1, .candidates)
      one = builder.axis("one", 1, .whole)
    }

    var pooled: [AxisID] { [batch, projection] }
  }

  /// x + a learned table of positions.
  private func positioned(
    _ path: String, _ x: TensorID, rows: AxisID, _ axes: Tower.Axes, _ builder: inout GraphBuilder
  ) -> TensorID {
    let table = builder.parameter(path + ".position_embedding.weight", stored: [[rows], [axes.hidden]])
    let position = builder.apply(.positionEmbedding(offset: 0), path + ".position_embedding", [table], to: [axes.positions, axes.hidden])
    return builder.add(path + ".position_embedding.add", x, position)
  }

  private func textEmbeddings(_ x: TensorID, _ ids: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let normed = builder.layerNorm("text_model.final_layer_norm", x, epsilon: text.epsilon)
    let end = builder.apply(.selectMarkedToken(id: endToken), "text_model.pooler", [normed, ids], to: [axes.batch, axes.text.hidden])
    let projected = builder.linear("text_projection", end, from: [axes.text.hidden], to: [axes.projection], bias: false)
    return builder.elementwise(.unitNorm, "text_embeds", projected)
  }

  private func imageEmbeddings(_ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let path = "vision_model.embeddings"
    let pixels = builder.input(.pixelValues, axes.image)
    let patches = builder.apply(.patches(size: patchSize), path + ".patches", [pixels], to: [axes.batch, axes.patches, axes.pixels])
    // A convolution's kernel [hidden, c, p, p] read as the matrix [hidden, c·p·p].
    let kernel = builder.parameter(
      path + ".patch_embedding.weight", [axes.vision.hidden, axes.pixels], shape: [vision.hidden, channels, patchSize, patchSize],
      strides: [builder.extent(axes.pixels), 1])
    let embedded = builder.matrixProduct(path + ".patch_embedding", patches, weight: kernel, from: [axes.pixels], to: [axes.vision.hidden])
    let token = builder.parameter(path + ".class_embedding", stored: [[axes.vision.hidden]])
    let tokens = builder.apply(.prependToken, path + ".class_embedding.prepend", [embedded, token], to: axes.vision.carry)
    let sum = positioned(path, tokens, rows: axes.imagePositions, axes.vision, &builder)
    // The library's spelling.
    return builder.layerNorm("vision_model.pre_layrnorm", sum, epsilon: vision.epsilon)
  }

  private func head(_ x: TensorID, _ texts: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) {
    let first = builder.apply(.selectToken(position: 0), "vision_model.pooler", [x], to: [axes.batch, axes.vision.hidden])
    let normed = builder.layerNorm("vision_model.post_layernorm", first, epsilon: vision.epsilon)
    let projected = builder.linear("visual_projection", normed, from: [axes.vision.hidden], to: [axes.projection], bias: false)
    let images = builder.elementwise(.unitNorm, "image_embeds", projected)
    let similarity = builder.apply(.similarity, "similarity", [texts, images], to: [axes.batch, axes.candidates])
    let scale = builder.parameter("logit_scale", [axes.one], shape: [], strides: [1])
    let logits = builder.apply(.learnedScale(.exponential), "logits_per_text", [similarity, scale], to: [axes.batch, axes.candidates])
    builder.output("logits_per_text", logits)
    builder.output("image_embeds", images)
    builder.loss = builder.apply(.contrastiveLoss, "loss", [logits], to: [])
  }
}
