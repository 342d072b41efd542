// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies

/// The batch, replicas, what is computed again, experts, precision and the environment.
extension MegatronChecks {
  mutating func checkBatch() {
    guard let size = launch.degrees.microBatchSize, let replicas, let batch = launch.batch else { return }
    let part = size.times(replicas)
    if batch % part != 0 {
      illegal(
        "--global-batch-size",
        "\(counted(batch, "sequence")) are no multiple of \(part == .max ? "more" : "\(part)"), --micro-batch-size \(size) × \(counted(replicas, "data replica"))"
      )
    } else if batch / part < stages {
      doubtful(
        "--global-batch-size",
        "\(counted(batch / part, "micro-batch", plural: "micro-batches")) are fewer than the \(stages) stages, most of which wait")
    }
  }

  mutating func checkReplicas() {
    let isFSDP = arguments.has(any: "--use-megatron-fsdp", "--use-custom-fsdp")
    if arguments.has("--overlap-param-gather") {
      if !arguments.has("--use-distributed-optimizer"), !isFSDP { illegal("--overlap-param-gather", "needs --use-distributed-optimizer") }
      if !arguments.has("--overlap-grad-reduce") { illegal("--overlap-param-gather", "needs --overlap-grad-reduce") }
    }
    if isFSDP, let format = arguments.text("--ckpt-format"), format != "fsdp_dtensor" {
      illegal("--ckpt-format", "--use-megatron-fsdp needs fsdp_dtensor, not \(format)")
    } else if isFSDP, command.isWhole, !arguments.has("--ckpt-format") {
      illegal("--use-megatron-fsdp", "needs --ckpt-format fsdp_dtensor")
    }
    guard arguments.has("--use-torch-fsdp2") else { return }
    if stages > 1 { illegal("--use-torch-fsdp2", "does not go with pipeline parallelism") }
    if launch.degrees.expert > 1 { illegal("--use-torch-fsdp2", "does not go with expert parallelism") }
    if arguments.has("--use-distributed-optimizer") { illegal("--use-torch-fsdp2", "does not go with --use-distributed-optimizer") }
    if arguments.has("--fp16") { illegal("--use-torch-fsdp2", "does not go with --fp16") }
    if command.isWhole, !arguments.has("--untie-embeddings-and-output-weights") {
      illegal("--use-torch-fsdp2", "needs --untie-embeddings-and-output-weights")
    }
  }

  mutating func checkRecompute() {
    let (method, count) = ("--recompute-method", "--recompute-num-layers")
    let isSelective = arguments.has("--recompute-activations") || arguments.text("--recompute-granularity") == "selective"
    if isSelective {
      if arguments.has(method) { illegal(method, "does not go with selective recomputing; leave it out") }
      if arguments.has(count) { illegal(count, "does not go with selective recomputing, which is of all layers; leave it out") }
      if launch.software.attention == .fused, launch.degrees.recompute == .selective || launch.degrees.recompute == .selectiveGathered {
        let name = arguments.has("--recompute-activations") ? "--recompute-activations" : "--recompute-granularity"
        doubtful(name, "fused attention keeps no scores, so that computing it again saves little; see what it costs below")
      }
      if arguments.values("--recompute-modules").contains("moe_act"), !arguments.has("--moe-grouped-gemm") {
        illegal("--recompute-modules", "moe_act needs --moe-grouped-gemm")
      }
    } else if arguments.text("--recompute-granularity") == "full" {
      if !arguments.has(method) { illegal("--recompute-granularity", "full needs --recompute-method uniform or block") }
      if !arguments.has(count) { illegal("--recompute-granularity", "full needs --recompute-num-layers") }
      if let layers = arguments.int("--num-layers"), let wanted = arguments.int(count, atLeast: 0) {
        let most = max(1, layers / max(1, stages * launch.degrees.chunks))
        if arguments.text(method) == "block", wanted > most, launch.degrees.stageLayers == nil {
          doubtful(count, "\(wanted) layers are more than the \(most) of a \(launch.degrees.chunks > 1 ? "chunk" : "stage")")
        }
      }
    } else if arguments.has(any: "--recompute-method", "--recompute-num-layers") {
      doubtful(arguments.has(method) ? method : count, "counts with --recompute-granularity full alone; nothing is computed again")
    }
    guard arguments.has("--distribute-saved-activations") else { return }
    if tensor == 1 { illegal("--distribute-saved-activations", "needs tensor parallelism") }
    if arguments.text("--recompute-granularity") != "full" { illegal("--distribute-saved-activations", "needs --recompute-granularity full") }
    if launch.degrees.isSequenceParallel { illegal("--distribute-saved-activations", "does not go with --sequence-parallel") }
    arguments.find(.ignored, "--distribute-saved-activations", "what layers keep is priced as if every device kept all of it")
  }

