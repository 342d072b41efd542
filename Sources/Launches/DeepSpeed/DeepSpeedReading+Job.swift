// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities
import Strategies

/// What a step of a DeepSpeed training does: its batch, its precision, its optimizer, and what is computed again.
extension DeepSpeedReading {
  /// train_batch_size = train_micro_batch_size_per_gpu × gradient_accumulation_steps × data replicas; what is left out follows.
  mutating func readBatch() {
    let batch = settings.int("train_batch_size", .within(1, 1 << 40))
    let micro = settings.int("train_micro_batch_size_per_gpu", .within(1, 1 << 30))
    let steps = settings.int("gradient_accumulation_steps", .within(1, 1 << 30))
    let isOpen = ["train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"].contains { settings.isOpen($0) }
    launch.batch = batch
    launch.degrees.microBatchSize = micro
    switch (batch, micro, steps) {
    case (let batch?, let micro?, let steps?):
      let own = micro * steps
      if batch % own != 0 {
        settings.add(
          .illegal, "train_batch_size",
          "\(batch) is no multiple of train_micro_batch_size_per_gpu \(micro) × gradient_accumulation_steps \(steps)")
      } else {
        (launch.degrees.data, launch.leavesDataOpen) = (batch / own, false)
      }
    case (let batch?, let micro?, nil):
      if batch % micro != 0 {
        settings.add(.illegal, "train_batch_size", "\(batch) is no multiple of train_micro_batch_size_per_gpu, \(micro)")
      }
    case (let batch?, nil, let steps?):
      if batch % steps != 0 { settings.add(.illegal, "train_batch_size", "\(batch) is no multiple of gradient_accumulation_steps, \(steps)") }
      launch.accumulationSteps = steps
    case (_?, nil, nil): launch.accumulationSteps = isOpen ? nil : 1
    case (nil, let micro?, _): launch.batchPerReplica = isOpen && steps == nil ? nil : micro * (steps ?? 1)
    case (nil, nil, _):
      if !isOpen { settings.add(.illegal, "train_batch_size", "is missing: either it or train_micro_batch_size_per_gpu must be given") }
    }
    if settings.value("elasticity") != nil {
      settings.add(.doubtful, "elasticity", "elastic training may choose another batch than the one that is given here")
    }
  }

  mutating func readPrecision() {
    let half = settings.bool("fp16.enabled") ?? false
    let brain = (settings.bool("bf16.enabled") ?? settings.bool("bfloat16.enabled")) ?? false
    if half, brain { settings.add(.illegal, "bf16.enabled", "fp16 is enabled too; choose one of them") }
    if settings.contains("bf16"), settings.contains("bfloat16") {
      settings.add(.doubtful, "bfloat16", "is the older name of bf16, which stands here too")
    }
    let isOpen = settings.isOpen("fp16.enabled") || settings.isOpen("bf16.enabled") || settings.isOpen("bfloat16.enabled")
    if !isOpen || half || brain { launch.precision = brain ? .bf16 : half ? .fp16 : .fp32 }
    if settings.bool("torch_autocast.enabled") == true {
      let name = settings.string("torch_autocast.dtype") ?? "float16"
      launch.precision = name.contains("bf") ? .bf16 : .fp16
      settings.add(.ignored, "torch_autocast", "weights in fp32 that are cast for each product are priced as weights in \(name)")
    }
    if settings.value("amp") != nil {
      settings.add(.ignored, "amp", "Apex mixed precision is not read; give the precision that is to be priced")
    }
    for path in ["fp16.fp16_master_weights_and_grads", "bf16.bf16_master_weights_and_grads", "bf16.bf16_optimizer_states"]
    where settings.bool(path) == true {
      if launch.degrees.zero == .none { settings.add(.illegal, path, "needs ZeRO stage 1, 2 or 3") }
      settings.add(.ignored, path, "master weights and optimizer state are priced in fp32")
    }
    if settings.bool("bf16.bf16_optimizer_states") == true, settings.bool("bf16.bf16_master_weights_and_grads") != true {
      settings.add(.illegal, "bf16.bf16_optimizer_states", "needs bf16_master_weights_and_grads")
    }
  }

