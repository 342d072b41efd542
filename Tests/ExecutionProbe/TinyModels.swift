// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ModelGraph

/// Models small enough to run many of them, with extents that do not divide.
enum TinyModel: String, CaseIterable {
  case gpt2
  case llama
  case bert
  case vit
  case gemma
  case gptNeoX = "gpt_neox"
  case mixtral
  case qwen2MoE = "qwen2_moe"
  case resnet
  /// Of Tests/Fixtures: frozen towers, a resampler, cross-attention.
  case flamingo

  /// - Parameter batch: sequences in one micro-batch.
  func graph(
    batch: Int, layers: Int = 2, hidden: Int = 32, heads: Int = 4, ffn: Int = 64, vocabulary: Int = 101, sequence: Int = 16
  ) throws -> Graph {
    let workload = Workload(batch: batch, sequence: self == .vit ? nil : sequence)
    switch self {
    case .gpt2:
      var model = GPT2Configuration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (workload, layers, hidden, heads, ffn)
      (model.vocabulary, model.positions) = (vocabulary, sequence)
      return try model.graph()
    case .llama:
      var model = LlamaConfiguration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (workload, layers, hidden, heads, ffn)
      (model.vocabulary, model.maximumPositions, model.keyValueHeads, model.headSize) = (vocabulary, sequence, heads / 2, hidden / heads)
      model.epsilon = 1e-5
      return try model.graph()
    case .flamingo:
      let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Fixtures/flamingo-tiny.json").standardized.path
      return try ModelReader.read(file).graph.sized(batch: batch, sequence: sequence)
    case .gemma:
      var model = LlamaConfiguration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (workload, layers, hidden, heads, ffn)
      (model.vocabulary, model.maximumPositions, model.keyValueHeads, model.headSize) = (vocabulary, sequence, heads / 2, hidden / heads + 2)
      (model.normAddsOne, model.scalesEmbeddings, model.tiesEmbeddings, model.normalisesQueriesAndKeys) = (true, true, true, true)
      return try model.graph()
    case .gptNeoX:
      var model = GPTNeoXConfiguration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (workload, layers, hidden, heads, ffn)
      (model.vocabulary, model.maximumPositions, model.rotary.rotated) = (vocabulary, sequence, hidden / heads / 2)
      return try model.graph()
    case .mixtral, .qwen2MoE:
      var model = LlamaConfiguration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (workload, layers, hidden, heads, ffn)
      (model.vocabulary, model.maximumPositions, model.keyValueHeads, model.headSize) = (vocabulary, sequence, heads / 2, hidden / heads)
      model.experts =
        self == .mixtral
        ? ExpertLayer(naming: .mixtral, count: 7, perToken: 2, ffn: ffn, renormalises: true)
        : ExpertLayer(naming: .qwen, count: 6, perToken: 3, ffn: ffn / 2, renormalises: false, sharedFFN: ffn)
      return try model.graph()
    case .resnet: return try Self.resnet(batch: batch, layers: layers, width: hidden / 2, classes: vocabulary)
    case .bert:
      var model = BertConfiguration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (workload, layers, hidden, heads, ffn)
      (model.vocabulary, model.positions, model.head) = (vocabulary, sequence, .maskedLanguageModel)
      return try model.graph()
    case .vit:
      var model = ViTConfiguration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (workload, layers, hidden, heads, ffn)
      (model.imageSize, model.patchSize, model.head) = (12, 4, .imageClassification(labels: 7))
      return try model.graph()
    }
  }
}
