// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Strategies

/// What a step does: its batch, its precision, its kernels, its replicas, and what is computed again.
extension MegatronReader {
  mutating func readJob() {
    launch.degrees.microBatchSize = arguments.int("--micro-batch-size", atMost: 1_000_000_000)
    launch.batch = arguments.int("--global-batch-size", atMost: 1_000_000_000)
    launch.sequence = arguments.int("--seq-length", atMost: 1 << 30) ?? arguments.int("--encoder-seq-length", atMost: 1 << 30)
    launch.mode = .train
    launch.precision = arguments.has("--bf16") ? .bf16 : arguments.has("--fp16") ? .fp16 : .fp32
    launch.optimizer = .adamw
    switch arguments.choice("--optimizer", ["adam", "sgd", "muon", "dist_muon", "lion", "soap", "adaptive_muon"]) {
    case "sgd": launch.optimizer = .sgd
    case "adam", nil: break
    case let other?: arguments.find(.ignored, "--optimizer", "the state and work of \(other) are not priced; taken for Adam's")
    }
    let backend = arguments.choice("--attention-backend", ["auto", "flash", "fused", "unfused", "local"])
    let isLocal = arguments.choice("--transformer-impl", ["local", "transformer_engine", "inference_optimized"]) == "local"
    let isUnfused = ["unfused", "local"].contains(backend) || (isLocal && backend == nil && !arguments.has("--use-flash-attn"))
    launch.software.attention = isUnfused ? .unfused : .fused
    guard launch.precision != .fp32 else { return }
    launch.software.crossEntropy = arguments.has("--cross-entropy-loss-fusion") ? .fused : .unfused
    // Under bf16 gradients are added up in fp32 unless they are to be summed in bf16, under fp16 where that is asked for.
    let isWorking = launch.precision == .bf16 ? arguments.has("--grad-reduce-in-bf16") : !arguments.has("--accumulate-allreduce-grads-in-fp32")
    launch.software.gradients = isWorking ? .working : .accumulated
  }

  mutating func readReplicas() {
    var zero = arguments.has("--use-distributed-optimizer") ? ZeROStage.optimizer : .none
    let strategy = arguments.choice("--data-parallel-sharding-strategy", ["no_shard", "optim", "optim_grads", "optim_grads_params"])
    if arguments.has(any: "--use-megatron-fsdp", "--use-custom-fsdp") {
      switch strategy {
      case "no_shard": zero = .none
      case "optim": zero = .optimizer
      case "optim_grads": zero = .gradients
      default: zero = .weights
      }
    } else if strategy != nil {
      arguments.find(.doubtful, "--data-parallel-sharding-strategy", "counts with --use-megatron-fsdp alone")
    }
    if arguments.has("--use-torch-fsdp2") { zero = arguments.has("--torch-fsdp2-no-reshard-after-forward") ? .gradients : .weights }
    launch.degrees.zero = zero
    let isFSDP = zero >= .gradients
    if arguments.has("--overlap-grad-reduce") {
      launch.software.overlap = .weights
      if zero == .optimizer, !arguments.has("--overlap-param-gather") {
        arguments.find(
          .doubtful, "--overlap-grad-reduce",
          "hides the sums of gradients, and without --overlap-param-gather not the gathering of weights; priced as if both were")
      }
    } else if isFSDP {
      // It prefetches by itself.
      launch.software.overlap = .weights
    }
  }

  mutating func readRecompute() {
    var granularity = arguments.choice("--recompute-granularity", ["full", "selective"])
    if arguments.has("--recompute-activations") { granularity = "selective" }
    let method = arguments.choice("--recompute-method", ["uniform", "block"])
    let count = arguments.int("--recompute-num-layers", atLeast: 0, atMost: 1 << 14)
    var recompute = Recompute.none
    switch granularity {
    case "full":
      recompute = .full
      if method == "block" { launch.degrees.recomputedLayers = count }
      if method == "uniform", let count, count > 1 {
        arguments.find(
          .ignored, "--recompute-num-layers", "units of \(count) layers are priced as units of one, which keep more and take less beside")
      }
    case "selective":
      let modules = Set(arguments.values("--recompute-modules"))
      if modules.isEmpty || modules.contains("core_attn") {
        recompute = .selective
      } else if !modules.isDisjoint(with: ["layernorm", "moe_act", "mlp"]) {
        recompute = .elementwise
      }
      let exact: [Set<String>] = [[], ["core_attn"], ["layernorm", "moe_act"]]
      if !exact.contains(modules) {
        arguments.find(.ignored, "--recompute-modules", "\(modules.sorted().joined(separator: " ")): priced as \(recompute.inWords)")
      }
    default: break
    }
    // What its sequence parallelism gathers it gathers again in the backward pass (Korthikanti et al. 2022, §4.2.2).
    launch.degrees.recompute = launch.degrees.isSequenceParallel && launch.degrees.recomputedLayers == nil ? recompute.gathering : recompute
  }
}

extension Recompute {
  fileprivate var inWords: String {
    switch self {
    case .none: "if nothing were computed again"
    case .selective: "if attention alone were computed again"
    default: "if norms and activation functions were computed again"
    }
  }
}
