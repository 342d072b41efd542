// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Testing

@testable import ModelGraph

/// What is refused, and that the message says where and why.
@Suite struct RefusalTests {
  private static let cases: [(config: String, key: String, value: JSON, message: String)] = [
    (Tiny.gpt2, "model_type", "mamba", "config.json: $.model_type: \"mamba\" is not supported; supported: gpt2, llama, mistral, qwen2,"),
    (Tiny.gpt2, "architectures", ["GPT2DoubleHeadsModel"], "$.architectures[0]"),
    (Tiny.gpt2, "activation_function", "laplace", "$.activation_function"),
    (Tiny.gpt2, "scale_attn_by_inverse_layer_idx", true, "$.scale_attn_by_inverse_layer_idx"),
    (Tiny.gpt2, "scale_attn_weights", false, "$.scale_attn_weights"),
    (Tiny.gpt2, "add_cross_attention", true, "$.add_cross_attention"),
    (Tiny.gpt2, "n_head", 3, "$.n_head: found 3, expected a divisor of n_embd, 8"),
    (Tiny.gpt2, "n_layer", 0, "$.n_layer"),
    (Tiny.gpt2, "n_layer", .null, "$.n_layer"),
    (Tiny.gpt2, "n_embd", 1e30, "$.n_embd"),
    (Tiny.gpt2, "resid_pdrop", 1, "$.resid_pdrop"),
    (Tiny.gpt2, "n_heads", 2, "$.n_heads: unknown key; did you mean"),
    (Tiny.gpt2, "workload", ["batch": 1, "sequence": 17], "$.workload.sequence: found 17, expected at most 16"),
    (Tiny.gpt2, "workload", ["batch": 1, "seq": 8], "$.workload.seq"),
    (Tiny.gpt2, "quantization_config", ["quant_method": "gptq"], "$.quantization_config"),
    (Tiny.llama, "rope_scaling", ["type": "linear", "factor": 2.0], "$.rope_scaling.type"),
    (Tiny.llama, "rope_scaling", ["rope_type": "yarn", "factor": 2.0], "$.rope_scaling.rope_type"),
    (Tiny.llama, "rope_scaling", ["rope_type": "llama3", "factor": 2.0], "low_freq_factor"),
    (Tiny.llama, "rope_scaling", ["factor": 2.0], "$.rope_scaling.factor"),
    (Tiny.llama, "rope_parameters", ["rope_type": "dynamic", "rope_theta": 10000], "$.rope_parameters.rope_type"),
    (Tiny.llama, "partial_rotary_factor", 0.5, "$.partial_rotary_factor"),
    (Tiny.llama, "num_key_value_heads", 3, "$.num_key_value_heads"),
    (Tiny.llama, "head_dim", 3, "$.head_dim"),
    (Tiny.llama, "hidden_act", "gelu_10", "$.hidden_act"),
    (Tiny.llama, "sliding_window", 4, "$.sliding_window"),
    (Tiny.qwen2, "use_sliding_window", true, "$.use_sliding_window"),
    (Tiny.qwen2, "layer_types", ["full_attention", "sliding_attention"], "$.layer_types[1]"),
    (Tiny.qwen3, "use_sliding_window", true, "$.use_sliding_window"),
    (Tiny.qwen3, "mlp_bias", true, "$.mlp_bias: unknown key"),
    (Tiny.qwen3, "partial_rotary_factor", 0.5, "$.partial_rotary_factor: 0.5 is not supported"),
    (Tiny.gemma, "hidden_activation", "gelu", "$.hidden_activation"),
    (Tiny.gemma, "hidden_act", "silu", "$.hidden_act"),
    (Tiny.gemma, "use_bidirectional_attention", true, "$.use_bidirectional_attention"),
    (Tiny.gemma, "head_dim", .null, "$.head_dim"),
    (Tiny.phi3, "rope_scaling", ["type": "longrope", "short_factor": [1.0], "long_factor": [2.0]], "$.rope_scaling.type"),
    (Tiny.phi3, "partial_rotary_factor", 0.75, "$.partial_rotary_factor: found 0.75, expected a share that leaves an even number"),
    (Tiny.phi3, "rope_parameters", ["rope_type": "default", "partial_rotary_factor": 1.0], "$.rope_parameters.partial_rotary_factor: found 1.0"),
    (Tiny.gptNeoX, "rotary_pct", 1.5, "$.rotary_pct: found 1.5"),
    (Tiny.gptNeoX, "rotary_pct", 1e300, "$.rotary_pct"),
    (Tiny.gptNeoX, "rope_scaling", ["type": "linear", "factor": 2.0], "$.rope_scaling.type"),
    (Tiny.gptNeoX, "is_decoder", true, "$.is_decoder"),
    (Tiny.opt, "word_embed_proj_dim", 4, "$.word_embed_proj_dim: the number 4 is not supported"),
    (Tiny.opt, "layerdrop", 0.1, "$.layerdrop"),
    (Tiny.opt, "layer_norm_elementwise_affine", false, "$.layer_norm_elementwise_affine"),
    (Tiny.bert, "position_embedding_type", "relative_key", "$.position_embedding_type"),
    (Tiny.bert, "is_decoder", true, "$.is_decoder"),
    (Tiny.bert, "pruned_heads", ["0": [1]], "$.pruned_heads"),
    (Tiny.bert, "architectures", ["BertForPreTraining"], "$.architectures[0]"),
    (Tiny.clip, "architectures", ["CLIPTextModel"], "$.architectures[0]"),
    (Tiny.clip, "text_config", ["hidden_size": 8, "num_attention_heads": 3], "$.text_config.num_attention_heads: found 3"),
    (Tiny.clip, "text_config", ["model_type": "bert"], "$.text_config.model_type"),
    (Tiny.clip, "vision_config", ["patch_size": 5], "$.vision_config.patch_size"),
    (Tiny.clip, "vision_config", ["use_head": true], "$.vision_config.use_head: unknown key"),
    (Tiny.clip, "workload", ["batch": 1, "sequence": 17], "$.workload.sequence: found 17, expected at most 16"),
    (Tiny.vit, "patch_size", 5, "$.patch_size"),
    (Tiny.vit, "num_labels", 4, "$.num_labels: found 4, expected 3, the entries of id2label"),
    (Tiny.vit, "id2label", ["0": "score"], "$.id2label"),
    (Tiny.vit, "problem_type", "multi_label_classification", "$.problem_type"),
    (Tiny.vit, "workload", ["batch": 1, "sequence": 8], "$.workload.sequence"),
  ]

