// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

@testable import ModelGraph

/// The path of a file in the package's `models/`.
func modelFile(_ name: String) -> String {
  URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("models").appendingPathComponent(name).path
}

/// A configuration as text, read as a file called `config.json`.
func configuration(_ text: String) throws -> Node {
  try Document(file: "config.json", parsing: Array(text.utf8)).root
}

/// A configuration with one member set (or, where the value is nil, removed).
func setting(_ key: String, _ value: JSON?, in text: String) throws -> Node {
  guard case .object(var object) = try configuration(text).value else { throw ModelError.unrecognised(file: "config.json", path: "$") }
  object[key] = value
  return Document(file: "config.json", value: .object(object)).root
}

/// One small configuration of every architecture and head, and of every choice that changes a checkpoint's tensors.
enum Tiny {
  static let gpt2 = """
    {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 8, "n_head": 2, "n_layer": 3, "n_positions": 16, "vocab_size": 20,
     "workload": {"batch": 4, "sequence": 5}}
    """
  static let llama = """
    {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
     "num_hidden_layers": 3, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20}
    """
  static let mistral = """
    {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 1,
     "head_dim": 6, "num_hidden_layers": 2, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20, "sliding_window": null}
    """
  static let qwen2 = """
    {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 4,
     "num_hidden_layers": 2, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20, "tie_word_embeddings": true}
    """
  static let qwen3 = """
    {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
     "head_dim": 6, "num_hidden_layers": 2, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20}
    """
  static let gemma = """
    {"model_type": "gemma", "architectures": ["GemmaForCausalLM"], "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 1,
     "head_dim": 6, "num_hidden_layers": 2, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20}
    """
  static let phi3 = """
    {"model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_size": 16, "num_attention_heads": 4, "num_key_value_heads": 2,
     "num_hidden_layers": 2, "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20, "partial_rotary_factor": 0.5,
     "resid_pdrop": 0.1}
    """
  static let gptNeoX = """
    {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2,
     "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20, "hidden_dropout": 0.1}
    """
  static let opt = """
    {"model_type": "opt", "architectures": ["OPTForCausalLM"], "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 2,
     "ffn_dim": 12, "max_position_embeddings": 16, "vocab_size": 20, "word_embed_proj_dim": 8}
    """
  static let bert = """
    {"model_type": "bert", "architectures": ["BertForMaskedLM"], "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 3,
     "intermediate_size": 12, "max_position_embeddings": 16, "vocab_size": 20}
    """
  static let clip = """
    {"model_type": "clip", "architectures": ["CLIPModel"], "projection_dim": 6, "workload": {"batch": 3, "sequence": 5},
     "text_config": {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 12, "vocab_size": 20,
                     "max_position_embeddings": 16, "eos_token_id": 2},
     "vision_config": {"hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 2, "intermediate_size": 20, "image_size": 12,
                       "patch_size": 4, "num_channels": 2}}
    """
  static let vit = """
    {"model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 3,
     "intermediate_size": 12, "image_size": 12, "patch_size": 4, "num_channels": 2, "hidden_dropout_prob": 0.1,
     "id2label": {"0": "cat", "1": "dog", "2": "bird"}}
    """
  static let llamaWithBiases = llama.replacingOccurrences(
    of: "\"vocab_size\": 20",
    with: """
      "vocab_size": 20, "attention_bias": true, "mlp_bias": true, "rope_scaling":
      {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8}
      """)

  static let all = [
    gpt2, headed(gpt2, "GPT2LMHeadModel", "GPT2Model"), untied(gpt2), llama, headed(llama, "LlamaForCausalLM", "LlamaModel"), llamaWithBiases,
    mistral, qwen2, qwen3, gemma, phi3, gptNeoX, headed(gptNeoX, "\"vocab_size\"", "\"use_parallel_residual\": false, \"vocab_size\""), opt,
    headed(opt, "\"vocab_size\"", "\"do_layer_norm_before\": false, \"vocab_size\""), headed(opt, "OPTForCausalLM", "OPTModel"), bert,
    headed(bert, "BertForMaskedLM", "BertModel"), headed(bert, "BertForMaskedLM", "BertForSequenceClassification"),
    untied(bert), clip, vit, headed(vit, "ViTForImageClassification", "ViTModel"), mixtral, qwen2MoE, qwen3MoE,
  ]

  private static func headed(_ text: String, _ from: String, _ to: String) -> String { text.replacingOccurrences(of: from, with: to) }
  private static func untied(_ text: String) -> String {
    text.replacingOccurrences(of: "\"vocab_size\": 20", with: "\"vocab_size\": 20, \"tie_word_embeddings\": false")
  }
}
