// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies

/// What Megatron-LM checks before it starts (`validate_args` in megatron/training/arguments.py, `__post_init__` of megatron/core's configurations, and
/// megatron/core/pipeline_parallel/schedules.py), where it is about the split, the job or the model.
struct MegatronChecks {
  private let command: MegatronCommand
  private var arguments: MegatronArguments
  private let launch: Launch

  var findings: [Finding] { arguments.findings }

  init(command: MegatronCommand, arguments: MegatronArguments, launch: Launch) {
    (self.command, self.arguments, self.launch) = (command, arguments, launch)
  }

  private var tensor: Int { launch.degrees.tensor }
  private var stages: Int { launch.degrees.pipeline }
  private var context: Int { launch.degrees.context }

  /// Data replicas, where the devices are known and are shared out evenly.
  private var replicas: Int? {
    guard let devices = launch.devices, let size = modelSize, devices % size == 0 else { return nil }
    return devices / size
  }

  /// Devices of one replica; nil beyond counting.
  private var modelSize: Int? {
    let (a, overflows) = tensor.multipliedReportingOverflow(by: stages)
    let (b, overflowsToo) = a.multipliedReportingOverflow(by: context)
    return overflows || overflowsToo ? nil : b
  }

  mutating func check() {
    checkRequired()
    checkDevices()
    checkHeads()
    checkLayers()
    checkChunks()
    checkBatch()
    checkReplicas()
    checkRecompute()
    checkExperts()
    checkPrecision()
    checkEnvironment()
  }

  private mutating func illegal(_ name: String, _ text: String) { arguments.find(.illegal, name, text) }
  private mutating func doubtful(_ name: String, _ text: String) { arguments.find(.doubtful, name, text) }

  private mutating func checkRequired() {
    // Bare options may be a part of a command.
    guard command.isWhole else { return }
    for name in MegatronModel.required where !arguments.has(name) && !arguments.has(any: "--hybrid-layer-pattern", "--encoder-num-layers") {
      if arguments.has(any: "--use-checkpoint-args", "--yaml-cfg") { continue }
      illegal(name, "is missing; Megatron-LM does not start without it")
    }
    if !arguments.has("--micro-batch-size"), !arguments.has("--yaml-cfg") { illegal("--micro-batch-size", "is missing; Megatron-LM does not start without it") }
  }

  private mutating func checkDevices() {
    if arguments.has("--sequence-parallel"), tensor == 1 {
      doubtful("--sequence-parallel", "does nothing without tensor parallelism; Megatron-LM leaves it out")
    }
    if arguments.has("--tp-comm-overlap"), !launch.degrees.isSequenceParallel { illegal("--tp-comm-overlap", "needs --sequence-parallel") }
    if arguments.has("--tp-comm-overlap") {
      arguments.find(.ignored, "--tp-comm-overlap", "collectives of tensor parallelism are priced as if no product hid them")
    }
    guard let devices = launch.devices else { return }
    guard let size = modelSize else { return illegal("--tensor-model-parallel-size", "the degrees together are more devices than can be counted") }
    if devices % size != 0 {
      illegal(
        "--tensor-model-parallel-size",
        "\(counted(devices, "device")) are no multiple of \(size), tensor \(tensor) × pipeline \(stages) × context \(context)")
    }
  }

  private mutating func checkHeads() {
    guard let heads = arguments.int("--num-attention-heads") else { return }
    if heads % tensor != 0 { illegal("--num-attention-heads", "\(heads) heads are no multiple of --tensor-model-parallel-size \(tensor)") }
    if arguments.has("--num-query-groups"), !arguments.has("--group-query-attention") {
      doubtful("--num-query-groups", "counts with --group-query-attention alone; every query head has keys and values of its own")
    }
    if arguments.has("--group-query-attention"), let groups = arguments.int("--num-query-groups") {
      if heads % groups != 0 { illegal("--num-query-groups", "\(groups) groups do not divide \(counted(heads, "head"))") }
      if groups % tensor != 0, tensor % groups != 0 {
        illegal("--num-query-groups", "\(groups) groups are neither a multiple nor a divisor of --tensor-model-parallel-size \(tensor)")
      }
    }
    if let hidden = arguments.int("--hidden-size"), !arguments.has("--kv-channels"), hidden % heads != 0 {
      illegal("--hidden-size", "\(hidden) is no multiple of \(counted(heads, "head")), and --kv-channels is not given")
    }
    if let sequence = launch.sequence {
      if context > 1, sequence % (2 * context) != 0 {
        illegal("--seq-length", "\(sequence) is no multiple of \(2 * context), twice --context-parallel-size, as each device has two chunks of a sequence")
      }
      if launch.degrees.isSequenceParallel, sequence % (tensor * context) != 0 {
        illegal("--seq-length", "\(sequence) is no multiple of \(tensor * context), tensor × context, over which --sequence-parallel shares it out")
      }
      if let most = arguments.int("--max-position-embeddings"), most < sequence {
        illegal("--max-position-embeddings", "\(most) positions are less than --seq-length \(sequence)")
      }
    }
  }

