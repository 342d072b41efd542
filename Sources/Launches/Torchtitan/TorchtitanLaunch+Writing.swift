// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

extension TorchtitanLaunch {
  /// The job that means a plan. How torchtitan works (communication behind computing, its kernels) is torchtitan's, and no part of it.
  ///
  /// - Throws: `Inexpressible`, which names the layer, operator or stage that torchtitan has no setting for; `HardwareError`.
  package static func exporting(_ plan: Plan) throws -> String {
    let degrees = try MegatronDegrees(of: plan)
    try check(plan, degrees)
    let job = plan.decision.job
    var writer = TorchtitanWriter()
    writer.remark(
      "\(plan.decision.graph.name) on \(counted(plan.decision.ranks, "device")), for torchtitan up to commit 9810191bb (2026-02-23); later jobs are Python"
    )
    writer.model(plan.decision.graph)
    writer.section("training")
    writer.batch(job, degrees)
    writer.precision(job, degrees)
    writer.section("parallelism")
    try writer.data(degrees)
    writer.value("tensor_parallel_degree", degrees.tensor)
    try writer.pipeline(degrees, plan.decision)
    writer.value("context_parallel_degree", degrees.context)
    if degrees.context > 1 { writer.value("context_parallel_rotate_method", degrees.contextWay == .ring ? "alltoall" : "allgather") }
    if degrees.expert > 1 {
      writer.value("expert_parallel_degree", degrees.expert)
      writer.value("expert_tensor_parallel_degree", degrees.tensor)
    }
    writer.section("activation_checkpoint")
    try writer.recompute(degrees, plan.decision)
    if job.software.updates == .inBackward {
      writer.section("optimizer")
      writer.value("early_step_in_backward", true)
    }
    if job.software.crossEntropy == .fused, job.precision != .fp32 {
      writer.section("compile")
      writer.value("enable", true)
      writer.raw("components", "[\"loss\"]")
    }
    return writer.text
  }

  private static func check(_ plan: Plan, _ degrees: MegatronDegrees) throws {
    let (decision, job) = (plan.decision, plan.decision.job)
    func refuse(_ place: String, _ reason: String) -> Inexpressible { Inexpressible(place, reason) }
    if job.mode != .train { throw refuse("the job", "is a forward pass; torchtitan trains") }
    if job.optimizer != .adamw { throw refuse("the optimizer", "is \(job.optimizer.rawValue); torchtitan has AdamW and Adam") }
    if job.precision != .bf16, job.precision != .fp32 {
      throw refuse("the precision", "is \(job.precision.rawValue); torchtitan has bfloat16 and float32")
    }
    let graph = decision.graph
    func name(_ matches: (OperatorKind) -> Bool) -> String { graph.operators.first { matches($0.kind) }?.name ?? graph.name }
    if degrees.tensor > 1 {
      guard degrees.isSequenceParallel else {
        let norm = name { if case .rmsNorm = $0 { true } else if case .layerNorm = $0 { true } else { false } }
        throw refuse(norm, "is replicated over the tensor-parallel devices; torchtitan's tensor parallelism splits the sequence there")
      }
      if let heads = graph.axes.filter({ $0.role == .heads }).map(\.extent).min(), heads % degrees.tensor != 0 {
        let attention = name { if case .attention = $0 { true } else { false } }
        throw refuse(attention, "has \(counted(heads, "key-value head")), which \(degrees.tensor) devices share out; torchtitan cuts no head")
      }
    }
    let divisor = 2 * degrees.tensor * degrees.context
    if divisor > 2, let sequence = job.sequence, sequence % divisor != 0 {
      throw refuse("the sequence", "of \(sequence) is no multiple of 2 × \(degrees.tensor) × \(degrees.context), which torchtitan asks for")
    }
    if degrees.context > 1 {
      let attention = name { if case .attention = $0 { true } else { false } }
      if degrees.contextWay == .ulysses {
        throw refuse(attention, "trades sequence for heads (Ulysses); torchtitan gathers keys and values or passes them on")
      }
      if !decision.isZigzag { throw refuse(attention, "has sequences in contiguous parts; torchtitan balances them in zig-zag order") }
      if degrees.expert > 1 { throw refuse("the experts", "stand beside context parallelism, whose devices torchtitan would give to them first") }
    }
    if job.software.updates == .inBackward, degrees.pipeline * degrees.expert > 1 {
      throw refuse("the optimizer", "updates weights in the backward pass, which torchtitan has without pipeline and expert parallelism alone")
    }
  }
}

/// The text of a job.
struct TorchtitanWriter {
  private(set) var text = ""

