// SPDX-License-Identifier: GPL-3.0-or-later

extension ConfigurationReader {
  /// Keys that `transformers` writes for every architecture and that do not change what the model computes from given weights and inputs:
  /// where it came from, how it is stored, what its labels are called, which extra results are returned, and how text is generated from it.
  static let harmlessKeys: Set<String> = [
    // Ours: where the figures are published.
    "source",
    // Provenance and storage.
    "_commit_hash", "_name_or_path", "name", "transformers_version", "transformers.js_config", "torch_dtype", "dtype", "tokenizer_class",
    "auto_map", "finetuning_task", "task_specific_params", "model_max_length", "adapters", "unsloth_version", "unsloth_fixed",
    // Which implementation runs, and what it returns beside the result.
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal", "attn_implementation", "gradient_checkpointing",
    "chunk_size_feed_forward", "output_attentions", "output_hidden_states", "output_scores", "return_dict", "return_dict_in_generate",
    "torchscript", "use_bfloat16", "use_cache", "output_past", "tf_legacy_loss",
    // How transformers splits it, which `lint` reads.
    "base_model_tp_plan", "base_model_pp_plan",
    // Initial weights: those of a checkpoint or of the generator are used.
    "initializer_range", "initializer_factor",
    // Labels of a classifier, whose number is read where there is one.
    "id2label", "label2id", "num_labels", "problem_type",
    // Special tokens.
    "bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id", "decoder_start_token_id",
    "forced_bos_token_id", "forced_eos_token_id", "prefix",
    // Text generation.
    "bad_words_ids", "begin_suppress_tokens", "diversity_penalty", "do_sample", "early_stopping", "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty", "length_penalty", "max_length", "max_new_tokens", "min_length", "no_repeat_ngram_size",
    "num_beam_groups", "num_beams", "num_return_sequences", "remove_invalid_values", "repetition_penalty", "suppress_tokens", "temperature",
    "top_k", "top_p", "typical_p",
    // Of models with a second tower or an encoder; no architecture here reads them.
    "cross_attention_hidden_size", "tie_encoder_decoder",
  ]
}
