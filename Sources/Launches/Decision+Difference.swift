// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

extension Decision {
  /// The first thing in which a plan differs from what some degrees or flags mean, with the layer, operator or stage where it does; nil where they are one
  /// plan. What the model is called is no difference, nor into which segments its layers are written.
  package func difference(from meant: Decision) -> Inexpressible? {
    let (own, other) = (sites, meant.sites)
    return aroundOperators(meant, own, other) ?? ofOperators(meant, own, other) ?? ofLayers(meant, own, other) ?? ofConversions(meant)
  }

  /// One operator of one copy.
  private struct Site: Hashable {
    let name: String
    let op: OperatorID
    let segment: SegmentID
    /// The number of its layer; nil where it stands in none.
    let layer: Int?

    /// `layer 21, model.layers.21.mlp.up_proj`.
    var place: String { layer.map { "layer \($0), \(name)" } ?? name }
  }

  /// In the model's order.
  private var sites: [Site] {
    graph.segments.indices.flatMap { segment in
      (0..<graph.segments[segment].repeats).flatMap { copy in
        graph.segments[segment].operators.map { op in
          let name = graph.operators[op].name
          let layer = Graph.isPerCopy(name) ? Graph.firstCopy(name) + copy : nil
          return Site(name: Graph.name(name, copy: copy), op: op, segment: segment, layer: layer)
        }
      }
    }
  }

  /// What each virtual stage holds: layers by their numbers, and what stands before and after them.
  private var holdings: [[String]] {
    stages.map { stage in
      stage.units.flatMap { unit in
        let first = graph.copies(of: unit.segment).lowerBound
        return unit.copies.map { graph.holdsLayers(unit.segment) ? "layer \(first + $0)" : graph.segments[unit.segment].name }
      }
    }
  }

  private func aroundOperators(_ meant: Decision, _ own: [Site], _ other: [Site]) -> Inexpressible? {
    guard own.map(\.name) == other.map(\.name), graph.axes.map(\.extent) == meant.graph.axes.map(\.extent) else {
      return Inexpressible("the model", "has other operators or sizes than the one that is meant")
    }
    if mesh != meant.mesh { return Inexpressible("the mesh", "is \(MegatronDegrees.text(mesh)), not \(MegatronDegrees.text(meant.mesh))") }
    if job.microBatches != meant.job.microBatches {
      return Inexpressible("the micro-batches", "are \(job.microBatches), not \(meant.job.microBatches)")
    }
    if job != meant.job { return Inexpressible("the job", "is another one: \(job.inWords), not \(meant.job.inWords)") }
    if schedule != meant.schedule {
      func text(_ schedule: Schedule) -> String { schedule.kind.rawValue + (schedule.chunks > 1 ? " of \(schedule.chunks) chunks" : "") }
      return Inexpressible("the schedule", "is \(text(schedule)), not \(text(meant.schedule))")
    }
    if stages.count != meant.stages.count { return Inexpressible("the pipeline", "has \(stages.count) parts, not \(meant.stages.count)") }
    for (stage, (held, wanted)) in zip(holdings, meant.holdings).enumerated() where held != wanted {
      func text(_ parts: [String]) -> String { parts.count > 1 ? "\(parts[0]) to \(parts[parts.count - 1])" : parts.first ?? "nothing" }
      return Inexpressible("stage \(stage)", "holds \(text(held)), not \(text(wanted))")
    }
    if stageMeshes != meant.stageMeshes { return Inexpressible("the mesh", "differs from stage to stage") }
    if shares != meant.shares { return Inexpressible("the micro-batches", "are not shared out evenly") }
    return nil
  }

  private func ofOperators(_ meant: Decision, _ own: [Site], _ other: [Site]) -> Inexpressible? {
    for (site, wanted) in zip(own, other) {
      if assignments[site.op] != meant.assignments[wanted.op] {
        let rule = OperatorRules.rule(for: site.op, in: graph)
        func text(_ assignment: [Int?]) -> String { Strategy(assignment: assignment, rule: rule).words(rule).joined(separator: ",") }
        return Inexpressible(
          site.place,
          "is split \(text(assignments[site.op])) on \(MegatronDegrees.text(mesh(ofOperator: site.op))); the degrees mean \(text(meant.assignments[wanted.op]))"
        )
      }
      if zero[site.op] != meant.zero[wanted.op] {
        return Inexpressible(site.place, "its weights have ZeRO \(zero[site.op].rawValue); the degrees mean \(meant.zero[wanted.op].rawValue)")
      }
    }
    return nil
  }

  private func ofLayers(_ meant: Decision, _ own: [Site], _ other: [Site]) -> Inexpressible? {
    for (site, wanted) in zip(own, other) where recompute[site.segment] != meant.recompute[wanted.segment] {
      return Inexpressible(
        site.layer.map { "layer \($0)" } ?? graph.segments[site.segment].name,
        "computes \(recompute[site.segment].rawValue) again; the degrees mean \(meant.recompute[wanted.segment].rawValue)")
    }
    for (axis, order) in orders.enumerated() where order != meant.orders[axis] {
      func text(_ order: SequenceOrder) -> String { order.isNatural ? "contiguous parts" : "zig-zag order" }
      return Inexpressible("axis \(graph.axes[axis].name)", "stands in \(text(order)); the degrees mean \(text(meant.orders[axis]))")
    }
    return nil
  }

  /// Which conversions there are follows from the splits; how they are done need not.
  private func ofConversions(_ meant: Decision) -> Inexpressible? {
    let wanted = meant.conversionsOfCopies
    for (key, steps) in conversionsOfCopies.sorted(by: { $0.key < $1.key }) {
      guard let other = wanted[key], other != steps else { continue }
      return Inexpressible(key.tensor, "gets from \(key.from) to \(key.to) by other collectives than the degrees mean")
    }
    return nil
  }

  private struct ConversionKey: Hashable, Comparable {
    let tensor: String
    let from: String
    let to: String

    static func < (a: ConversionKey, b: ConversionKey) -> Bool { (a.tensor, a.from, a.to) < (b.tensor, b.from, b.to) }
  }

  private var conversionsOfCopies: [ConversionKey: [ReshardingStep]] {
    var result: [ConversionKey: [ReshardingStep]] = [:]
    for conversion in conversions {
      let copies = graph.segment(ofActivation: conversion.tensor).map { graph.segments[$0].repeats } ?? 1
      for copy in 0..<copies {
        let name = Graph.name(graph.tensors[conversion.tensor].name, copy: copy)
        result[ConversionKey(tensor: name, from: conversion.from.notation, to: conversion.to.notation)] = conversion.steps
      }
    }
    return result
  }
}

extension Job {
  fileprivate var inWords: String {
    let parts = ["batch \(batch)", sequence.map { "sequence \($0)" }, mode.rawValue, precision.rawValue, optimizer.rawValue] + software.remarks
    return parts.compactMap { $0 }.joined(separator: ", ")
  }
}
