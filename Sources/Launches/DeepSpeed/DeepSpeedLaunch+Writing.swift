// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

extension DeepSpeedLaunch {
  /// The configuration that means a plan. How DeepSpeed works (its kernels, where gradients stand outside of ZeRO) is DeepSpeed's, and no part of it.
  ///
  /// - Throws: `Inexpressible`, which names the layer, operator or stage that DeepSpeed has no setting for; `HardwareError`.
  package static func exporting(_ plan: Plan) throws -> String {
    let decision = plan.decision
    let styled = decision.splitsLayers ? try StyledPlan(of: plan, matching: .globs) : nil
    let degrees = try styled?.degrees ?? MegatronDegrees(of: plan)
    try check(decision, degrees)
    var object = JSON.Object()
    object["train_batch_size"] = .int(decision.job.batch)
    object["train_micro_batch_size_per_gpu"] = .int(degrees.microBatchSize ?? 1)
    object["gradient_accumulation_steps"] = .int(decision.job.microBatches)
    object["optimizer"] = ["type": .string(decision.job.optimizer == .adamw ? "AdamW" : "SGD")]
    writePrecision(decision.job, degrees, &object)
    var zero = JSON.Object([("stage", .int(degrees.zero.rawValue))])
    if degrees.zero > .none, degrees.pipeline == 1 { zero["overlap_comm"] = .bool(decision.job.software.overlap == .weights) }
    object["zero_optimization"] = .object(zero)
    if let styled, degrees.tensor > 1 { object["tensor_parallel"] = try tensorParallel(styled, decision.graph) }
    if degrees.context > 1 { object["sequence_parallel_size"] = .int(degrees.context) }
    if degrees.expert > 1 { object["expert_parallel"] = ["enabled": true, "autoep_size": .int(degrees.expert)] }
    if degrees.pipeline > 1 { object["pipeline"] = try pipeline(plan, degrees) }
    if degrees.recompute == .full, degrees.pipeline == 1 {
      object["activation_checkpointing"] = ["number_checkpoints": .int(decision.searchedLayers.reduce(0, +))]
    }
    return String(decoding: JSON.object(object).prettyBytesInOrder, as: UTF8.self)
  }

  private static func check(_ decision: Decision, _ degrees: MegatronDegrees) throws {
    let job = decision.job
    if job.mode != .train { throw Inexpressible("the job", "is a forward pass; a DeepSpeed configuration is of a training") }
    if ![.bf16, .fp16, .fp32].contains(job.precision) {
      throw Inexpressible("the precision", "is \(job.precision.rawValue); DeepSpeed has bf16, fp16 and fp32")
    }
    if job.software.updates == .inBackward {
      throw Inexpressible("the optimizer", "updates weights in the backward pass; DeepSpeed has no setting for that")
    }
    let attention = decision.graph.operators.first { if case .attention = $0.kind { true } else { false } }
    if degrees.context > 1, degrees.contextWay != .ulysses {
      throw Inexpressible(attention?.name ?? "the sequence", "shares out sequences otherwise than by Ulysses, which DeepSpeed has alone")
    }
    if degrees.chunks > 1 { throw Inexpressible("stage 0", "holds \(degrees.chunks) chunks; DeepSpeed's pipeline has one on each stage") }
    if degrees.schedule == .gpipe, degrees.pipeline > 1 || job.microBatches > 1 {
      throw Inexpressible("the schedule", "has all forward passes before the first backward pass; DeepSpeed's is 1F1B")
    }
    if degrees.pipeline > 1, degrees.zero > .optimizer {
      throw Inexpressible("the data replicas", "share out gradients (ZeRO \(degrees.zero.rawValue)); beside a pipeline DeepSpeed has ZeRO 1 alone")
    }
    if degrees.recompute != .none, degrees.recompute != .full || degrees.recomputedLayers != nil {
      let count = degrees.recomputedLayers.map { " in \($0) layers of each stage" } ?? ""
      throw Inexpressible("layer 0", "computes \(degrees.recompute.rawValue) again\(count); DeepSpeed checkpoints whole layers, all of them")
    }
    if degrees.expert > 1, degrees.context > 1 {
      throw Inexpressible("the experts", "stand beside Ulysses; AutoEP has the expert-parallel devices inside of the data-parallel ones")
    }
  }