  // MARK: - The pipeline

  private static let cuts = [
    "--num-layers-per-virtual-pipeline-stage", "--num-virtual-stages-per-pipeline-rank", "--pipeline-model-parallel-layout",
  ]

  private mutating func checkLayers() {
    let given = Self.cuts.filter(arguments.has)
    if given.count > 1 { illegal(given[1], "does not go with \(given[0]); leave one of them out") }
    guard let layers = arguments.int("--num-layers"), !arguments.has("--pipeline-model-parallel-layout") else { return }
    let (first, last) = ("--decoder-first-pipeline-num-layers", "--decoder-last-pipeline-num-layers")
    let accounts = ["--account-for-embedding-in-pipeline-split", "--account-for-loss-in-pipeline-split"].filter(arguments.has)
    if arguments.has(any: first, last) {
      let name = arguments.has(first) ? first : last
      if let account = accounts.first { illegal(name, "does not go with \(account)") }
      if arguments.has("--num-layers-per-virtual-pipeline-stage") {
        illegal(name, "does not go with --num-layers-per-virtual-pipeline-stage; say --num-virtual-stages-per-pipeline-rank")
      }
      let ends = (arguments.int(first, atLeast: 0) ?? 0) + (arguments.int(last, atLeast: 0) ?? 0)
      let inner = stages - [first, last].count { arguments.has($0) }
      if ends > layers || (inner > 0 && (layers - ends) % inner != 0) || (inner <= 0 && ends != layers) {
        illegal(name, "\(max(0, layers - ends)) layers are left for \(counted(max(0, inner), "stage")), which cannot have equally many")
      }
      return
    }
    let total = layers + accounts.count
    if total % stages != 0 {
      let what = accounts.isEmpty ? "layers" : "layers, with the embedding or the loss counted as one,"
      illegal(
        "--num-layers",
        "\(total) \(what) are no multiple of --pipeline-model-parallel-size \(stages); say --decoder-first-pipeline-num-layers, or "
          + "--pipeline-model-parallel-layout \(Self.evenLayout(layers, stages))")
    } else if let perChunk = arguments.int("--num-layers-per-virtual-pipeline-stage"), (total / stages) % perChunk != 0 {
      illegal("--num-layers-per-virtual-pipeline-stage", "\(perChunk) layers do not divide the \(total / stages) of a stage")
    } else if let chunks = arguments.int("--num-virtual-stages-per-pipeline-rank"), (total / stages) % chunks != 0 {
      illegal("--num-virtual-stages-per-pipeline-rank", "\(chunks) chunks do not divide the \(total / stages) layers of a stage")
    }
  }

  private static func evenLayout(_ layers: Int, _ stages: Int) -> String {
    let counts = (0..<min(stages, 64)).map { ($0 + 1) * layers / stages - $0 * layers / stages }
    return "\"\(MegatronLayout(layers: counts).text)\""
  }

  private mutating func checkChunks() {
    let chunks = launch.degrees.chunks
    let name = Self.cuts.first(where: arguments.has) ?? "--num-virtual-stages-per-pipeline-rank"
    let wanted = arguments.int("--num-virtual-stages-per-pipeline-rank") ?? 1
    if wanted > 1, stages == 1 { illegal("--num-virtual-stages-per-pipeline-rank", "several chunks need --pipeline-model-parallel-size of at least 2") }
    guard chunks > 1 else { return }
    if stages == 2, arguments.has("--no-overlap-p2p-communication") {
      illegal("--no-overlap-p2p-communication", "several chunks on each of two stages need messages that overlap; leave it out, or have more than 2 stages")
    }
    guard let replicas, let batch = launch.batch, let size = launch.degrees.microBatchSize, batch % (size * replicas) == 0 else { return }
    let count = batch / (size * replicas)
    if count % stages != 0 {
      illegal(name, "\(counted(count, "micro-batch", plural: "micro-batches")) are no multiple of the \(stages) stages, which the interleaved schedule needs")
    }
  }

