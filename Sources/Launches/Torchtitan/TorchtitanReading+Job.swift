// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies

/// What a step of a torchtitan job does: its batch, its precision, and what is computed again.
extension TorchtitanReading {
  mutating func readBatch() {
    let local = settings.int("training.local_batch_size", .within(1, 1 << 30)) ?? 8
    let global = settings.int("training.global_batch_size", .within(-1, 1 << 40)) ?? -1
    launch.degrees.microBatchSize = local
    if launch.degrees.pipeline > 1 {
      var size = settings.int("parallelism.pipeline_parallel_microbatch_size", .within(1, 1 << 30)) ?? 1
      // Before there was a size there was a number.
      if let count = settings.int("parallelism.pipeline_parallel_microbatches", .within(1, 1 << 30)) { size = max(1, local / count) }
      if local % size != 0 {
        settings.add(
          .illegal, "parallelism.pipeline_parallel_microbatch_size", "\(size) does not divide training.local_batch_size, \(local)")
      }
      launch.degrees.microBatchSize = size
    }
    guard global > 0 else {
      launch.batchPerReplica = local
      return
    }
    launch.batch = global
    let data = launch.degrees.data
    let part = local.times(data)
    if !launch.leavesDataOpen, global % part != 0 {
      settings.add(
        .illegal, "training.global_batch_size", "\(global) is no multiple of local_batch_size \(local) × \(counted(data, "data replica"))")
    } else if launch.degrees.pipeline > 1, !launch.leavesDataOpen, global > part {
      settings.add(
        .ignored, "training.global_batch_size",
        "torchtitan empties the pipeline after each \(local) sequences of a replica; the plan does so once a step")
    }
  }

  mutating func readPrecision() {
    let working = settings.word("training.mixed_precision_param", of: ["bfloat16", "float32"]) ?? "bfloat16"
    let stored = settings.word("training.dtype", of: ["float32", "bfloat16"]) ?? "float32"
    // Mixed precision comes with FSDP, or by autocast where nothing else is parallel.
    let isMixed = launch.degrees.zero > .none || launch.degrees.tensor * launch.degrees.pipeline == 1
    launch.precision = stored == "bfloat16" || isMixed && working == "bfloat16" ? .bf16 : .fp32
    if stored == "bfloat16" {
      launch.software.gradients = .working
      settings.add(.ignored, "training.dtype", "weights and optimizer state in bfloat16 alone are priced with master weights in fp32")
    } else if !isMixed, working == "bfloat16" {
      settings.add(
        .doubtful, "training.mixed_precision_param",
        "without FSDP (data_parallel_shard_degree or context_parallel_degree above 1) torchtitan trains tensor-parallel and pipelined models in float32; "
          + "shard, or set training.dtype = \"bfloat16\"")
    }
    let compiles = settings.bool("compile.enable") ?? settings.bool("training.compile") ?? false
    let components = settings.strings("compile.components") ?? ["model", "loss"]
    // The loss is a cast, a softmax and a gather, unless they are compiled into one kernel.
    launch.software.crossEntropy = compiles && components.contains("loss") || launch.precision == .fp32 ? .fused : .unfused
    if settings.bool("parallelism.enable_async_tensor_parallel") == true {
      settings.add(.ignored, "parallelism.enable_async_tensor_parallel", "collectives behind tensor-parallel products are priced in full")
      if !compiles {
        settings.add(.illegal, "parallelism.enable_async_tensor_parallel", "needs compile.enable = true")
      }
    }
  }

  mutating func readRecompute() {
    let mode = settings.word("activation_checkpoint.mode", of: ["none", "selective", "full", "memory_budget"]) ?? "selective"
    // An early version had a number here.
    let option =
      settings.value("activation_checkpoint.selective_ac_option") == nil ? "2" : settings.string("activation_checkpoint.selective_ac_option")
    switch mode {
    case "full": launch.degrees.recompute = .full
    case "memory_budget":
      settings.add(
        .ignored, "activation_checkpoint.mode", "what torch.compile's memory budget computes again is not known before it runs; nothing is priced")
    case "selective": readSelective(option)
    default: break
    }
  }

  private mutating func readSelective(_ option: String?) {
    let place = "activation_checkpoint.selective_ac_option"
    guard let option else { return }
    if option == "op" {
      launch.degrees.recompute = .elementwise
      settings.add(
        .ignored, place, "every second product is computed again too; the plan computes norms, activation functions and products of elements again")
      return
    }
    guard let period = Int(option), period > 0 else {
      settings.add(.illegal, place, "found \"\(option)\", expected \"op\" or a number above 0")
      return
    }
    launch.degrees.recompute = .full
    if period == 1 { return }
    guard let layers = layerCount else {
      settings.add(.ignored, place, "every layer is priced as computed again, not one in \(period): the job does not say how many there are")
      return
    }
    let (stages, chunks) = (launch.degrees.pipeline * launch.degrees.chunks, launch.degrees.chunks)
    let cut = launch.degrees.stageLayers ?? (0..<stages).map { ($0 + 1) * layers / stages - $0 * layers / stages }
    let counts = Set(cut.map { $0 / period })
    launch.degrees.recomputedLayers = counts.max()
    if launch.degrees.recomputedLayers == 0 { (launch.degrees.recompute, launch.degrees.recomputedLayers) = (.none, nil) }
    if counts.count > 1 || chunks > 1 {
      settings.add(.ignored, place, "one layer in \(period) is computed again; the plan does so with \(counts.max() ?? 0) of each stage")
    }
  }

  mutating func readRest() {
    if settings.bool("training.enable_cpu_offload") == true {
      launch.offloading = ["training.enable_cpu_offload"]
      settings.add(
        .ignored, "training.enable_cpu_offload", "weights and optimizer state on the host are not priced: the plan has them on the devices")
    }
    if settings.bool("optimizer.early_step_in_backward") == true {
      let others = [("pipeline_parallel_degree", launch.degrees.pipeline), ("expert_parallel_degree", launch.degrees.expert)].filter { $0.1 > 1 }
      if let other = others.first {
        settings.add(.illegal, "optimizer.early_step_in_backward", "does not go with \(other.0) \(other.1)")
      } else {
        launch.software.updates = .inBackward
      }
    }
    if settings.bool("parallelism.disable_loss_parallel") == true, launch.degrees.tensor > 1 {
      settings.add(.ignored, "parallelism.disable_loss_parallel", "the plan leaves the logits split by vocabulary under the loss")
    }
  }
}