  /// In which precision gradients stand and are added up (`engine.py`, `_do_optimizer_sanity_check`; `bf16_optimizer.py`; `zero/stage_1_and_2.py`).
  mutating func readGradients() {
    guard let precision = launch.precision, precision != .fp32 else { return }
    let path = "data_types.grad_accum_dtype"
    launch.software.gradients = .working
    guard let name = settings.word(path, of: ["fp32", "float32", "float", "fp16", "float16", "half", "bf16", "bfloat16"]) else { return }
    let stated: Precision = name.hasPrefix("b") ? .bf16 : name.contains("32") || name == "float" ? .fp32 : .fp16
    if stated == precision { return }
    if launch.degrees.zero == .none || stated != .fp32 {
      settings.add(
        .illegal, path, "gradients in \(name) go with a training in \(precision.rawValue) \(stated == .fp32 ? "from ZeRO stage 1 on" : "nowhere")")
      return
    }
    let isFreed = settings.bool("bf16.immediate_grad_update") ?? false
    // Stage 1 under bf16 keeps the gradients of the backward pass beside their sums, unless it is told not to.
    launch.software.gradients = launch.degrees.zero == .optimizer && precision == .bf16 && !isFreed ? .both : .accumulated
  }

  mutating func readOptimizer() {
    guard let name = settings.string("optimizer.type") else { return }
    switch name.lowercased() {
    case "adam", "adamw": launch.optimizer = .adamw
    case "sgd": launch.optimizer = .sgd
    case "adagrad", "lamb", "onebitadam", "zerooneadam", "onebitlamb", "muadam", "muadamw", "musgd", "lion", "muon":
      launch.optimizer = .adamw
      settings.add(.ignored, "optimizer.type", "\(name) is priced as AdamW")
    default:
      launch.optimizer = .adamw
      settings.add(.doubtful, "optimizer.type", "\(name) is none of DeepSpeed's optimizers; if torch.optim has it, it is priced as AdamW")
      if launch.degrees.zero > .none, settings.bool("zero_allow_untested_optimizer") != true {
        settings.add(.illegal, "optimizer.type", "\(name) with ZeRO needs zero_allow_untested_optimizer")
      }
    }
    if case .object(let parameters)? = settings.value("optimizer.params"), parameters["max_grad_norm"] != nil {
      settings.add(.illegal, "optimizer.params.max_grad_norm", "is no parameter of the optimizer; write gradient_clipping")
    }
  }

  /// The section says how activations are checkpointed, and its being used at all that they are: the model's code asks for it.
  mutating func readRecompute() {
    let section = "activation_checkpointing"
    let partitions = settings.bool("\(section).partition_activations") ?? false
    let offloads = settings.bool("\(section).cpu_checkpointing") ?? false
    let isContiguous = settings.bool("\(section).contiguous_memory_optimization") ?? false
    let count = settings.int("\(section).number_checkpoints", .within(0, 1 << 20)) ?? 0
    let interval = settings.int("pipeline.activation_checkpoint_interval", .within(0, 1 << 20)) ?? 0
    if partitions || offloads || isContiguous || count > 0 || interval > 0 { launch.degrees.recompute = .full }
    if partitions {
      settings.add(.ignored, "\(section).partition_activations", "what is kept of each layer is priced whole on every tensor-parallel device")
    }
    if offloads {
      launch.offloading.append("\(section).cpu_checkpointing")
      settings.add(.ignored, "\(section).cpu_checkpointing", "activations on the host are not priced: the plan keeps them on the devices")
    }
    if isContiguous, count == 0 {
      settings.add(
        .doubtful, "\(section).contiguous_memory_optimization",
        "needs the number of its buffers, number_checkpoints, unless the model's code gives it")
    }
    if interval > 1 {
      settings.add(
        .ignored, "pipeline.activation_checkpoint_interval", "every layer is priced as computed again by itself, not \(interval) layers at a time")
    }
  }

  mutating func readPipeline() {
    guard launch.degrees.pipeline > 1 else { return }
    if launch.degrees.tensor > 1, settings.bool("pipeline.pipe_partitioned") ?? true { launch.software.boundaries = .scattered }
    if let method = settings.string("pipeline.partition"), !["best", "uniform"].contains(method.lowercased()) {
      settings.add(.ignored, "pipeline.partition", "layers are cut evenly in the plan, not as \(method) does")
    }
  }
}