  // MARK: - The job

  private mutating func checkBatch() {
    guard let size = launch.degrees.microBatchSize, let replicas, let batch = launch.batch else { return }
    let (part, overflows) = size.multipliedReportingOverflow(by: replicas)
    if overflows || batch % part != 0 {
      illegal(
        "--global-batch-size",
        "\(counted(batch, "sequence")) are no multiple of \(overflows ? "more" : "\(part)"), --micro-batch-size \(size) × \(counted(replicas, "data replica"))")
    } else if batch / part < stages {
      doubtful("--global-batch-size", "\(counted(batch / part, "micro-batch", plural: "micro-batches")) are fewer than the \(stages) stages, most of which wait")
    }
  }

  private mutating func checkReplicas() {
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
    if command.isWhole, !arguments.has("--untie-embeddings-and-output-weights") { illegal("--use-torch-fsdp2", "needs --untie-embeddings-and-output-weights") }
  }

  private mutating func checkRecompute() {
    let (method, count) = ("--recompute-method", "--recompute-num-layers")
    let isSelective = arguments.has("--recompute-activations") || arguments.text("--recompute-granularity") == "selective"
    if isSelective {
      if arguments.has(method) { illegal(method, "does not go with selective recomputing; leave it out") }
      if arguments.has(count) { illegal(count, "does not go with selective recomputing, which is of all layers; leave it out") }
      if launch.software.attention == .fused, launch.degrees.recompute == .selective || launch.degrees.recompute == .selectiveGathered {
        doubtful("--recompute-granularity", "fused attention keeps no scores, so that computing it again saves little; see what it costs below")
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

  private mutating func checkExperts() {
    let expert = launch.degrees.expert
    let experts = arguments.int("--num-experts", atLeast: 0) ?? 0
    if let perToken = arguments.int("--moe-router-topk"), experts > 0, perToken > experts {
      illegal("--moe-router-topk", "\(perToken) experts for each token are more than --num-experts \(experts)")
    }
    if arguments.has("--moe-ffn-hidden-size"), experts == 0 { illegal("--moe-ffn-hidden-size", "needs --num-experts") }
    if let own = arguments.int("--expert-tensor-parallel-size"), own != tensor, experts > 0 {
      arguments.find(.ignored, "--expert-tensor-parallel-size", "has no price of its own: experts are split by --tensor-model-parallel-size \(tensor), as everything else is")
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
    let own = arguments.int("--expert-tensor-parallel-size") ?? tensor
    if let devices = launch.devices, devices % max(1, own * expert * stages) != 0 {
      illegal("--expert-model-parallel-size", "\(counted(devices, "device")) are no multiple of expert tensor \(own) × expert \(expert) × pipeline \(stages)")
    }
  }

  private mutating func checkPrecision() {
    if arguments.has("--bf16"), arguments.has("--fp16") { illegal("--fp16", "does not go with --bf16") }
    if !arguments.has(any: "--bf16", "--fp16"), command.isWhole { doubtful("--bf16", "is left out, so that everything is in fp32") }
    if arguments.has("--cross-entropy-loss-fusion"), arguments.text("--cross-entropy-fusion-impl") == "te" {
      illegal("--cross-entropy-fusion-impl", "te is refused as unstable; say native")
    }
  }

  /// `CUDA_DEVICE_MAX_CONNECTIONS`, on which the order of kernels depends before Blackwell.
  private mutating func checkEnvironment() {
    let name = "CUDA_DEVICE_MAX_CONNECTIONS"
    let isFSDP = arguments.has(any: "--use-megatron-fsdp", "--use-custom-fsdp", "--use-torch-fsdp2")
    guard let value = command.script.value(name) else { return }
    if isFSDP, value == "1" {
      arguments.find(.illegal, name, "is 1; FSDP needs more, or none")
    } else if !isFSDP, tensor > 1 || context > 1, value != "1" {
      arguments.find(.illegal, name, "is \(value); tensor and context parallelism need 1 before Blackwell")
    }
  }
}