  mutating func checkExperts() {
    let expert = launch.degrees.expert
    let experts = arguments.int("--num-experts", atLeast: 0) ?? 0
    if let perToken = arguments.int("--moe-router-topk"), experts > 0, perToken > experts {
      illegal("--moe-router-topk", "\(perToken) experts for each token are more than --num-experts \(experts)")
    }
    if arguments.has("--moe-ffn-hidden-size"), experts == 0 { illegal("--moe-ffn-hidden-size", "needs --num-experts") }
    if let own = arguments.int("--expert-tensor-parallel-size"), own != tensor, experts > 0 {
      arguments.find(
        .ignored, "--expert-tensor-parallel-size",
        "has no price of its own: experts are split by --tensor-model-parallel-size \(tensor), as everything else is")
    }
    if experts > 0, tensor > 1, !launch.degrees.isSequenceParallel {
      illegal("--num-experts", "together with tensor parallelism needs --sequence-parallel in training")
    }
    guard expert > 1 else { return }
    // Of a model that is named apart nothing is known here.
    if arguments.has("--num-layers") || experts > 0 {
      if experts == 0 {
        illegal("--expert-model-parallel-size", "needs --num-experts")
      } else if experts % expert != 0 {
        illegal("--expert-model-parallel-size", "\(expert) does not divide \(counted(experts, "expert"))")
      }
    }
    checkDispatcher()
    let own = arguments.int("--expert-tensor-parallel-size") ?? tensor
    if let devices = launch.devices, devices % own.times(expert).times(stages) != 0 {
      illegal(
        "--expert-model-parallel-size",
        "\(counted(devices, "device")) are no multiple of expert tensor \(own) × expert \(expert) × pipeline \(stages)")
    }
  }

  /// How tokens get to experts on other devices. Bare options may be a part of a command that says it elsewhere.
  private mutating func checkDispatcher() {
    let name = "--moe-token-dispatcher-type"
    // The price does not depend on it, so that it may be left to the caller.
    let isOpen = arguments.text(name)?.hasPrefix("$") ?? false
    switch isOpen ? nil : arguments.has(name) ? arguments.choice(name, ["allgather", "alltoall", "flex"]) : command.isWhole ? "allgather" : nil {
    case "allgather":
      let said = arguments.has(name) ? "allgather" : "is left out, which is allgather"
      doubtful(name, "\(said): every device gets the tokens of all expert-parallel ones; priced as alltoall, which sends each to its experts alone")
    case "flex": doubtful(name, "flex sends tokens by kernels of its own; priced as alltoall")
    default: break
    }
  }

  mutating func checkPrecision() {
    if arguments.has("--bf16"), arguments.has("--fp16") { illegal("--fp16", "does not go with --bf16") }
    if !arguments.has(any: "--bf16", "--fp16"), command.isWhole { doubtful("--bf16", "is left out, so that everything is in fp32") }
    if arguments.has("--cross-entropy-loss-fusion"), arguments.text("--cross-entropy-fusion-impl") == "te" {
      illegal("--cross-entropy-fusion-impl", "te is refused as unstable; say native")
    }
  }

  /// `CUDA_DEVICE_MAX_CONNECTIONS`, on which the order of kernels depends before Blackwell.
  mutating func checkEnvironment() {
    let name = "CUDA_DEVICE_MAX_CONNECTIONS"
    let isFSDP = arguments.has(any: "--use-megatron-fsdp", "--use-custom-fsdp", "--use-torch-fsdp2")
    guard let value = command.script.value(name) else {
      if !isFSDP, tensor > 1 || context > 1, command.showsEnvironment(of: name) {
        doubtful(name, "is not set in the script; tensor and context parallelism need 1 before Blackwell, which the environment then has to give")
      }
      return
    }
    if isFSDP, value == "1" {
      arguments.find(.illegal, name, "is 1; FSDP needs more, or none")
    } else if !isFSDP, tensor > 1 || context > 1, value != "1" {
      arguments.find(.illegal, name, "is \(value); tensor and context parallelism need 1 before Blackwell")
    }
  }
}
