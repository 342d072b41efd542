// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

extension MegatronLaunch {
  /// A script that starts a plan with Megatron-LM: what data, tokenizer and learning rate are is left to its arguments. Read again, it is the plan.
  ///
  /// - Throws: `Inexpressible`, which names the layer, operator or stage that no options of Megatron-LM mean; `HardwareError`.
  package static func exporting(_ plan: Plan) throws -> String {
    let decision = plan.decision
    try check(decision)
    let degrees = try MegatronDegrees(of: plan)
    try check(degrees, decision)
    let script = try script(plan, degrees)
    try check(script, plan, degrees)
    return script
  }

  // MARK: - What no options mean

  private static func check(_ decision: Decision) throws {
    let (job, software) = (decision.job, decision.job.software)
    if job.mode != .train { throw Inexpressible("the job", "is a forward pass; Megatron-LM's training is what the options start") }
    if job.sequence == nil { throw Inexpressible("the model", "has no sequences of tokens") }
    if ![.bf16, .fp16, .fp32].contains(job.precision) { throw Inexpressible("the job", "is in \(job.precision.rawValue)") }
    if decision.schedule.kind == .gpipe {
      throw Inexpressible(
        "the schedule",
        "does all forward passes first; Megatron-LM has one forward and one backward pass in turn: search with --schedule 1f1b or interleaved")
    }
    // Where experts are chosen, sequences stay in their order in the price of either.
    if !decision.isZigzag, SequenceOrder.reorderable(in: decision.graph).contains(true) {
      throw Inexpressible("attention", "its sequences are split into contiguous parts; Megatron-LM's stand in zig-zag order")
    }
    if software.boundaries == .scattered { throw Inexpressible("the stages", "send a share each, which Megatron-LM does no more") }
    if software.updates == .inBackward { throw Inexpressible("the weights", "are updated in the backward pass; Megatron-LM updates them after it") }
    if software.gradients == .both { throw Inexpressible("the gradients", "are in memory in two formats; Megatron-LM has one") }
    if job.precision == .fp32, software.crossEntropy == .unfused || software.gradients != .accumulated {
      throw Inexpressible("the job", "has kernels of 16-bit training in fp32")
    }
  }

  private static func check(_ degrees: MegatronDegrees, _ decision: Decision) throws {
    let layer = decision.graph.segments.indices.first { decision.graph.holdsLayers($0) }.map { "layer \(decision.graph.copies(of: $0).lowerBound)" }
    let place = layer ?? "the layers"
    if degrees.recomputedLayers != nil, degrees.recompute != .full {
      throw Inexpressible(place, "computes \(degrees.recompute.rawValue) again, and other layers do not; in Megatron-LM all do, or it is full")
    }
    if degrees.recompute == .elementwise, !decision.graph.axes.contains(where: { $0.role == .experts }) {
      throw Inexpressible(place, "computes norms and activation functions again; Megatron-LM does both in layers with experts alone")
    }
    let completed = LaunchFormat.megatron.completed(degrees)
    if completed.recompute != degrees.recompute {
      throw Inexpressible(
        place,
        degrees.isSequenceParallel
          ? "keeps what it gathers; Megatron-LM's --sequence-parallel gathers it again in the backward pass (plan with --recompute gathered)"
          : "gathers again in the backward pass what it keeps split; Megatron-LM does so under --sequence-parallel alone")
    }
    if degrees.zero >= .gradients, decision.job.software.overlap == .none {
      throw Inexpressible("the weights", "are gathered when they are needed; Megatron-LM's FSDP does so ahead")
    }
  }

  /// What is read from the script is the plan.
  private static func check(_ script: String, _ plan: Plan, _ degrees: MegatronDegrees) throws {
    let launch: Launch
    do {
      launch = try reading(script, file: "the script")
    } catch {
      throw Inexpressible("the script", "cannot be read again: \(error)")
    }
    if let finding = launch.findings.first(where: { $0.severity == .illegal }) {
      throw Inexpressible(finding.place, finding.text)
    }
    let again: LaunchJob
    do {
      again = try LaunchJob(launch, graph: plan.decision.graph, on: plan.hardware)
    } catch PlannerError.usage(let text) {
      throw Inexpressible("the script", text)
    }
    let job = plan.decision.job
    guard again.request.software == job.software, again.request.precision == job.precision, again.request.optimizer == job.optimizer,
      again.request.batch == job.batch, again.request.sequence == job.sequence
    else { throw Inexpressible("the job", "has parts that options of Megatron-LM do not tell: \(job.software.remarks.joined(separator: ", "))") }
    var (read, meant) = (again.degrees, degrees)
    (read.stageLayers, meant.stageLayers) = (try again.fixing(read).stageLayers, try again.fixing(meant).stageLayers)
    if read != meant { throw Inexpressible("the degrees", "are read otherwise: \(LaunchEdits(.torch, from: meant, to: read).text)") }
  }

  // MARK: - The script