  mutating func remark(_ words: String) { text += "# \(words.onOneLine)\n" }
  mutating func section(_ name: String) { text += "\n[\(name)]\n" }
  mutating func raw(_ key: String, _ value: String) { text += "\(key) = \(value)\n" }
  mutating func value(_ key: String, _ value: Int) { raw(key, "\(value)") }
  mutating func value(_ key: String, _ value: Bool) { raw(key, "\(value)") }
  /// - Precondition: the words have nothing that must be escaped.
  mutating func value(_ key: String, _ words: String) { raw(key, "\"\(words)\"") }

  mutating func model(_ graph: Graph) {
    guard let flavor = TorchtitanFlavor.of(graph) else {
      remark("torchtitan has no model of these sizes by name: add [model] with the name and flavor under which you have registered it")
      return
    }
    section("model")
    value("name", "llama3")
    value("flavor", flavor.name)
  }

  mutating func batch(_ job: Job, _ degrees: MegatronDegrees) {
    let size = degrees.microBatchSize ?? 1
    value("local_batch_size", degrees.pipeline > 1 ? job.batch / degrees.data : size)
    value("global_batch_size", job.batch)
    if let sequence = job.sequence { value("seq_len", sequence) }
  }

  mutating func precision(_ job: Job, _ degrees: MegatronDegrees) {
    let isMixed = degrees.zero > .none || degrees.tensor * degrees.pipeline == 1
    value("mixed_precision_param", job.precision == .bf16 ? "bfloat16" : "float32")
    if job.precision == .bf16, !isMixed || job.software.gradients == .working { value("dtype", "bfloat16") }
  }

  mutating func data(_ degrees: MegatronDegrees) throws {
    let (place, isShared) = ("the data replicas", degrees.data * degrees.context > 1)
    switch degrees.zero {
    case .optimizer:
      throw Inexpressible(place, "share out optimizer state alone (ZeRO 1); torchtitan's FSDP shares out gradients and weights as well")
    case .none where isShared:
      guard degrees.tensor * degrees.pipeline * degrees.context == 1 else {
        throw Inexpressible(place, "share nothing out (ZeRO 0); torchtitan has that without other parallelism alone (plan with --zero 2 or 3)")
      }
      value("data_parallel_replicate_degree", degrees.data)
      value("data_parallel_shard_degree", 1)
    default:
      value("data_parallel_replicate_degree", 1)
      value("data_parallel_shard_degree", degrees.data)
      if isShared { value("fsdp_reshard_after_forward", degrees.zero == .weights ? "always" : "never") }
    }
  }

  mutating func pipeline(_ degrees: MegatronDegrees, _ decision: Decision) throws {
    value("pipeline_parallel_degree", degrees.pipeline)
    guard degrees.pipeline > 1 else {
      if decision.schedule.kind != .oneForwardOneBackward, decision.job.microBatches > 1 {
        throw Inexpressible(
          "the schedule", "has all forward passes before the first backward pass; torchtitan accumulates gradients one micro-batch at a time")
      }
      return
    }
    let names: [Schedule.Kind: String] = [.gpipe: "GPipe", .oneForwardOneBackward: "1F1B", .interleaved: "Interleaved1F1B"]
    value("pipeline_parallel_schedule", names[degrees.schedule]!)
    value("pipeline_parallel_microbatch_size", degrees.microBatchSize ?? 1)
    var next = 0
    let cut = decision.searchedLayers
    let parts = cut.enumerated().map { index, count in
      let layers = (next..<next + count).map { "\"layers.\($0)\"" }
      next += count
      return "["
        + ((index == 0 ? ["\"tok_embeddings\""] : []) + layers + (index == cut.count - 1 ? ["\"norm\"", "\"output\""] : [])).joined(separator: ", ")
        + "]"
    }
    raw("module_fqns_per_model_part", "[\n  " + parts.joined(separator: ",\n  ") + "\n]")
  }

  mutating func recompute(_ degrees: MegatronDegrees, _ decision: Decision) throws {
    switch degrees.recompute {
    case .none: value("mode", "none")
    case .elementwise where degrees.recomputedLayers == nil:
      value("mode", "selective")
      value("selective_ac_option", "op")
    case .full:
      guard let count = degrees.recomputedLayers else {
        value("mode", "full")
        return
      }
      let cut = decision.searchedLayers
      guard degrees.chunks == 1, let period = (2...max(2, cut.max() ?? 2)).first(where: { period in cut.allSatisfy { $0 / period == count } }) else {
        throw Inexpressible(
          "layer 0", "is one of \(count) layers of each stage that are computed again; torchtitan computes each n-th again, which gives other numbers"
        )
      }
      value("mode", "selective")
      value("selective_ac_option", "\(period)")
    default:
      throw Inexpressible(
        "layer 0", "computes \(degrees.recompute.rawValue) again; torchtitan has whole layers, each n-th layer, or norms and functions (op)")
    }
  }
}
