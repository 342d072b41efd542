// SPDX-License-Identifier: GPL-3.0-or-later

/// The dimensions of a BERT model (Devlin et al. 2018), with Hugging Face's defaults (`BertConfig`).
package struct BertConfiguration: Hashable, Sendable {
  package enum Head: Hashable, Sendable {
    /// `BertModel`: the last hidden state and the pooler's output.
    case none
    /// `BertForMaskedLM`: logits of every position and their loss.
    case maskedLanguageModel
    /// `BertForSequenceClassification`: logits of the whole sequence and their loss.
    case sequenceClassification(labels: Int)
  }

  package var name = "bert"
  package var head = Head.none
  package var workload = Workload()
  package var vocabulary = 30522
  package var positions = 512
  package var tokenTypes = 2
  package var hidden = 768
  package var layers = 12
  package var heads = 12
  package var ffn = 3072
  package var activation = ActivationFunction.gelu
  package var hiddenDropout = 0.1
  package var attentionDropout = 0.1
  /// Dropout before the classifier; the hidden dropout where the file leaves it out.
  package var classifierDropout = 0.1
  package var epsilon = 1e-12
  /// Whether the masked-language-model decoder is the embedding table.
  package var tiesEmbeddings = true

  package init() {}

  /// The model: post-norm blocks, three learned embeddings, attention over the positions that `attention_mask` lets through.
  ///
  /// - Throws: `ModelError.inconsistent` where the dimensions do not fit together.
  package func graph() throws -> Graph {
    var builder = GraphBuilder(name: name)
    builder.workload = workload
    builder.maximumSequence = positions
    let axes = Axes(self, &builder)
    let prefix = head == .none ? "" : "bert."

    builder.begin(segment: "embedding")
    let (embedded, table) = embeddings(prefix + "embeddings", axes, &builder)
    builder.end(exits: [embedded])

    let path = prefix + "encoder.layer.{i}"
    let entry = builder.begin(segment: "block", repeats: layers, path: path, carry: axes.carry)
    let attended = attention(path + ".attention", entry, axes, &builder)
    builder.end(exits: [mlp(path, attended, axes, &builder)])

    let last = builder.begin(segment: "head", path: "head", carry: [axes.batch, axes.sequence, axes.headInput])
    switch head {
    case .none:
      builder.output("last_hidden_state", last)
      builder.output("pooler_output", pooler(prefix + "pooler", last, axes, &builder))
    case .maskedLanguageModel:
      let logits = predictions("cls.predictions", last, axes, tied: tiesEmbeddings ? table : nil, &builder)
      builder.logits(logits)
    case .sequenceClassification(let labels):
      let pooled = pooler(prefix + "pooler", last, axes, &builder)
      let classes = builder.axis("labels", labels, .vocabulary)
      let dropped = builder.dropout("dropout", pooled, probability: classifierDropout)
      let logits = builder.linear("classifier", dropped, from: [axes.headOutput], to: [classes], bias: true)
      builder.logits(logits)
    }
    builder.end()
    return try builder.finish()
  }

  private struct Axes {
    let batch, sequence, vocabulary, positions, tokenTypes, hidden, ffn: AxisID
    /// What the head's first product, hidden × hidden, contracts and produces. They are two axes; which of them is `hidden` depends on what
    /// follows: a tied decoder contracts the embedding table's axis.
    let headInput, headOutput: AxisID
    let attention: AttentionAxes

    init(_ model: BertConfiguration, _ builder: inout GraphBuilder) {
      batch = builder.axis("batch", model.workload.batch ?? 1, .batch)
      sequence = builder.axis("seq", model.workload.sequence ?? model.positions, .sequence)
      vocabulary = builder.axis("vocab", model.vocabulary, .vocabulary)
      positions = builder.axis("positions", model.positions, .whole)
      tokenTypes = builder.axis("token_types", model.tokenTypes, .whole)
      hidden = builder.axis("hidden", model.hidden, .feature)
      attention = AttentionAxes(heads: model.heads, hidden: model.hidden, in: &builder)
      ffn = builder.axis("ffn", model.ffn, .feature)
      if model.head == .maskedLanguageModel {
        headInput = builder.axis("encoded", model.hidden, .feature)
        headOutput = hidden
      } else {
        headInput = hidden
        headOutput = builder.axis("pooled", model.hidden, .feature)
      }
    }

    var carry: [AxisID] { [batch, sequence, hidden] }
  }

  private func embeddings(_ path: String, _ axes: Axes, _ builder: inout GraphBuilder) -> (result: TensorID, table: TensorID) {
    let ids = builder.input(.inputIDs, [axes.batch, axes.sequence])
    let words = builder.embedding(path + ".word_embeddings", ids: ids, rows: axes.vocabulary, features: axes.hidden)
    let typeIDs = builder.input(.tokenTypeIDs, [axes.batch, axes.sequence])
    let types = builder.embedding(path + ".token_type_embeddings", ids: typeIDs, rows: axes.tokenTypes, features: axes.hidden)
    let typed = builder.add(path + ".token_type_embeddings.add", words.result, types.result)
    let table = builder.parameter(path + ".position_embeddings.weight", stored: [[axes.positions], [axes.hidden]])
    let position = builder.apply(.positionEmbedding(offset: 0), path + ".position_embeddings", [table], to: [axes.sequence, axes.hidden])
    let sum = builder.add(path + ".position_embeddings.add", typed, position)
    let normed = builder.layerNorm(path + ".LayerNorm", sum, epsilon: epsilon)
    return (builder.dropout(path + ".dropout", normed, probability: hiddenDropout), words.table)
  }

  private func attention(_ path: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let query = builder.linear(path + ".self.query", x, from: [axes.hidden], to: axes.attention.query, bias: true)
    let key = builder.linear(path + ".self.key", x, from: [axes.hidden], to: axes.attention.keyValue, bias: true)
    let value = builder.linear(path + ".self.value", x, from: [axes.hidden], to: axes.attention.keyValue, bias: true)
    let mask = builder.input(.attentionMask, [axes.batch, axes.sequence])
    let core = builder.apply(
      .attention(causal: false, dropout: attentionDropout), path + ".self.core", [query, key, value, mask],
      to: [axes.batch, axes.sequence] + axes.attention.query)
    let projected = builder.linear(path + ".output.dense", core, from: axes.attention.query, to: [axes.hidden], bias: true)
    return residual(path + ".output", x, projected, &builder)
  }

  private func mlp(_ path: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let up = builder.linear(path + ".intermediate.dense", x, from: [axes.hidden], to: [axes.ffn], bias: true)
    let act = builder.elementwise(.activation(activation), path + ".intermediate.act", up)
    let down = builder.linear(path + ".output.dense", act, from: [axes.ffn], to: [axes.hidden], bias: true)
    return residual(path + ".output", x, down, &builder)
  }

  private func residual(_ path: String, _ x: TensorID, _ y: TensorID, _ builder: inout GraphBuilder) -> TensorID {
    let dropped = builder.dropout(path + ".dropout", y, probability: hiddenDropout)
    return builder.layerNorm(path + ".LayerNorm", builder.add(path + ".residual", x, dropped), epsilon: epsilon)
  }

  private func pooler(_ path: String, _ x: TensorID, _ axes: Axes, _ builder: inout GraphBuilder) -> TensorID {
    let first = builder.apply(.selectToken(position: 0), path + ".first", [x], to: [axes.batch, axes.headInput])
    let dense = builder.linear(path + ".dense", first, from: [axes.headInput], to: [axes.headOutput], bias: true)
    return builder.elementwise(.activation(.tanh), path + ".activation", dense)
  }

  /// The masked-language-model head: dense, activation, norm, decoder and a bias that stands beside the decoder in the checkpoint.
  private func predictions(_ path: String, _ x: TensorID, _ axes: Axes, tied: TensorID?, _ builder: inout GraphBuilder) -> TensorID {
    let dense = builder.linear(path + ".transform.dense", x, from: [axes.headInput], to: [axes.headOutput], bias: true)
    let act = builder.elementwise(.activation(activation), path + ".transform.act", dense)
    let normed = builder.layerNorm(path + ".transform.LayerNorm", act, epsilon: epsilon)
    let logits = builder.linear(path + ".decoder", normed, from: [axes.headOutput], to: [axes.vocabulary], bias: false, tied: tied)
    return builder.bias(path + ".decoder", logits, builder.parameter(path + ".bias", stored: [[axes.vocabulary]]))
  }
}
