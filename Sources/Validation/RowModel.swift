// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities

/// Why a row gets no price.
package struct SkippedRow: Error, Hashable, Sendable {
  package let reason: String
  init(_ reason: String) { self.reason = reason }
}

/// The model of a row: its dimensions, checked, and how its blocks are made.
package struct RowModel: Hashable, Sendable {
  package var style: ModelStyle
  package var layers: Int
  package var hidden: Int
  package var heads: Int
  package var keyValueHeads: Int
  package var ffn: Int
  package var experts: Int?
  package var expertsPerToken: Int?
  /// As published; `graph` pads it.
  package var vocabulary: Int
  package var sequence: Int
  package var tiesHead: Bool
  package var dropout: Double

  /// A row's own parameter count may differ by so much from that of its dimensions: printed counts leave out embeddings, or are rounded.
  static let parameterTolerance = 0.1

  /// - Parameter assumptions: what was not published is added.
  /// - Throws: `SkippedRow` where dimensions are missing or contradict each other, or the model may be of another kind.
  init(_ row: TableRow, _ convention: Convention, assumptions: inout [String]) throws {
    let needed = [("layers", row.layers), ("hidden", row.hidden), ("heads", row.heads), ("seq", row.sequence)]
    let missing = needed.filter { $0.1 == nil }.map(\.0)
    guard missing.isEmpty, let layers = row.layers, let hidden = row.hidden, let heads = row.heads, let sequence = row.sequence else {
      throw SkippedRow("the model's dimensions are not published: no \(missing.joined(separator: ", "))")
    }
    guard let vocabulary = row.vocabulary ?? convention.vocabulary else { throw SkippedRow("the vocabulary is not published: no vocab") }
    if row.vocabulary == nil { assumptions.append("vocabulary \(vocabulary), the source's default") }
    (self.layers, self.hidden, self.heads, self.sequence, self.vocabulary) = (layers, hidden, heads, sequence, vocabulary)
    keyValueHeads = row.keyValueHeads ?? heads
    (experts, expertsPerToken) = (row.experts, row.expertsPerToken)
    ffn = row.ffn ?? 4 * hidden
    dropout = convention.dropout
    (style, tiesHead) = (.gpt, true)
    for (key, extent) in [("hidden", hidden), ("heads", heads), ("vocab", vocabulary), ("seq", sequence), ("ffn", ffn), ("layers", layers)]
    where extent > GraphBuilder.largestExtent {
      throw SkippedRow("a size beyond \(GraphBuilder.largestExtent): \(key) \(extent)")
    }
    guard hidden % heads == 0 else { throw SkippedRow("heads are not of one size: hidden \(hidden), heads \(heads)") }
    guard heads % keyValueHeads == 0 else { throw SkippedRow("heads do not share key-value heads evenly: heads \(heads), kv_heads \(keyValueHeads)") }
    if experts != nil, expertsPerToken == nil { throw SkippedRow("a mixture of experts is not complete: no experts_per_token") }
    try chooseStyle(row, convention, &assumptions)
    tiesHead = convention.tiesHead ?? convention.tiesHeadBelow.map { parameterCount < $0 } ?? (style == .gpt)
    if row.ffn == nil {
      // GPT's usual width counts where the row's parameters bear it out.
      if style == .llama || row.parameters == nil { throw SkippedRow("the MLP's width is not published: no ffn") }
      assumptions.append("ffn \(ffn), 4 x hidden")
    }
    try checkParameters(row, &assumptions)
  }

  private mutating func chooseStyle(_ row: TableRow, _ convention: Convention, _ assumptions: inout [String]) throws {
    if let word = row.style {
      guard let known = ModelStyle(rawValue: word) else {
        throw SkippedRow("unknown style: \"\(word)\"; known are \(ModelStyle.allCases.map(\.rawValue).joined(separator: ", "))")
      }
      style = known
    } else if row.keyValueHeads != nil || row.experts != nil {
      style = .llama
    } else if let billions = row.parameters {
      // Where both are as near, its source's.
      let stated = convention.style ?? .gpt
      style = ModelStyle.allCases.first { $0 != stated && error(of: $0, billions) < error(of: stated, billions) } ?? stated
      if error(of: stated, billions) <= Self.parameterTolerance { style = stated }
      if style != convention.style { assumptions.append("a \(style.rawValue)-style model, by its parameters") }
    } else {
      // A gated MLP of 4 x hidden would be a third larger than all others are.
      let likely = ffn == 4 * hidden ? ModelStyle.gpt : .llama
      style = convention.style == .llama ? .llama : likely
      if style != convention.style { assumptions.append("a \(style.rawValue)-style model, by the MLP's width") }
    }
    if experts != nil, style == .gpt { throw SkippedRow("a GPT-style mixture of experts: how its layers alternate is not published") }
    if style == .gpt, keyValueHeads != heads {
      throw SkippedRow("GPT-style models have no fewer key-value heads: heads \(heads), kv_heads \(keyValueHeads)")
    }
  }

  private func error(of style: ModelStyle, _ billions: Double) -> Double {
    var model = self
    model.style = style
    return model.possibleCounts.map { abs($0 / billions - 1) }.min()!
  }

  /// Where the row counts parameters, the dimensions have to give as many, with the embedding once, twice or not at all.
  private mutating func checkParameters(_ row: TableRow, _ assumptions: inout [String]) throws {
    guard let billions = row.parameters else { return }
    let counts = possibleCounts
    guard counts.contains(where: { abs($0 / billions - 1) <= Self.parameterTolerance }) else {
      throw SkippedRow(
        (experts == nil ? "a mixture of experts without its experts, or another kind of model" : "another kind of model")
          + ": the dimensions make \(rounded(counts[0])) to \(rounded(counts[2])) billion parameters, the row has \(rounded(billions))")
    }
  }

  /// 10⁹ parameters, with the embedding not at all, once or twice.
  private var possibleCounts: [Double] { [0, 1, 2].map { (parameterCount + $0 * Double(vocabulary) * Double(hidden)) / 1e9 } }

  /// Parameters of the products in the layers, without the embedding and the head.
  package var parameterCount: Double {
    let (h, width) = (Double(hidden), Double(ffn))
    let attention = h * h * (2 + 2 * Double(keyValueHeads) / Double(heads))
    let mlp = h * width * (style == .gpt ? 2 : 3) * Double(experts ?? 1) + h * Double(experts ?? 0)
    return Double(layers) * (attention + mlp)
  }

  /// Layers on each stage as nanotron's `build_model` puts them: a stage takes layers until their products, of all that come before them too, reach
  /// its share of all products, the head's among them. So first stages hold more, and the last one often the head alone. Where it leaves further
  /// stages empty, they get a layer of the fullest ones here, the last of them first.
  func layersByCost(stages: Int) -> [Int] {
    let layer = parameterCount / Double(layers)
    let all = parameterCount + Double(vocabulary) * Double(hidden)
    var result = [Int](repeating: 0, count: stages)
    var stage = 0
    for number in 1...layers {
      result[stage] += 1
      if layer * Double(number) >= all * Double(stage + 1) / Double(stages) { stage = min(stage + 1, stages - 1) }
    }
    while let empty = result.dropLast().lastIndex(of: 0), let most = result.max(), most > 1, let full = result.lastIndex(of: most) {
      result[full] -= 1
      result[empty] += 1
    }
    return result
  }

  /// - Parameter multiple: the vocabulary is padded to one of these.
  func graph(vocabularyMultiple multiple: Int) throws -> Graph {
    let padded = (vocabulary + multiple - 1) / multiple * multiple
    let workload = Workload(batch: nil, sequence: sequence)
    do {
      switch style {
      case .gpt:
        var model = GPT2Configuration()
        (model.name, model.workload, model.vocabulary, model.positions) = ("gpt", workload, padded, sequence)
        (model.hidden, model.layers, model.heads, model.ffn) = (hidden, layers, heads, ffn)
        (model.residualDropout, model.embeddingDropout, model.attentionDropout) = (dropout, dropout, dropout)
        model.tiesEmbeddings = tiesHead
        return try model.graph()
      case .llama:
        var model = LlamaConfiguration()
        (model.name, model.workload, model.vocabulary, model.maximumPositions) = ("llama", workload, padded, sequence)
        (model.hidden, model.layers, model.heads, model.keyValueHeads, model.headSize) = (hidden, layers, heads, keyValueHeads, hidden / heads)
        (model.ffn, model.residualDropout, model.tiesEmbeddings) = (ffn, dropout, tiesHead)
        if let experts, let expertsPerToken {
          model.experts = ExpertLayer(naming: .mixtral, count: experts, perToken: expertsPerToken, ffn: ffn, renormalises: true)
        }
        return try model.graph()
      }
    } catch let error as ModelError { throw SkippedRow("\(error)") }
  }
}
