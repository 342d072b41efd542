// SPDX-License-Identifier: GPL-3.0-or-later

/// What is known of Megatron-LM's options (megatron/training/arguments.py and the configuration classes whose fields become options, of August 2026;
/// options of earlier versions that scripts still have).
enum MegatronFlags {
  /// Options that say what is priced, by how many values they take: none, one, or one and more.
  enum Values: Hashable {
    case none, one, many
  }

  static let read: [(flag: String, values: Values)] = [
    // The split.
    ("--tensor-model-parallel-size", .one), ("--pipeline-model-parallel-size", .one), ("--context-parallel-size", .one),
    ("--expert-model-parallel-size", .one), ("--expert-tensor-parallel-size", .one), ("--sequence-parallel", .none),
    ("--num-layers-per-virtual-pipeline-stage", .one), ("--num-virtual-stages-per-pipeline-rank", .one), ("--pipeline-model-parallel-layout", .one),
    ("--decoder-first-pipeline-num-layers", .one), ("--decoder-last-pipeline-num-layers", .one),
    ("--account-for-embedding-in-pipeline-split", .none), ("--account-for-loss-in-pipeline-split", .none), ("--cp-comm-type", .many),
    ("--microbatch-group-size-per-virtual-pipeline-stage", .one), ("--no-overlap-p2p-communication", .none),
    // Replicas.
    ("--use-distributed-optimizer", .none), ("--use-megatron-fsdp", .none), ("--use-custom-fsdp", .none), ("--use-torch-fsdp2", .none),
    ("--torch-fsdp2-no-reshard-after-forward", .none), ("--data-parallel-sharding-strategy", .one), ("--overlap-grad-reduce", .none),
    ("--overlap-param-gather", .none), ("--ckpt-format", .one),
    // What backward does again.
    ("--recompute-activations", .none), ("--recompute-granularity", .one), ("--recompute-method", .one), ("--recompute-num-layers", .one),
    ("--recompute-modules", .many), ("--distribute-saved-activations", .none),
    // The job.
    ("--micro-batch-size", .one), ("--global-batch-size", .one), ("--seq-length", .one), ("--encoder-seq-length", .one), ("--bf16", .none),
    ("--fp16", .none), ("--optimizer", .one), ("--attention-backend", .one), ("--use-flash-attn", .none), ("--transformer-impl", .one),
    ("--cross-entropy-loss-fusion", .none), ("--cross-entropy-fusion-impl", .one), ("--accumulate-allreduce-grads-in-fp32", .none),
    ("--grad-reduce-in-bf16", .none), ("--tp-comm-overlap", .none),
    // The model.
    ("--num-layers", .one), ("--hidden-size", .one), ("--ffn-hidden-size", .one), ("--num-attention-heads", .one), ("--kv-channels", .one),
    ("--group-query-attention", .none), ("--num-query-groups", .one), ("--max-position-embeddings", .one), ("--vocab-size", .one),
    ("--padded-vocab-size", .one), ("--make-vocab-size-divisible-by", .one), ("--swiglu", .none), ("--squared-relu", .none),
    ("--normalization", .one), ("--norm-epsilon", .one), ("--layernorm-epsilon", .one), ("--position-embedding-type", .one),
    ("--use-rotary-position-embeddings", .none), ("--no-position-embedding", .none), ("--rotary-base", .one), ("--rotary-percent", .one),
    ("--use-rope-scaling", .none), ("--rope-scaling-factor", .one),
    ("--untie-embeddings-and-output-weights", .none), ("--disable-bias-linear", .none), ("--add-qkv-bias", .none), ("--qk-layernorm", .none),
    ("--attention-dropout", .one), ("--hidden-dropout", .one), ("--num-experts", .one), ("--moe-router-topk", .one),
    ("--moe-ffn-hidden-size", .one), ("--moe-layer-freq", .one), ("--moe-shared-expert-intermediate-size", .one),
    ("--moe-shared-expert-gate", .none), ("--moe-token-dispatcher-type", .one),
  ]

