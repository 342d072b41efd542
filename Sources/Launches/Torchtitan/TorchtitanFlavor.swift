// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// A model that torchtitan has by name.
///
/// Source of the figures: pytorch/torchtitan before commit 9810191bb, `torchtitan/models/llama3/__init__.py` and `model/args.py` (vocabulary, epsilon and
/// rotary scaling are the latter's defaults), `models/qwen3/`; of Llama 2 `models/llama/__init__.py` as it was on 2024-08-01, with Llama 2's tokenizer.
struct TorchtitanFlavor: Hashable, Sendable {
  var family = "llama3"
  let name: String
  let hidden: Int
  let layers: Int
  let heads: Int
  let keyValueHeads: Int
  /// The MLP's width before it is rounded up to a multiple: ⅔ · 4 · hidden, times `widening`.
  var widening = 1.0
  var multiple = 256
  var vocabulary = 128256
  /// The MLP's width, where it does not follow.
  var width: Int?
  /// Features of a head, where they are not the hidden ones divided by the heads.
  var headSize: Int?
  var tiesEmbeddings = false

  static let llama3 = [
    TorchtitanFlavor(name: "debugmodel", hidden: 256, layers: 6, heads: 16, keyValueHeads: 16, vocabulary: 2048),
    TorchtitanFlavor(name: "8B", hidden: 4096, layers: 32, heads: 32, keyValueHeads: 8, widening: 1.3, multiple: 1024),
    TorchtitanFlavor(name: "70B", hidden: 8192, layers: 80, heads: 64, keyValueHeads: 8, widening: 1.3, multiple: 4096),
    TorchtitanFlavor(name: "405B", hidden: 16384, layers: 126, heads: 128, keyValueHeads: 8, widening: 1.2, multiple: 4096),
  ]

  static let llama2 =
    [
      (name: "271M", hidden: 1024, layers: 16, heads: 8), ("1B", 2048, 18, 16), ("7B", 4096, 32, 32), ("13B", 5120, 40, 40), ("26B", 5120, 80, 40),
    ].map { sizes in
      var flavor = TorchtitanFlavor(
        name: sizes.name, hidden: sizes.hidden, layers: sizes.layers, heads: sizes.heads, keyValueHeads: sizes.heads, vocabulary: 32000)
      flavor.family = "llama2"
      return flavor
    } + [
      TorchtitanFlavor(
        family: "llama2", name: "70B", hidden: 8192, layers: 80, heads: 64, keyValueHeads: 8, widening: 1.3, multiple: 4096, vocabulary: 32000)
    ]

  /// Those without experts.
  static let qwen3 = [
    (name: "0.6B", hidden: 1024, layers: 28, heads: 16, width: 3072, isTied: true), ("1.7B", 2048, 28, 16, 6144, true),
    ("4B", 2560, 36, 32, 9728, true), ("8B", 4096, 36, 32, 12288, false), ("14B", 5120, 40, 40, 17408, false), ("32B", 5120, 64, 64, 25600, false),
  ].map { sizes in
    var flavor = TorchtitanFlavor(
      family: "qwen3", name: sizes.name, hidden: sizes.hidden, layers: sizes.layers, heads: sizes.heads, keyValueHeads: 8, vocabulary: 151936)
    (flavor.width, flavor.headSize, flavor.tiesEmbeddings) = (sizes.width, 128, sizes.isTied)
    return flavor
  }

  private static let families = ["llama3": llama3, "llama2": llama2, "qwen3": qwen3]

  /// What the flavours of a model are called; nil for one that is not known.
  static func names(of model: String) -> [String]? { families[model]?.map(\.name) }

  /// The flavour of a name; kernels of attention, which some names end with, change no size.
  init?(model: String, flavor: String) {
    guard let flavors = Self.families[model] else { return nil }
    let plain = flavor.split(separator: "_").first.map(String.init) ?? flavor
    let suffix = flavor.dropFirst(plain.count)
    guard let known = flavors.first(where: { $0.name == plain }), ["", "_flex", "_varlen", "_flex_attn", "_varlen_attn"].contains(suffix) else {
      return nil
    }
    self = known
  }

  private init(
    family: String = "llama3", name: String, hidden: Int, layers: Int, heads: Int, keyValueHeads: Int, widening: Double = 1, multiple: Int = 256,
    vocabulary: Int = 128256
  ) {
    self.family = family
    (self.name, self.hidden, self.layers, self.heads, self.keyValueHeads) = (name, hidden, layers, heads, keyValueHeads)
    (self.widening, self.multiple, self.vocabulary) = (widening, multiple, vocabulary)
  }

  /// The width of the MLP (`FeedForward.__init__`): each step rounds down, the last one up.
  var ffn: Int {
    if let width { return width }
    let width = Int(widening * Double(2 * 4 * hidden / 3))
    return (width + multiple - 1) / multiple * multiple
  }

  /// - Parameter positions: the job's sequence, which is the model's longest (`update_from_config`).
  /// - Throws: `ModelError`.
  func graph(positions: Int) throws -> Graph {
    var model = LlamaConfiguration()
    model.name = "\(family)-\(name)"
    (model.vocabulary, model.maximumPositions, model.hidden, model.layers, model.ffn) = (vocabulary, positions, hidden, layers, ffn)
    (model.heads, model.keyValueHeads, model.headSize) = (heads, keyValueHeads, headSize ?? hidden / heads)
    (model.tiesEmbeddings, model.epsilon) = (tiesEmbeddings, 1e-5)
    switch family {
    case "llama2": model.rotary = RotaryParameters(base: 10_000)
    case "qwen3":
      model.rotary = RotaryParameters(base: 1_000_000)
      (model.normalisesQueriesAndKeys, model.epsilon) = (true, 1e-6)
    default:
      model.rotary = RotaryParameters(
        base: 500_000, scaling: .init(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192))
    }
    return try model.graph()
  }

  /// The flavour whose operators and sizes a graph has, whatever it is called; nil where none has them.
  static func of(_ graph: Graph) -> TorchtitanFlavor? {
    func extent(_ name: String) -> Int? { graph.axes.first { $0.name == name }?.extent }
    let layers = graph.segments.indices.filter(graph.holdsLayers).reduce(0) { $0 + graph.segments[$1].repeats }
    guard let queries = extent("queries") else { return nil }
    return llama3.first { flavor in
      extent("hidden") == flavor.hidden && extent("vocab") == flavor.vocabulary && extent("ffn") == flavor.ffn
        && extent("kv_heads") == flavor.keyValueHeads && queries * flavor.keyValueHeads == flavor.heads && layers == flavor.layers
        && isLlama(graph)
    }
  }

  /// Whether all operators are those of a Llama without biases and dropout, and with a head of its own.
  private static func isLlama(_ graph: Graph) -> Bool {
    let known: Set = [
      "embed_tokens", "input_layernorm", "q_proj", "k_proj", "v_proj", "rotary_q", "rotary_k", "core", "o_proj", "residual",
      "post_attention_layernorm", "gate_proj", "act", "up_proj", "multiply", "down_proj", "norm", "lm_head", "loss",
    ]
    let names = Set(graph.operators.map { $0.name.split(separator: ".").last.map(String.init) ?? $0.name })
    let isTied = graph.tensors.indices.contains { graph.tensors[$0].isParameter && graph.consumers[$0].count > 1 }
    return names == known && !isTied
  }
}
