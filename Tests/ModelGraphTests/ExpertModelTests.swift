// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Testing

@testable import ModelGraph

extension Tiny {
  static let mixtral = """
    {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
     "num_hidden_layers": 2, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20, "num_local_experts": 6}
    """
  static let qwen2MoE = """
    {"model_type": "qwen2_moe", "architectures": ["Qwen2MoeForCausalLM"], "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
     "num_hidden_layers": 2, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20, "num_experts": 6, "num_experts_per_tok": 3,
     "moe_intermediate_size": 5, "shared_expert_intermediate_size": 7}
    """
  static let qwen3MoE = """
    {"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
     "head_dim": 6, "num_hidden_layers": 2, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20, "num_experts": 6,
     "num_experts_per_tok": 3, "moe_intermediate_size": 5, "norm_topk_prob": true}
    """
}

/// Models with mixtures of experts.
@Suite struct ExpertModelTests {
  private func graph(_ text: String) throws -> Graph { try ModelReader.decode(configuration(text)) }

  /// 32 · (2·4096² + 2·4096·1024 + 8·3·4096·14336 + 8·4096 + 2·4096) + 2·32000·4096 + 4096, the figure of the checkpoint's index.
  @Test("Oracle: the parameters of the published checkpoint")
  func mixtral8x7B() throws {
    #expect(try ModelReader.read(modelFile("mixtral-8x7b.json")).graph.parameterCount == 46_702_792_704)
  }

  /// The counts that Alpa's benchmark printed, in billions: 2.383, 10.1696 and 26.6481.
  @Test(
    "Oracle: the parameters of Alpa's mixtures of experts",
    arguments: [("gpt-moe-2.4b", 2.383), ("gpt-moe-10b", 10.1696), ("gpt-moe-27b", 26.6481)])
  func gptMoE(file: String, billions: Double) throws {
    let graph = try ModelReader.read(modelFile("\(file).json")).graph
    #expect(abs(Double(graph.parameterCount) / 1e9 / billions - 1) < 1e-3)
    #expect(graph.segments.map(\.repeats) == [1, 8, 1])
  }

