// SPDX-License-Identifier: GPL-3.0-or-later

/// The settings of a DeepSpeed configuration.
///
/// Source: deepspeedai/DeepSpeed @edaa7221, `deepspeed/runtime/config.py`, `runtime/constants.py`, `runtime/zero/config.py`, `runtime/zero/offload_config.py`,
/// `runtime/precision_config.py`, `runtime/activation_checkpointing/config.py`, `runtime/tensor_parallel/config.py`, `docs/_pages/config-json.md`.
enum DeepSpeedKeys {
  static let sections: [String: String] = [
    "":
      "train_batch_size train_micro_batch_size_per_gpu gradient_accumulation_steps managed_gradient_accumulation steps_per_print gradient_clipping "
      + "communication_data_type seq_parallel_communication_data_type prescale_gradients gradient_predivide_factor gradient_allreduce_op "
      + "sparse_gradients zero_optimization zero_allow_untested_optimizer zero_force_ds_cpu_optimizer wall_clock_breakdown memory_breakdown dump_state "
      + "disable_allgather vocabulary_size sequence_parallel_size use_data_before_expert_parallelism graph_harvesting dataloader_drop_last log_level "
      + "allgather_size zero_allow_comm_data_type_fp32",
    "optimizer": "type params legacy_fusion",
    "fp16":
      "enabled auto_cast loss_scale initial_scale_power loss_scale_window hysteresis consecutive_hysteresis min_loss_scale fp16_master_weights_and_grads",
    "bf16": "enabled immediate_grad_update check_grad_overflow bf16_master_weights_and_grads bf16_optimizer_states",
    "bfloat16": "enabled immediate_grad_update check_grad_overflow bf16_master_weights_and_grads bf16_optimizer_states",
    "torch_autocast": "enabled dtype lower_precision_safe_modules",
    "data_types": "grad_accum_dtype param_dtype buffer_dtype",
    "zero_optimization":
      "stage contiguous_gradients reduce_scatter reduce_bucket_size use_multi_rank_bucket_allreduce allgather_partitions allgather_bucket_size "
      + "overlap_comm load_from_fp32_weights elastic_checkpoint sub_group_size cpu_offload_param cpu_offload_use_pin_memory cpu_offload "
      + "stage3_prefetch_bucket_size stage3_param_persistence_threshold stage3_model_persistence_threshold stage3_max_live_parameters "
      + "stage3_max_reuse_distance stage3_gather_16bit_weights_on_model_save stage3_gather_fp16_weights_on_model_save "
      + "stage3_module_granularity_threshold stage3_use_all_reduce_for_fetch_params stage3_allgather_sequential prefetch_bucket_size "
      + "param_persistence_threshold model_persistence_threshold max_live_parameters max_reuse_distance gather_16bit_weights_on_model_save "
      + "module_granularity_threshold use_all_reduce_for_fetch_params allgather_sequential ignore_unused_parameters legacy_stage1 round_robin_gradients "
      + "zero_hpz_partition_size zero_quantized_weights zero_quantized_nontrainable_weights zero_quantized_gradients mics_shard_size "
      + "mics_hierarchical_params_gather memory_efficient_linear pipeline_loading_checkpoint override_module_apply log_trace_cache_warnings "
      + "enable_sanity_checks save_muon_momentum_buffer_in_memory grad_hooks zenflow zeropp_loco_param leaf_module offload_param offload_optimizer",
    "zero_optimization.offload_param": "device nvme_path buffer_count buffer_size max_in_cpu pin_memory",
    "zero_optimization.offload_optimizer":
      "device nvme_path buffer_count pin_memory pipeline_read pipeline_write fast_init ratio super_offload cpuadam_cores_perc",
    "activation_checkpointing":
      "partition_activations number_checkpoints contiguous_memory_optimization synchronize_checkpoint_boundary profile cpu_checkpointing",
    "tensor_parallel":
      "autotp_size tp_overlap_comm dtype tp partition_config preset_model injection_policy_tuple keep_module_on_host kernel_inject "
      + "replace_with_kernel_inject tensor_parallel",
    "pipeline": "stages partition seed_layers activation_checkpoint_interval pipe_partitioned grad_partitioned use_reentrant",
    "expert_parallel":
      "enabled autoep_size expert_tensor_parallel_size preset_model use_grouped_mm disable_triton_grouped_mm moe_layer_pattern router_pattern "
      + "expert_pattern score_func score_apply route_norm route_scale top_k routed_scaling_factor num_expert_groups num_limited_groups "
      + "load_balance_coeff expert_w1 expert_w2 expert_w3 num_experts_attr top_k_attr has_shared_experts shared_experts_pattern combine_impl "
      + "validate_folding_routing",
  ]

  /// Sections that say nothing of a plan: what is in them is not looked at.
  static let apart = [
    "scheduler", "amp", "flops_profiler", "sparse_attention", "data_efficiency", "curriculum_learning", "tensorboard", "wandb", "csv_monitor",
    "comet",
    "comms_logger", "elasticity", "autotuning", "compression_training", "checkpoint", "aio", "hybrid_engine", "compile", "nebula", "datastates",
    "timers",
    "eigenvalue", "progressive_layer_drop", "quantize_training", "weight_quantization", "optimizer.params", "zero_optimization.zenflow",
    "zero_optimization.zeropp_loco_param", "zero_optimization.leaf_module", "tensor_parallel.partition_config", "tensor_parallel.tp",
    "tensor_parallel.tensor_parallel",
  ]

  static let all = Set(
    sections.flatMap { section, keys in keys.split(separator: " ").map { section.isEmpty ? String($0) : "\(section).\($0)" } }
  ).union(apart)

  /// Sections in which DeepSpeed refuses what it does not know (`extra="forbid"`); elsewhere it passes over it.
  static let strict = ["zero_optimization", "fp16", "bf16", "bfloat16", "tensor_parallel"]
}
