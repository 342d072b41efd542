// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Strategies

extension LaunchEdits {
  /// Options of Megatron-LM.
  mutating func writeMegatron() {
    if new.tensor != old.tensor { set("--tensor-model-parallel-size", .int(new.tensor)) }
    if new.pipeline != old.pipeline { set("--pipeline-model-parallel-size", .int(new.pipeline)) }
    set(degree: \.context, "--context-parallel-size")
    set(degree: \.expert, "--expert-model-parallel-size")
    if new.isSequenceParallel, !old.isSequenceParallel { set("--sequence-parallel", true) }
    if !new.isSequenceParallel, old.isSequenceParallel { drop("--sequence-parallel", "--tp-comm-overlap") }
    writeMegatronStages()
    writeMegatronRecompute()
    writeMegatronReplicas()
    if let size = new.microBatchSize, size != old.microBatchSize { set("--micro-batch-size", .int(size)) }
    // Without it a step is one micro-batch for each replica.
    if !job.statesBatch, let size = new.microBatchSize, size * new.data != job.batch { set("--global-batch-size", .int(job.batch)) }
    writeMegatronKernels()
  }

  private mutating func writeMegatronStages() {
    let (perChunk, perRank, layout) =
      ("--num-layers-per-virtual-pipeline-stage", "--num-virtual-stages-per-pipeline-rank", "--pipeline-model-parallel-layout")
    let uneven = MegatronFlags.unevenLayers(new)
    let ends = [
      "--decoder-first-pipeline-num-layers", "--decoder-last-pipeline-num-layers", "--account-for-embedding-in-pipeline-split",
      "--account-for-loss-in-pipeline-split",
    ]
    func layers(_ degrees: MegatronDegrees) -> Int { job.layers / (degrees.pipeline * degrees.chunks) }
    if new.chunks == 1 || uneven != nil {
      // A layout says how many chunks there are.
      if old.chunks > 1 || uneven != nil { drop(perChunk, perRank) }
    } else if job.countsLayersOfChunks {
      if old.chunks == 1 || layers(new) != layers(old) { set(perChunk, .int(layers(new))) }
    } else if new.chunks != old.chunks || MegatronFlags.unevenLayers(old) != nil {
      set(perRank, .int(new.chunks))
    }
    guard uneven != MegatronFlags.unevenLayers(old) else { return }
    for setting in ends { drop(setting) }
    if let uneven { set(layout, .string(MegatronLayout(layers: uneven).text)) } else { drop(layout) }
  }

  private mutating func writeMegatronRecompute() {
    let (now, before) = (new.recompute.keepingGathered, old.recompute.keepingGathered)
    guard now != before || new.recomputedLayers != old.recomputedLayers else { return }
    let (method, count) = ("--recompute-method", "--recompute-num-layers")
    switch now {
    case .full:
      set("--recompute-granularity", "full")
      set(method, new.recomputedLayers == nil ? "uniform" : "block")
      set(count, .int(new.recomputedLayers ?? 1))
      drop("--recompute-activations", "--recompute-modules")
    case .none: drop("--recompute-granularity", "--recompute-activations", "--recompute-modules", method, count, "--distribute-saved-activations")
    default:
      set("--recompute-granularity", "selective")
      if now == .elementwise { set("--recompute-modules", ["layernorm", "moe_act"]) } else { drop("--recompute-modules") }
      drop(method, count, "--distribute-saved-activations")
    }
  }

  private mutating func writeMegatronReplicas() {
    guard new.zero != old.zero else { return }
    let (shards, strategy) = ("--use-megatron-fsdp", "--data-parallel-sharding-strategy")
    if new.zero < .gradients { drop(shards, strategy, "--use-custom-fsdp", "--use-torch-fsdp2", "--torch-fsdp2-no-reshard-after-forward") }
    switch new.zero {
    case .none: drop("--use-distributed-optimizer", "--overlap-param-gather")
    case .optimizer: set("--use-distributed-optimizer", true)
    case .gradients, .weights:
      drop("--use-torch-fsdp2", "--torch-fsdp2-no-reshard-after-forward")
      set(shards, true)
      set(strategy, .string(new.zero == .gradients ? "optim_grads" : "optim_grads_params"))
      set("--ckpt-format", "fsdp_dtensor")
    }
  }

  private mutating func writeMegatronKernels() {
    if newSoftware.overlap == .weights, oldSoftware.overlap == .none {
      set("--overlap-grad-reduce", true)
      // There are weights to gather where their state is shared out.
      if new.zero >= .optimizer { set("--overlap-param-gather", true) }
    }
    if newSoftware.attention == .fused, oldSoftware.attention == .unfused {
      set("--attention-backend", "flash")
      drop("--transformer-impl")
    }
    if newSoftware.crossEntropy == .fused, oldSoftware.crossEntropy == .unfused { set("--cross-entropy-loss-fusion", true) }
  }
}

extension MegatronFlags {
  /// The layers of each virtual stage, where they do not have equally many; else nil.
  static func unevenLayers(_ degrees: MegatronDegrees) -> [Int]? {
    guard let layers = degrees.stageLayers, degrees.pipeline > 1, layers.contains(where: { $0 != layers[0] }) else { return nil }
    return layers
  }
}