  private static func script(_ plan: Plan, _ degrees: MegatronDegrees) throws -> String {
    let decision = plan.decision
    let (perNode, nodes) = try nodes(plan)
    let model = MegatronModel(of: decision)
    var lines = [
      "#!/bin/bash",
      "# \(decision.graph.name.onOneLine) on \(counted(decision.ranks, "device")) of \(plan.hardware.name.onOneLine): a plan of tpplan, with a predicted step of \(plan.prediction.step).",
      "# Data, tokenizer, learning rate and checkpoints are arguments of this script, for example: --mock-data --tokenizer-type NullTokenizer --lr 1e-4",
      "# --train-iters 10; on several nodes also NODE_RANK and MASTER_ADDR.",
      "set -e",
    ]
    // Before Blackwell, kernels of tensor and context parallelism rely on one queue, and FSDP on several.
    if degrees.zero < .gradients { lines.append("export CUDA_DEVICE_MAX_CONNECTIONS=1") }
    func add(_ name: String, _ options: [String]) {
      lines += ["", "\(name)=("] + options.filter { !$0.isEmpty }.map { "  \($0)" } + [")"]
    }
    var launcher = ["--nproc_per_node \(perNode)", "--nnodes \(nodes)"]
    if nodes > 1 { launcher += ["--node_rank \"${NODE_RANK:-0}\"", "--master_addr \"${MASTER_ADDR:-localhost}\"", "--master_port 29500"] }
    add("LAUNCHER", launcher)
    if let model {
      add("MODEL", model.flags)
    } else {
      lines += [
        "", "# No options of Megatron-LM describe this model in full: MODEL_ARGUMENTS has them. `tpplan lint --model` takes the model's own file.",
      ]
    }
    add("PARALLELISM", parallelism(degrees, decision))
    add("JOB", job(degrees, decision))
    let arrays = ["MODEL", "PARALLELISM", "JOB"].filter { $0 != "MODEL" || model != nil }.map { "\"${\($0)[@]}\"" }
    let parts = (model == nil ? ["$MODEL_ARGUMENTS"] : []) + arrays + ["\"$@\""]
    lines += ["", "torchrun \"${LAUNCHER[@]}\" pretrain_gpt.py \(parts.joined(separator: " "))"]
    return lines.joined(separator: "\n") + "\n"
  }

  /// Devices of a node and nodes, where the nodes are alike; else all on one.
  private static func nodes(_ plan: Plan) throws -> (perNode: Int, nodes: Int) {
    let cluster = try plan.hardware.cluster(devices: plan.decision.ranks)
    let perNode = cluster.nodeOfDevice.prefix { $0 == 0 }.count
    return cluster.deviceCount % perNode == 0 ? (perNode, cluster.deviceCount / perNode) : (cluster.deviceCount, 1)
  }

  private static func parallelism(_ degrees: MegatronDegrees, _ decision: Decision) -> [String] {
    var options = [
      "--tensor-model-parallel-size \(degrees.tensor)", "--pipeline-model-parallel-size \(degrees.pipeline)",
      degrees.context > 1 ? "--context-parallel-size \(degrees.context)" : "",
      degrees.expert > 1 ? "--expert-model-parallel-size \(degrees.expert)" : "",
      degrees.isSequenceParallel ? "--sequence-parallel" : "",
    ]
    if degrees.context > 1 {
      switch degrees.contextWay {
      case .ring, nil: options.append("--cp-comm-type p2p")
      case .gather: options.append("--cp-comm-type all_gather")
      case .ulysses: options.append("--cp-comm-type a2a")
      }
    }
    let layout = MegatronFlags.layout(degrees)
    if !layout.isEmpty {
      options.append(layout)
    } else if degrees.chunks > 1 {
      options.append("--num-virtual-stages-per-pipeline-rank \(degrees.chunks)")
    }
    options += [MegatronFlags.recompute(degrees), MegatronFlags.zero(degrees.zero)]
    if degrees.recompute == .elementwise { options.append("--moe-grouped-gemm") }
    // Tokens are priced on their way to experts and back alone, which is not Megatron-LM's default.
    if decision.graph.axes.contains(where: { $0.role == .experts }) { options.append("--moe-token-dispatcher-type alltoall") }
    if decision.job.software.overlap == .weights {
      options.append("--overlap-grad-reduce" + (degrees.zero >= .optimizer ? " --overlap-param-gather" : ""))
    }
    return options
  }

  private static func job(_ degrees: MegatronDegrees, _ decision: Decision) -> [String] {
    let (job, software) = (decision.job, decision.job.software)
    var options = [
      "--micro-batch-size \(degrees.microBatchSize ?? 1)", "--global-batch-size \(job.batch)", "--seq-length \(job.sequence ?? 1)",
      "--optimizer \(job.optimizer == .sgd ? "sgd" : "adam")", "--attention-backend \(software.attention == .fused ? "flash" : "unfused")",
    ]
    switch job.precision {
    case .bf16: options.append("--bf16" + (software.gradients == .working ? " --grad-reduce-in-bf16" : ""))
    case .fp16: options.append("--fp16" + (software.gradients == .accumulated ? " --accumulate-allreduce-grads-in-fp32" : ""))
    default: break
    }
    if job.precision != .fp32, software.crossEntropy == .fused { options.append("--cross-entropy-loss-fusion") }
    return options
  }
}
