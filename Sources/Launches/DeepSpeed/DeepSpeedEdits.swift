// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Strategies

extension LaunchEdits {
  /// Settings of DeepSpeed.
  mutating func writeDeepSpeed() {
    if new.tensor != old.tensor { set("tensor_parallel.autotp_size", .int(new.tensor)) }
    set(degree: \.pipeline, "pipeline.stages")
    if new.zero != old.zero { set("zero_optimization.stage", .int(new.zero.rawValue)) }
    set(degree: \.context, "sequence_parallel_size")
    if new.expert != old.expert {
      set("expert_parallel.enabled", .bool(new.expert > 1))
      set("expert_parallel.autoep_size", .int(new.expert))
    }
    if new.recompute == .full, old.recompute != .full {
      set("activation_checkpointing.number_checkpoints", .int(job.layers))
    } else if new.recompute != .full, old.recompute == .full {
      drop("activation_checkpointing", "pipeline.activation_checkpoint_interval")
    }
    writeDeepSpeedBatch()
    if newSoftware.overlap == .weights, oldSoftware.overlap == .none { set("zero_optimization.overlap_comm", true) }
    writeKernels()
  }

  private mutating func writeDeepSpeedBatch() {
    let (batch, micro, count) = ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps")
    guard let size = new.microBatchSize, let before = old.microBatchSize else { return }
    if size != before { set(micro, .int(size)) }
    let (steps, stepsBefore) = (job.batch / (size * new.data), job.batch / (before * old.data))
    guard steps != stepsBefore else { return }
    // What is left out follows from the batch, where that stands.
    if has(count) || !job.statesBatch { set(count, .int(steps)) }
    if has(count), !has(micro), size == before { set(micro, .int(size)) }
    if !job.statesBatch, !has(micro) { set(batch, .int(job.batch)) }
  }
}
