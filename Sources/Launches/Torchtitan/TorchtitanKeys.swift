// SPDX-License-Identifier: GPL-3.0-or-later

/// The settings of a torchtitan job.
///
/// Source: pytorch/torchtitan, `torchtitan/config/job_config.py`, as it was last (before commit 9810191bb, 2026-02-23, since when jobs are Python), and
/// `torchtitan/config_manager.py` of 2024 and 2025 for the older names.
enum TorchtitanKeys {
  static let sections: [String: String] = [
    "job": "config_file dump_folder description print_config save_config_file custom_config_module use_for_integration_test print_args",
    "model": "name flavor hf_assets_path tokenizer_path converters print_after_conversion norm_type use_flex_attn attn_mask_type",
    "optimizer": "name lr beta1 beta2 eps weight_decay implementation early_step_in_backward fused",
    "lr_scheduler": "warmup_steps total_steps decay_ratio decay_type min_lr_factor lr_min",
    "training":
      "dataset dataset_path local_batch_size global_batch_size seq_len max_norm steps enable_cpu_offload dtype mixed_precision_param "
      + "mixed_precision_reduce gc_freq gc_debug seed deterministic dataloader compile warmup_steps data_parallel_type enable_loss_parallel fp8_linear",
    "parallelism":
      "data_parallel_replicate_degree data_parallel_shard_degree fsdp_reshard_after_forward tensor_parallel_degree disable_loss_parallel "
      + "enable_async_tensor_parallel pipeline_parallel_degree module_fqns_per_model_part pipeline_parallel_first_stage_less_layers "
      + "pipeline_parallel_last_stage_less_layers pipeline_parallel_layers_per_stage pipeline_parallel_schedule pipeline_parallel_schedule_csv "
      + "pipeline_parallel_microbatch_size pipeline_parallel_expert_parallel_overlap context_parallel_degree context_parallel_load_balancer "
      + "context_parallel_rotate_method expert_parallel_degree expert_tensor_parallel_degree expert_parallel_comm_backend "
      + "pipeline_parallel_split_points pipeline_parallel_microbatches pipeline_parallel_split_mode enable_compiled_autograd",
    "activation_checkpoint":
      "mode selective_ac_option per_op_sac_force_recompute_mm_shapes_by_fqns early_stop memory_budget visualize_memory_budget_pareto "
      + "preserve_rng_state determinism_check debug",
    "compile": "enable components backend",
    "experimental": "custom_import custom_args_module",
  ]

  /// Sections that say nothing of a plan: what is in them is not looked at.
  static let apart = [
    "profiling", "metrics", "checkpoint", "comm", "memory_estimation", "fault_tolerance", "validation", "debug", "quantize", "float8", "mx",
    "training.dataloader", "optimizers", "flux",
  ]

  static let all = Set(sections.flatMap { section, keys in keys.split(separator: " ").map { "\(section).\($0)" } }).union(apart)

  /// Models whose jobs have no settings but these; the code of others adds its own (`job.custom_config_module`, and later forms of it).
  static let plainModels: Set<String> = ["llama2", "llama3", "llama4", "deepseek_v3", "qwen3", "gpt_oss"]

  /// Older names, with what they are called today.
  static let renamed: [(old: String, new: String)] =
    [
      ("training.batch_size", "training.local_batch_size"),
      ("training.data_parallel_degree", "parallelism.data_parallel_shard_degree"),
      ("training.data_parallel_shard_degree", "parallelism.data_parallel_shard_degree"),
      ("training.data_parallel_replicate_degree", "parallelism.data_parallel_replicate_degree"),
      ("training.pipeline_parallel_degree", "parallelism.pipeline_parallel_degree"),
      ("training.tensor_parallel_degree", "parallelism.tensor_parallel_degree"),
      ("training.disable_loss_parallel", "parallelism.disable_loss_parallel"),
      ("experimental.pipeline_parallel_microbatches", "parallelism.pipeline_parallel_microbatches"),
    ]
    + [
      "enable_async_tensor_parallel", "pipeline_parallel_degree", "pipeline_parallel_split_points", "pipeline_parallel_schedule",
      "pipeline_parallel_schedule_csv", "context_parallel_degree", "context_parallel_rotate_method", "enable_compiled_autograd",
      "pipeline_parallel_split_mode",
    ].map { ("experimental.\($0)", "parallelism.\($0)") }
}
