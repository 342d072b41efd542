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
  /// Two towers and a contrastive loss.
  case clip

  /// Whether two heads of queries share one of keys and values.
  var groupsQueries: Bool { [.llama, .gemma, .mixtral, .qwen2MoE].contains(self) }

  /// - Parameters:
  ///   - batch: sequences in one micro-batch.
  ///   - image: height and width of images, a multiple of 4, where the model has patches of them.
  ///   - experts: of models that have some; nil for numbers that few numbers of ranks divide.
  func graph(
    batch: Int, layers: Int = 2, hidden: Int = 32, heads: Int = 4, ffn: Int = 64, vocabulary: Int = 101, sequence: Int = 16, image: Int = 12,
    experts: Int? = nil
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
      return try ModelReader.read(Self.flamingoFile).graph.sized(batch: batch, sequence: sequence)
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
        ? ExpertLayer(naming: .mixtral, count: experts ?? 7, perToken: 2, ffn: ffn, renormalises: true)
        : ExpertLayer(naming: .qwen, count: experts ?? 6, perToken: min(3, experts ?? 3), ffn: ffn / 2, renormalises: false, sharedFFN: ffn)
      return try model.graph()
    case .clip:
      var model = CLIPConfiguration()
      (model.workload, model.vocabulary, model.positions, model.endToken) = (workload, vocabulary, sequence, nil)
      (model.imageSize, model.patchSize, model.projection) = (image, 4, hidden / 2)
      model.text = .init(hidden: hidden, layers: layers, heads: heads, ffn: ffn)
      model.vision = .init(hidden: hidden + heads, layers: layers, heads: heads, ffn: ffn)
      return try model.graph().sized(batch: batch, sequence: sequence)
    case .resnet: return try Self.resnet(batch: batch, layers: layers, width: hidden / 2, classes: vocabulary)
    case .bert:
      var model = BertConfiguration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (workload, layers, hidden, heads, ffn)
      (model.vocabulary, model.positions, model.head) = (vocabulary, sequence, .maskedLanguageModel)
      return try model.graph()
    case .vit:
      var model = ViTConfiguration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (workload, layers, hidden, heads, ffn)
      (model.imageSize, model.patchSize, model.head) = (image, 4, .imageClassification(labels: 7))
      return try model.graph()
    }
  }

  private static var flamingoFile: String {
    URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Fixtures/flamingo-tiny.json").standardized.path
  }

  /// Flamingo with other numbers of image layers and heads than its file has, so that more ranks find a part.
  static func flamingo(batch: Int, layers: Int, heads: Int, sequence: Int) throws -> Graph {
    var text = try String(contentsOfFile: flamingoFile, encoding: .utf8)
    if let repeats = text.range(of: "\"repeats\": 2") { text.replaceSubrange(repeats, with: "\"repeats\": \(layers)") }
    for segment in ["resampler", "group"] {
      text = text.replacing("\"name\": \"\(segment)\",\n      \"repeats\": 2", with: "\"name\": \"\(segment)\",\n      \"repeats\": 1")
    }
    text = text.replacing("\"role\": \"heads\", \"extent\": 2", with: "\"role\": \"heads\", \"extent\": \(heads)")
    let file = FileManager.default.temporaryDirectory.appending(path: "flamingo-\(UUID().uuidString).json")
    try text.write(to: file, atomically: true, encoding: .utf8)
    defer { try? FileManager.default.removeItem(at: file) }
    return try ModelReader.read(file.path).graph.sized(batch: batch, sequence: sequence)
  }
}