  private static func writePrecision(_ job: Job, _ degrees: MegatronDegrees, _ object: inout JSON.Object) {
    guard job.precision != .fp32 else { return }
    var section: JSON.Object = JSON.Object([("enabled", .bool(true))])
    if degrees.zero > .none, job.software.gradients != .working {
      object["data_types"] = ["grad_accum_dtype": "fp32"]
      if job.precision == .bf16, degrees.zero == .optimizer, job.software.gradients == .accumulated { section["immediate_grad_update"] = true }
    }
    object[job.precision.rawValue] = .object(section)
  }

  private static func tensorParallel(_ styled: StyledPlan, _ graph: Graph) throws -> JSON {
    var specifications: [JSON] = []
    for style in styled.styles {
      let op = graph.operators.indices.first { graph.moduleNames($0)[0] == style.pattern && graph.operators[$0].kind != .bias }!
      if let weight = graph.ownWeight(op), let source = graph.tensors[weight].parameter, !source.isStacked,
        source.checkpointShape.reduce(1, *) != graph.count(weight)
      {
        throw Inexpressible(
          graph.operators[op].name, "is stored with others as \(source.checkpointName), whose parts the configuration would have to describe")
      }
      var members = JSON.Object()
      members["patterns"] = .array([.string(expression(style.pattern))])
      switch style.style {
      case "colwise": members["partition_type"] = "column"
      case "colwise_gather_output":
        if graph.ownWeight(op) == nil {
          throw Inexpressible(graph.operators[op].name, "has the embedding's weight; AutoTP leaves tied weights whole")
        }
        members["partition_type"] = "column"
        members["gather_output"] = true
      case "rowwise": members["partition_type"] = "row"
      case "replicated_with_grad_allreduce": continue
      default:
        throw Inexpressible(graph.operators[op].name, "would need the style \(style.style); AutoTP splits linear layers by columns and by rows")
      }
      specifications.append(.object(members))
    }
    return [
      "autotp_size": .int(styled.degrees.tensor),
      "partition_config": ["use_default_specs": false, "layer_specs": .array(specifications)],
    ]
  }

  private static func expression(_ module: String) -> String {
    "^" + module.replacing(".", with: "\\.").replacing("*", with: "\\d+") + "\\.weight$"
  }

  private static func pipeline(_ plan: Plan, _ degrees: MegatronDegrees) throws -> JSON {
    let cut = plan.decision.searchedLayers
    var request = try plan.request()
    (request.stageLayers, request.recomputeOfSegments) = (nil, nil)
    let even = try Planner.evenStages(request, stages: degrees.pipeline)
    if let stage = cut.indices.first(where: { cut[$0] != even[$0] }) {
      throw Inexpressible(
        "stage \(stage)", "holds \(counted(cut[stage], "layer")); a uniform cut, which is all that the configuration says, gives it \(even[stage])")
    }
    var object = JSON.Object([("stages", .int(degrees.pipeline)), ("partition", .string("uniform"))])
    if degrees.recompute == .full { object["activation_checkpoint_interval"] = 1 }
    if degrees.tensor > 1 { object["pipe_partitioned"] = .bool(plan.decision.job.software.boundaries == .scattered) }
    return .object(object)
  }
}

extension Decision {
  /// Whether some mesh axis splits products otherwise than by samples, sequences or experts.
  var splitsLayers: Bool {
    graph.operators.indices.contains { op in
      let rule = OperatorRules.rule(for: op, in: graph)
      return rule.isProduct
        && assignments[op].contains { axis in
          axis.map { target in
            let role = rule.iteration[target].role
            return ![.batch, .experts, .slots].contains(role) && !role.isPosition
          } ?? false
        }
    }
  }
}
