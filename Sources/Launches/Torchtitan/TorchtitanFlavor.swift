// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// A model that torchtitan has by name.
///
/// Source of the figures: pytorch/torchtitan before commit 9810191bb, `torchtitan/models/llama3/__init__.py` and `model/args.py` (vocabulary, epsilon and
/// rotary scaling are the latter's defaults).
struct TorchtitanFlavor: Hashable, Sendable {
  let name: String
  let hidden: Int
  let layers: Int
  let heads: Int
  let keyValueHeads: Int
  /// The MLP's width before it is rounded up to a multiple: ⅔ · 4 · hidden, times `widening`.
  var widening = 1.0
  var multiple = 256
  var vocabulary = 128256

  static let llama3 = [
    TorchtitanFlavor(name: "debugmodel", hidden: 256, layers: 6, heads: 16, keyValueHeads: 16, vocabulary: 2048),
    TorchtitanFlavor(name: "8B", hidden: 4096, layers: 32, heads: 32, keyValueHeads: 8, widening: 1.3, multiple: 1024),
    TorchtitanFlavor(name: "70B", hidden: 8192, layers: 80, heads: 64, keyValueHeads: 8, widening: 1.3, multiple: 4096),
    TorchtitanFlavor(name: "405B", hidden: 16384, layers: 126, heads: 128, keyValueHeads: 8, widening: 1.2, multiple: 4096),
  ]

  /// The flavour of a name; kernels of attention, which some names end with, change no size.
  init?(model: String, flavor: String) {
    guard model == "llama3" else { return nil }
    let plain = flavor.split(separator: "_").first.map(String.init) ?? flavor
    let suffix = flavor.dropFirst(plain.count)
    guard let known = Self.llama3.first(where: { $0.name == plain }), ["", "_flex", "_varlen", "_flex_attn", "_varlen_attn"].contains(suffix) else {
      return nil
    }
    self = known
  }

  private init(
    name: String, hidden: Int, layers: Int, heads: Int, keyValueHeads: Int, widening: Double = 1, multiple: Int = 256, vocabulary: Int = 128256
  ) {
    (self.name, self.hidden, self.layers, self.heads, self.keyValueHeads) = (name, hidden, layers, heads, keyValueHeads)
    (self.widening, self.multiple, self.vocabulary) = (widening, multiple, vocabulary)
  }

  /// The width of the MLP (`FeedForward.__init__`): each step rounds down, the last one up.
  var ffn: Int {
    let width = Int(widening * Double(2 * 4 * hidden / 3))
    return (width + multiple - 1) / multiple * multiple
  }

  /// - Parameter positions: the job's sequence, which is the model's longest (`update_from_config`).
  /// - Throws: `ModelError`.
  func graph(positions: Int) throws -> Graph {
    var model = LlamaConfiguration()
    model.name = "llama3-\(name)"
    (model.vocabulary, model.maximumPositions, model.hidden, model.layers, model.ffn) = (vocabulary, positions, hidden, layers, ffn)
    (model.heads, model.keyValueHeads, model.headSize) = (heads, keyValueHeads, hidden / heads)
    model.epsilon = 1e-5
    model.rotary = RotaryParameters(
      base: 500_000, scaling: .init(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192))
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