  /// Options with a part in the step or its memory that has no price here.
  static let unpriced: [(flag: String, why: String)] = [
    ("--fp8-format", "products in 8 bits are not priced; the step is that of 16 bits"),
    ("--fp4-format", "products in 4 bits are not priced; the step is that of 16 bits"),
    ("--overlap-moe-expert-parallel-comm", "the tokens' way to experts is priced as if nothing hid it"),
    ("--moe-shared-expert-overlap", "the tokens' way to experts is priced as if nothing hid it"),
    ("--cpu-offloading-num-layers", "what is moved to the host's memory is priced as if it stayed"),
    ("--fine-grained-activation-offloading", "what is moved to the host's memory is priced as if it stayed"),
    ("--optimizer-cpu-offload", "the optimizer's state is priced as if it were on the device"),
    ("--fp32-residual-connection", "what passes between layers is priced in 16 bits"),
    ("--moe-expert-capacity-factor", "no token is dropped in the price, and tokens spread evenly over the experts"),
    ("--moe-pad-expert-input-to-capacity", "no token is dropped in the price, and tokens spread evenly over the experts"),
    ("--use-precision-aware-optimizer", "the optimizer's state is priced in fp32"),
    ("--num-distributed-optimizer-instances", "the optimizer's state is priced as shared out over all replicas"),
    ("--outer-dp-sharding-strategy", "replicas are priced as one group"),
    ("--enable-full-sharding-in-hsdp", "replicas are priced as one group"),
    ("--rampup-batch-size", "the price is that of the whole batch"),
    ("--step-batch-size-schedule", "the price is that of the whole batch"),
    ("--tensor-parallel-num-weight-shards", "weights are priced as shared out by the tensor-parallel degree alone"),
    ("--expert-tensor-parallel-num-weight-shards", "weights are priced as shared out by the tensor-parallel degree alone"),
    ("--hierarchical-context-parallel-sizes", "sequences are priced as shared out at one level"),
    ("--hybrid-context-parallel", "all sequences are priced as equally long"),
    ("--freeze-all-layers", "all weights are priced as learned"),
    ("--moe-layer-recompute", "experts are priced as computed once; say --recompute-granularity full to have a price of recomputing"),
    ("--use-mup", "the model's scaling has no part in the price"),
    ("--mlp-chunks-for-training", "the MLP is priced whole"),
  ]

  /// Of those, the ones that make room in the devices' memory.
  static let offloading = ["--cpu-offloading-num-layers", "--fine-grained-activation-offloading", "--optimizer-cpu-offload"]

  /// Options of models that no importer builds.
  static let beyondModels: [(flag: String, what: String)] = [
    ("--multi-latent-attention", "multi-head latent attention"), ("--mtp-num-layers", "multi-token prediction"),
    ("--hybrid-layer-pattern", "a hybrid of attention and state-space layers"),
    ("--hybrid-override-pattern", "a hybrid of attention and state-space layers"),
    ("--is-hybrid-model", "a hybrid of attention and state-space layers"),
    ("--window-size", "attention within a window"), ("--experimental-attention-variant", "another attention"),
    ("--linear-attention-freq", "linear attention"), ("--heterogeneous-layers-config-path", "layers that differ"),
    ("--heterogeneous-layers-config-encoded-json", "layers that differ"), ("--quick-geglu", "a gated GELU"), ("--gated-linear-unit", "a gated GELU"),
    ("--encoder-num-layers", "an encoder"), ("--decoder-num-layers", "an encoder and a decoder"), ("--enable-mhc-connections", "hyper-connections"),
    ("--apply-residual-connection-post-layernorm", "residuals behind the norms"), ("--moe-latent-size", "experts of a smaller width"),
    ("--attention-output-gate", "gated attention"), ("--vision-pretraining", "a vision model"), ("--no-rope-freq", "layers without positions"),
    ("--rotary-seq-len-interpolation-factor", "interpolated positions"),
  ]