  @Test("Oracle: one stored tensor for each expert, by the library's names")
  func storedTensors() throws {
    for (config, layer, products, shapes) in [
      (Tiny.mixtral, "block_sparse_moe", ["w1", "w3", "w2"], [[12, 8], [12, 8], [8, 12]]),
      (Tiny.qwen2MoE, "mlp", ["gate_proj", "up_proj", "down_proj"], [[5, 8], [5, 8], [8, 5]]),
      (Tiny.qwen3MoE, "mlp", ["gate_proj", "up_proj", "down_proj"], [[5, 8], [5, 8], [8, 5]]),
    ] {
      let graph = try graph(config)
      for (product, shape) in zip(products, shapes) {
        let name = "model.layers.{i}.\(layer).experts.{j}.\(product).weight"
        let id = try #require(graph.tensors.firstIndex { $0.name == name })
        let source = try #require(graph.tensors[id].parameter)
        #expect(graph.shape(id) == [6] + shape && source.checkpointShape == shape && source.isStacked)
        #expect(source.element(4).checkpointName == name.replacing("{j}", with: "4") && source.strides == [0, shape[1], 1])
      }
    }
    let shared = try graph(Tiny.qwen2MoE).tensors.filter { $0.name.contains("shared_expert") && $0.isParameter }
    #expect(
      shared.map { $0.parameter?.checkpointShape } == [[7, 8], [7, 8], [8, 7], [1, 8]]
        && shared.last?.name == "model.layers.{i}.mlp.shared_expert_gate.weight")
  }

  @Test("Oracle: the parameters of published checkpoints", arguments: published)
  func publishedCounts(parameters: Int, config: String) throws { #expect(try graph(config).parameterCount == parameters) }

  /// The configurations of the files on the Hugging Face Hub, and the counts of their indices.
  private static let published = [
    (
      14_315_784_192,
      """
      {"_name_or_path": "Qwen/Qwen1.5-MoE-A2.7B", "architectures": ["Qwen2MoeForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 151643,
       "decoder_sparse_step": 1, "eos_token_id": 151643, "hidden_act": "silu", "hidden_size": 2048, "initializer_range": 0.02,
       "intermediate_size": 5632, "max_position_embeddings": 8192, "max_window_layers": 21, "model_type": "qwen2_moe",
       "moe_intermediate_size": 1408, "norm_topk_prob": false, "num_attention_heads": 16, "num_experts": 60, "num_experts_per_tok": 4,
       "num_hidden_layers": 24, "num_key_value_heads": 16, "output_router_logits": false, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0,
       "router_aux_loss_coef": 0.001, "shared_expert_intermediate_size": 5632, "sliding_window": 32768, "tie_word_embeddings": false,
       "torch_dtype": "bfloat16", "transformers_version": "4.39.0.dev0", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936}
      """
    ),
    (
      30_532_122_624,
      """
      {"_name_or_path": "Qwen/Qwen3-30B-A3B", "architectures": ["Qwen3MoeForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
       "bos_token_id": 151643, "decoder_sparse_step": 1, "eos_token_id": 151645, "head_dim": 128, "hidden_act": "silu", "hidden_size": 2048,
       "initializer_range": 0.02, "intermediate_size": 6144, "max_position_embeddings": 40960, "max_window_layers": 48, "mlp_only_layers": [],
       "model_type": "qwen3_moe", "moe_intermediate_size": 768, "norm_topk_prob": true, "num_attention_heads": 32, "num_experts": 128,
       "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4, "output_router_logits": false, "rms_norm_eps": 1e-06,
       "rope_scaling": null, "rope_theta": 1000000.0, "router_aux_loss_coef": 0.001, "sliding_window": null, "tie_word_embeddings": false,
       "torch_dtype": "bfloat16", "transformers_version": "4.51.0", "use_cache": true, "use_sliding_window": false, "vocab_size": 151936}
      """
    ),
  ]

  @Test("The slots follow the sequence: every route has a place, evenly, and no expert has more")
  func slots() throws {
    // 16 positions · 2 of 6 experts: 32 routes, 6 places at each.
    for (sequence, places) in [(16, 6), (12, 4), (13, 5), (1, 1)] {
      let graph = try graph(Tiny.mixtral).sized(batch: 3, sequence: sequence)
      let sent = try #require(graph.operators.first { $0.kind == .dispatch }?.result)
      #expect(graph.shape(sent) == [6, 3, places, 8])
    }
  }

  @Test("The weights of the chosen experts add up to 1 where the file says so")
  func renormalisation() throws {
    func renormalises(_ node: Node) throws -> [Bool] {
      try ModelReader.decode(node).operators.compactMap { if case .route(_, let renormalises) = $0.kind { renormalises } else { nil } }
    }
    #expect(try renormalises(configuration(Tiny.mixtral)) == [true])
    #expect(try renormalises(configuration(Tiny.qwen2MoE)) == [false])
    #expect(try renormalises(setting("norm_topk_prob", true, in: Tiny.qwen2MoE)) == [true])
  }

  private static let refused: [(config: String, key: String, value: JSON, message: String)] = [
    (Tiny.mixtral, "output_router_logits", true, "$.output_router_logits: true is not supported"),
    (Tiny.mixtral, "router_jitter_noise", 0.1, "$.router_jitter_noise"),
    (Tiny.mixtral, "num_experts_per_tok", 7, "$.num_experts_per_tok: found 7, expected at most num_local_experts, 6"),
    (Tiny.qwen2MoE, "decoder_sparse_step", 2, "$.decoder_sparse_step"),
    (Tiny.qwen2MoE, "mlp_only_layers", [0], "$.mlp_only_layers"),
    (Tiny.qwen2MoE, "num_experts_per_tok", 7, "$.num_experts_per_tok"),
  ]

  @Test("What would change the numbers and is not implemented is refused by its path", arguments: refused)
  func refusals(config: String, key: String, value: JSON, message: String) throws {
    let error = #expect(throws: (any Error).self) { try ModelReader.decode(try setting(key, value, in: config)) }
    #expect(error.map { "\($0)" }?.contains(message) == true, "\(String(describing: error))")
  }

  @Test("Operators that do not belong together are refused by name")
  func shapes() throws {
    func message(_ build: (inout GraphBuilder, Parts) -> Void) -> String {
      var builder = GraphBuilder(name: "shapes")
      let parts = Parts(&builder)
      builder.begin(segment: "all")
      build(&builder, parts)
      builder.end()
      do {
        _ = try builder.finish()
        return ""
      } catch { return "\(error)" }
    }
    let right = message { builder, parts in _ = parts.dispatch(&builder) }
    #expect(right.isEmpty, "\(right)")
    #expect(message { builder, parts in _ = parts.dispatch(&builder, topK: 9) }.contains("top_k is at most their number"))
    #expect(message { builder, parts in _ = parts.dispatch(&builder, slotsTopK: 1) }.contains("expected [experts, batch, slots, features]"))
    #expect(
      message { builder, parts in
        let sent = parts.dispatch(&builder)
        let weight = builder.parameter("w", stored: [[parts.hidden], [parts.ffn]])
        _ = builder.apply(.expertLinear, "product", [sent, weight], to: builder.tensors[sent].dimensions.dropLast() + [parts.ffn])
      }.contains("product: multiplies"))
  }

  @Test("What works row by row on slots has rows of its dispatch; nothing has, where something else reads or changes empty rows")
  func rowsOfSlots() throws {
    for config in [Tiny.mixtral, Tiny.qwen2MoE, Tiny.qwen3MoE] {
      let graph = try graph(config)
      let dispatches = graph.operators.indices.filter { graph.operators[$0].kind == .dispatch }
      for (tensor, dispatch) in graph.dispatchOfSlots.enumerated() {
        let hasSlots = graph.tensors[tensor].dimensions.contains { graph.axes[$0].role == .slots }
        #expect(dispatch == (hasSlots ? dispatches[0] : nil), "\(graph.tensors[tensor].name)")
      }
    }
    func count(_ build: (inout GraphBuilder, Parts, _ sent: TensorID) -> TensorID) throws -> Int {
      var builder = GraphBuilder(name: "rows")
      let parts = Parts(&builder)
      builder.begin(segment: "all")
      let sent = parts.dispatch(&builder)
      let result = build(&builder, parts, sent)
      let routed = builder.tensors.firstIndex { $0.name == "route" }
      _ = builder.apply(.combine, "combine", [result, try #require(routed)], to: [parts.batch, parts.positions, parts.hidden])
      builder.end()
      return try builder.finish().dispatchOfSlots.count { $0 != nil }
    }
    #expect(try count { $2 } == 1)
    #expect(try count { builder, _, sent in builder.elementwise(.scale(factor: 2), "scale", sent) } == 2)
    // An empty row that a bias is added to is not empty, and one that a norm reads may not be either.
    #expect(try count { builder, parts, sent in builder.bias("b", sent, builder.parameter("b.bias", stored: [[parts.hidden]])) } == 0)
    #expect(
      try count { builder, parts, sent in
        builder.apply(
          .rmsNorm(epsilon: 1e-5, addsOne: false), "n", [sent, builder.parameter("n.weight", stored: [[parts.hidden]])],
          to: builder.tensors[sent].dimensions)
      } == 0)
  }

  /// The axes of a small mixture of experts.
  private struct Parts {
    let batch, positions, hidden, experts, ffn: AxisID

    init(_ builder: inout GraphBuilder) {
      batch = builder.axis("batch", 2, .batch)
      positions = builder.axis("seq", 8, .sequence)
      hidden = builder.axis("hidden", 4, .feature)
      experts = builder.axis("experts", 4, .experts)
      ffn = builder.axis("ffn", 6, .feature)
    }

    func dispatch(_ builder: inout GraphBuilder, topK: Int = 2, slotsTopK: Int? = nil) -> TensorID {
      let x = builder.elementwise(.activation(.relu), "x", builder.input(.pixelValues, [batch, positions, hidden]))
      let logits = builder.linear("gate", x, from: [hidden], to: [experts], bias: false)
      let routes = builder.axis("routes", 2 * topK, .whole)
      let slots = builder.slots("slots", Axis.Slots(positions: positions, experts: experts, perToken: slotsTopK ?? topK))
      let routed = builder.apply(.route(topK: topK, renormalises: true), "route", [logits], to: [batch, positions, routes])
      return builder.apply(.dispatch, "dispatch", [x, routed], to: [experts, batch, slots, hidden])
    }
  }
}