  @Test("A key's value that is not implemented is refused by its path", arguments: cases)
  func refused(config: String, key: String, value: JSON, message: String) throws {
    _ = try ModelReader.decode(configuration(config))
    let node = try setting(key, value, in: config)
    let error = #expect(throws: (any Error).self) { try ModelReader.decode(node) }
    let text = error.map { "\($0)" } ?? ""
    #expect(text.hasPrefix("config.json: ") && text.contains(message), "\(text)")
  }

  @Test("A model with a window of attention has as many positions as no sequence feels it with; Mistral's is 4096 where the file says nothing")
  func slidingWindow() throws {
    let absent = try setting("sliding_window", nil, in: Tiny.mistral)
    #expect(try ModelReader.decode(absent).maximumSequence == 16)
    let long = Tiny.mistral.replacing("\"max_position_embeddings\": 16", with: "\"max_position_embeddings\": 8192")
    #expect(try ModelReader.decode(setting("sliding_window", nil, in: long)).maximumSequence == 4096)
    for (window, positions) in [(8192, 8192), (100, 100), (9000, 8192)] {
      #expect(try ModelReader.decode(setting("sliding_window", .int(window), in: long)).maximumSequence == positions)
    }
    for config in [Tiny.phi3, Tiny.mixtral] { #expect(try ModelReader.decode(setting("sliding_window", 5, in: config)).maximumSequence == 5) }
    let workload = try setting("workload", ["sequence": 32], in: Tiny.mistral)
    #expect(throws: (any Error).self) { try ModelReader.decode(workload) }
  }

  @Test("A file that is neither format is refused with what is expected", arguments: ["{}", "{\"name\": \"x\"}", "[1]", "{\"format\": \"onnx\"}"])
  func unrecognised(text: String) throws {
    let node = try configuration(text)
    let error = #expect(throws: (any Error).self) { try ModelReader.decode(node) }
    #expect("\(try #require(error))".hasPrefix("config.json: "))
  }

  @Test("A model whose sizes overflow is refused by name")
  func overflow() throws {
    let huge = "{\"model_type\": \"llama\", \"hidden_size\": 16777216, \"intermediate_size\": 16777216, \"num_hidden_layers\": 16384}"
    let error = #expect(throws: ModelError.self) { try ModelReader.decode(configuration(huge)) }
    #expect("\(try #require(error))".hasPrefix("config.json: model.layers.{i}"))
  }
}

@Suite struct FolderTests {
  @Test("A folder without a config.json is said to be one")
  func withoutConfiguration() throws {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path
    let reason = "it is a folder without a config.json or a model.onnx; name a model's file in it"
    #expect(throws: DocumentError.unreadable(file: folder, reason: reason)) { try ModelReader.read(folder) }
  }
}