  /// Options that were taken out, with what stands for them.
  static let removed: [(flag: String, instead: String)] = [
    ("--batch-size", "--micro-batch-size"), ("--model-parallel-size", "--tensor-model-parallel-size"),
    ("--checkpoint-activations", "--recompute-activations, or --recompute-granularity full --recompute-method uniform --recompute-num-layers 1"),
    ("--warmup", "--lr-warmup-fraction"), ("--intermediate-size", "--ffn-hidden-size"),
    ("--activations-checkpoint-method", "--recompute-granularity full --recompute-method uniform --recompute-num-layers 1"),
    ("--activations-checkpoint-num-layers", "--recompute-num-layers"), ("--hybrid-attention-ratio", "--hybrid-layer-pattern"),
    ("--hybrid-mlp-ratio", "--hybrid-layer-pattern"), ("--encoder-tensor-model-parallel-size", "--tensor-model-parallel-size"),
    ("--encoder-pipeline-model-parallel-size", "--pipeline-model-parallel-size"), ("--fp8-e4m3", "--fp8-format e4m3"),
    ("--fp8-hybrid", "--fp8-format hybrid"), ("--img-dim", "--img-h and --img-w"),
    ("--override-lr-scheduler", "--override-opt_param-scheduler"), ("--use-checkpoint-lr-scheduler", "--use-checkpoint-opt_param-scheduler"),
  ]

  /// Options of earlier versions (2021 to 2025) that are gone, and for which nothing stands.
  static let former = Set(
    """
    DDP-impl disable-chunked-prefill enable-one-logger grpo-default-temperature grpo-default-top-p
    inference-dynamic-batching-buffer-guaranteed-fraction inference-dynamic-batching-buffer-overflow-factor
    inference-dynamic-batching-chunk-size inference-dynamic-batching-max-requests-override inference-dynamic-batching-max-tokens-override
    inference-max-batch-size initialize-socket-comms langrl-inference-server-conversation-template langrl-inference-server-type legacy-tokenizer
    load-model-opt-format moe-extended-tp moe-token-dropping moe-use-legacy-grouped-gemm no-clone-scatter-output-in-embedding one-logger-entity
    overlap-p2p-communication pipeline-model-parallel-split-rank renormalize-blend-weights retriever-seq-length retro-add-retriever
    retro-attention-gate retro-cyclic-train-iters retro-encoder-attention-dropout retro-encoder-hidden-dropout retro-encoder-layers
    retro-no-verify-neighbor-count retro-num-neighbors retro-num-retrieved-chunks retro-project-dir retro-return-doc-ids retro-workdir
    rl-calculate-intra-group-similarity rl-offload-kv-cache-during-training rl-remove-kv-cache-during-training rl-reset-cuda-graphs s3-cache-path
    test-mode tiktoken-special-tokens use-contiguous-buffers-in-ddp
    """.split(whereSeparator: \.isWhitespace).map { "--" + $0 })

  /// Every option that is known.
  static let known: Set<String> = Set(read.map(\.flag) + unpriced.map(\.flag) + beyondModels.map(\.flag) + removed.map(\.flag)).union(harmless)

  /// Whether an option switches another off (`argparse.BooleanOptionalAction`); none of those has a part in the step.
  static func isOff(_ name: String) -> Bool {
    ["--no-rl-", "--no-inference-"].contains { name.hasPrefix($0) } && harmless.contains("--" + name.dropFirst(5))
  }

  /// Options of launchers: `torchrun`, `python -m torch.distributed.launch`, `deepspeed`, `srun`.
  static let devicesPerNode: Set<String> = [
    "--nproc_per_node", "--nproc-per-node", "--num_gpus", "--gpus-per-node", "--ntasks-per-node", "--npernode",
  ]
  static let nodes: Set<String> = ["--nnodes", "--num_nodes", "--nodes", "-N"]
  static let processes: Set<String> = ["-np", "--np", "-n", "--ntasks"]
}
