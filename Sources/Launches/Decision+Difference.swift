// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension Decision {
  /// The first thing in which a plan differs from what some degrees or flags mean, with the layer, operator or stage where it does; nil where they are one
  /// plan. What the model is called is no difference.
  ///
  /// - Precondition: both are of the same operators.
  package func difference(from meant: Decision) -> Inexpressible? {
    aroundOperators(meant) ?? ofOperators(meant) ?? ofLayers(meant) ?? ofConversions(meant)
  }

  private func aroundOperators(_ meant: Decision) -> Inexpressible? {
    guard graph.operators.map(\.name) == meant.graph.operators.map(\.name), graph.axes.map(\.extent) == meant.graph.axes.map(\.extent) else {
      return Inexpressible("the model", "has other operators or sizes than the one that is meant")
    }
    if mesh != meant.mesh { return Inexpressible("the mesh", "is \(MegatronDegrees.text(mesh)), not \(MegatronDegrees.text(meant.mesh))") }
    if job != meant.job {
      if job.microBatches != meant.job.microBatches {
        return Inexpressible("the micro-batches", "are \(job.microBatches), not \(meant.job.microBatches)")
      }
      return Inexpressible("the job", "is another one: \(job.inWords), not \(meant.job.inWords)")
    }
    if schedule != meant.schedule {
      return Inexpressible("the schedule", "is \(schedule.kind.rawValue) of \(schedule.chunks), not \(meant.schedule.kind.rawValue) of \(meant.schedule.chunks)")
    }
    if stages.count != meant.stages.count { return Inexpressible("the pipeline", "has \(stages.count) parts, not \(meant.stages.count)") }
    for (stage, (own, other)) in zip(stages, meant.stages).enumerated() where own != other {
      func text(_ stage: Stage) -> String {
        stage.units.map { "\(counted($0.copies.count, "copy", plural: "copies")) of \(graph.segments[$0.segment].name)" }.joined(separator: ", ")
      }
      return Inexpressible("stage \(stage)", "holds \(text(own)), not \(text(other))")
    }
    if stageMeshes != meant.stageMeshes { return Inexpressible("the mesh", "differs from stage to stage") }
    if shares != meant.shares { return Inexpressible("the micro-batches", "are not shared out evenly") }
    return nil
  }

  /// An operator with its layer's number: `layer 21, model.layers.21.mlp.up_proj`.
  private func place(_ op: OperatorID) -> String {
    let name = graph.operators[op].name
    guard Graph.isPerCopy(name) else { return name }
    return "layer \(Graph.firstCopy(name)), \(Graph.name(name, copy: 0))"
  }

  private func ofOperators(_ meant: Decision) -> Inexpressible? {
    for op in graph.operators.indices {
      if assignments[op] != meant.assignments[op] {
        let rule = OperatorRules.rule(for: op, in: graph)
        func text(_ assignment: [Int?]) -> String { Strategy(assignment: assignment, rule: rule).words(rule).joined(separator: ",") }
        return Inexpressible(
          place(op), "is split \(text(assignments[op])) on \(MegatronDegrees.text(mesh(ofOperator: op))); the degrees mean \(text(meant.assignments[op]))")
      }
      if zero[op] != meant.zero[op] {
        return Inexpressible(place(op), "its weights have ZeRO \(zero[op].rawValue); the degrees mean \(meant.zero[op].rawValue)")
      }
    }
    return nil
  }

  private func ofLayers(_ meant: Decision) -> Inexpressible? {
    for segment in graph.segments.indices where recompute[segment] != meant.recompute[segment] {
      let place = graph.holdsLayers(segment) ? "layer \(graph.copies(of: segment).lowerBound)" : graph.segments[segment].name
      return Inexpressible(place, "computes \(recompute[segment].rawValue) again; the degrees mean \(meant.recompute[segment].rawValue)")
    }
    for (axis, order) in orders.enumerated() where order != meant.orders[axis] {
      return Inexpressible(
        "axis \(graph.axes[axis].name)",
        "stands in \(order.isNatural ? "contiguous parts" : "zig-zag order"); the degrees mean \(meant.orders[axis].isNatural ? "contiguous parts" : "zig-zag order")"
      )
    }
    return nil
  }

  private func ofConversions(_ meant: Decision) -> Inexpressible? {
    if conversions == meant.conversions { return nil }
    let pair = conversions.first { !meant.conversions.contains($0) } ?? meant.conversions.first { !conversions.contains($0) }
    guard let conversion = pair else { return nil }
    let reader = graph.consumers[conversion.tensor].first?.op
    return Inexpressible(
      reader.map(place) ?? graph.tensors[conversion.tensor].name,
      "gets \(graph.tensors[conversion.tensor].name) from \(conversion.from.notation) to \(conversion.to.notation) by other collectives than the degrees mean")
  }
}

extension Job {
  fileprivate var inWords: String {
    let parts = ["batch \(batch)", sequence.map { "sequence \($0)" }, mode.rawValue, precision.rawValue, optimizer.rawValue] + software.remarks
    return parts.compactMap { $0 }.joined(separator: ", ")
  }
}
