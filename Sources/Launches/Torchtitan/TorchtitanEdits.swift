// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Strategies

extension LaunchEdits {
  /// Settings of torchtitan.
  mutating func writeTorchtitan() {
    if new.tensor != old.tensor { set("parallelism.tensor_parallel_degree", .int(new.tensor)) }
    set(degree: \.pipeline, "parallelism.pipeline_parallel_degree")
    set(degree: \.context, "parallelism.context_parallel_degree")
    set(degree: \.expert, "parallelism.expert_parallel_degree")
    writeTorchtitanReplicas()
    if new.pipeline > 1 { writeTorchtitanStages() }
    if new.recompute != old.recompute || new.recomputedLayers != old.recomputedLayers { writeTorchtitanRecompute() }
    writeTorchtitanBatch()
    if newSoftware.crossEntropy == .fused, oldSoftware.crossEntropy == .unfused {
      set("compile.enable", true)
      if has("compile.components") { set("compile.components", ["model", "loss"]) }
    }
    writeKernels(crossEntropy: false)
  }

  private mutating func writeTorchtitanReplicas() {
    let (shards, copies) = ("parallelism.data_parallel_shard_degree", "parallelism.data_parallel_replicate_degree")
    if new.data != old.data {
      set(new.zero >= .gradients ? shards : copies, .int(new.data))
      if new.zero >= .gradients { drop(copies) } else { set(shards, 1) }
    }
    if new.zero != old.zero, new.zero >= .gradients {
      set("parallelism.fsdp_reshard_after_forward", .string(new.zero == .weights ? "always" : "never"))
      if old.zero == .none {
        set(shards, .int(new.data))
        drop(copies)
      }
    }
  }

  private mutating func writeTorchtitanStages() {
    let (schedule, perStage) = ("parallelism.pipeline_parallel_schedule", "parallelism.pipeline_parallel_layers_per_stage")
    if new.chunks != old.chunks || new.schedule != old.schedule {
      set(schedule, .string(new.chunks > 1 ? "Interleaved1F1B" : new.schedule == .gpipe ? "GPipe" : "1F1B"))
    }
    guard new.chunks != old.chunks || new.pipeline != old.pipeline || new.stageLayers != old.stageLayers else { return }
    drop("parallelism.module_fqns_per_model_part", "parallelism.pipeline_parallel_split_points", perStage)
    let parts = new.pipeline * new.chunks
    // The embedding and the head count as no layer, so that all parts have as many.
    if new.stageLayers == nil, job.layers % parts == 0 {
      for end in ["first", "last"] { set("parallelism.pipeline_parallel_\(end)_stage_less_layers", 0) }
      if new.chunks > 1 { set(perStage, .int(job.layers / parts)) }
    } else if new.chunks > 1 {
      set(perStage, .int((job.layers + 2 + parts - 1) / parts))
    }
  }

  private mutating func writeTorchtitanRecompute() {
    let (mode, option) = ("activation_checkpoint.mode", "activation_checkpoint.selective_ac_option")
    switch new.recompute {
    case .none: set(mode, "none")
    case .full:
      guard let count = new.recomputedLayers, count > 0 else { return set(mode, "full") }
      set(mode, "selective")
      set(option, .string("\(max(1, job.layers / (new.pipeline * new.chunks) / count))"))
    default:
      set(mode, "selective")
      set(option, "op")
    }
  }

  private mutating func writeTorchtitanBatch() {
    guard let size = new.microBatchSize, let before = old.microBatchSize else { return }
    func local(_ degrees: MegatronDegrees, _ size: Int) -> Int { degrees.pipeline > 1 ? job.batch / degrees.data : size }
    if local(new, size) != local(old, before) { set("training.local_batch_size", .int(local(new, size))) }
    if !job.statesBatch, local(new, size) * new.data != job.batch { set("training.global_batch_size", .int(job.batch)) }
    guard new.pipeline > 1, old.pipeline == 1 || size != before else { return }
    drop("parallelism.pipeline_parallel_microbatches")
    set("parallelism.pipeline_parallel_microbatch_size", .int(size))
  }
}
