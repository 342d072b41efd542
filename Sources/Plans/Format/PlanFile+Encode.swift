// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Strategies

extension PlanFile {
  /// The plan as JSON; `decode` gives an equal plan.
  package static func encode(_ plan: Plan) -> JSON {
    let decision = plan.decision
    let graph = decision.graph
    let model = ModelReader.encode(graph)
    let hardware = plan.hardware.json
    let recompute = graph.segments.indices.filter { decision.recompute[$0] != .none }.map { segment -> (String, JSON) in
      (graph.segments[segment].name, .string(decision.recompute[segment].rawValue))
    }
    var object = JSON.Object()
    object["format"] = .string(format)
    object["job"] = decision.job.json
    object["mesh"] = .array(decision.mesh.map { .int($0) })
    object["schedule"] = .string(decision.schedule.kind.rawValue)
    object["stages"] = .array(decision.stages.indices.map { json(stage: $0, of: decision) })
    object["operators"] = .array(graph.operators.indices.map { json(operator: $0, of: plan) })
    object["recompute"] = .object(JSON.Object(recompute))
    object["conversions"] = .array(decision.conversions.map { json(conversion: $0, in: graph) })
    object["predicted"] = plan.prediction.json(graph)
    object["certificate"] = plan.certificate.json
    object["assumptions"] = .array(plan.assumptions.map { .string($0) })
    object["model"] = ["source_sha256": .string(plan.modelSHA256), "sha256": .string(model.sha256), "document": model]
    object["hardware"] = ["source_sha256": .string(plan.hardwareSHA256), "sha256": .string(hardware.sha256), "document": hardware]
    if !decision.stageMeshes.isEmpty { object["stage_meshes"] = .array(decision.stageMeshes.map { .array($0.map { .int($0) }) }) }
    if case .interleaved(let chunks) = decision.schedule { object["chunks"] = .int(chunks) }
    let zigzag = graph.axes.indices.filter { !decision.orders[$0].isNatural }
    if !zigzag.isEmpty { object["zigzag_pairs"] = .object(JSON.Object(zigzag.map { (graph.axes[$0].name, .int(decision.orders[$0].pairs)) })) }
    if let shares = decision.shares { object["batch_shares"] = .array(shares.samples.map { .int($0) }) }
    if plan.idleDevices > 0 { object["idle"] = ["first_device": .int(decision.ranks), "devices": .int(plan.idleDevices)] }
    return .object(object)
  }

  private static func json(stage: Int, of decision: Decision) -> JSON {
    let ranks = decision.ranks(ofGroup: decision.group(ofStage: stage))
    return [
      "first_device": .int(ranks.lowerBound),
      "devices": .int(ranks.count),
      "units": .array(
        decision.stages[stage].units.map { unit in
          [
            "segment": .string(decision.graph.segments[unit.segment].name), "first_copy": .int(unit.copies.lowerBound),
            "copies": .int(unit.copies.count),
          ]
        }),
    ]
  }

  private static func json(operator id: OperatorID, of plan: Plan) -> JSON {
    let graph = plan.decision.graph
    let op = graph.operators[id]
    let rule = OperatorRules.rule(for: id, in: graph)
    let strategy = Strategy(assignment: plan.decision.assignments[id], rule: rule)
    func use(_ tensor: TensorID, _ layout: Layout, _ gradient: Layout) -> JSON {
      ["tensor": .string(graph.tensors[tensor].name), "layout": .string(layout.notation), "gradient": .string(gradient.notation)]
    }
    var object = JSON.Object([
      ("name", .string(op.name)),
      ("strategy", .string(strategy.words(rule).joined(separator: ","))),
      ("assignment", .array(strategy.assignment.map { axis in axis.map { .string(rule.iteration[$0].name) } ?? .null })),
      ("operands", .array(zip(op.operands, strategy.operands).map { use($0, $1.forward, $1.gradient) })),
      ("result", use(op.result, strategy.result, strategy.resultGradient)),
      ("predicted", plan.prediction.operators[id].json),
    ])
    let zero = plan.decision.zero[id]
    if zero != .none { object["zero"] = .int(zero.rawValue) }
    return .object(object)
  }

  private static func json(conversion: Conversion, in graph: Graph) -> JSON {
    [
      "tensor": .string(graph.tensors[conversion.tensor].name), "from": .string(conversion.from.notation), "to": .string(conversion.to.notation),
      "steps": .array(conversion.steps.map(\.json)),
    ]
  }
}

extension Job {
  fileprivate var json: JSON {
    var object = JSON.Object([("batch", .int(batch)), ("micro_batches", .int(microBatches))])
    object["sequence"] = sequence.map { .int($0) }
    object["mode"] = .string(mode.rawValue)
    object["optimizer"] = .string(optimizer.rawValue)
    object["dtype"] = .string(precision.rawValue)
    if software.attention != .fused { object["attention"] = .string(software.attention.rawValue) }
    if software.crossEntropy != .fused { object["cross_entropy"] = .string(software.crossEntropy.rawValue) }
    if software.gradients != .accumulated { object["gradients"] = .string(software.gradients.rawValue) }
    if software.boundaries != .whole { object["boundaries"] = .string(software.boundaries.rawValue) }
    if software.updates != .afterBackward { object["updates"] = .string(software.updates.rawValue) }
    if software.overlap != .none { object["overlap"] = .string(software.overlap.rawValue) }
    return .object(object)
  }
}

extension ReshardingStep {
  fileprivate var json: JSON {
    var object = JSON.Object([("kind", .string(kindName)), ("axes", .array(axes.map { .int($0) }))])
    switch action {
    case .allReduce: break
    case .allGather(let dimension), .reduceScatter(let dimension), .slice(let dimension): object["dimension"] = .int(dimension)
    case .allToAll(let from, let to):
      object["from_dimension"] = .int(from)
      object["to_dimension"] = .int(to)
    }
    return .object(object)
  }
}
