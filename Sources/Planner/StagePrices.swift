// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Plans
import Quantities
import Strategies

/// What one copy of each operator and each segment takes for one micro-batch on the devices of a stage. A prediction's own list has the slowest devices' times.
package struct StageParts {
  package let operators: [Prediction.OperatorPart]
  /// For each segment, what its passes take longer than its operators because the host hands kernels over more slowly than the devices run them.
  package let heldUp: [Seconds]
}

/// What a frame's stages are priced by: for each kind of devices, or each run of stages with one mesh, its prices.
struct StagePrices {
  let pricings: [Pricing]
  /// For each stage the number of its prices.
  let kindOfStage: [Int]
  let links: DecisionPricing.Links?
  private let hasRuns: Bool

  init(_ frame: Space.Frame, _ space: Space, _ model: Pricing.Model) throws {
    hasRuns = !frame.runs.isEmpty
    if hasRuns {
      let placed = space.placed(frame.runs)
      (pricings, kindOfStage) = (try space.pricings(frame, on: placed, model: model), space.runOfStage(frame))
      links = placed.links
    } else {
      let placed = space.placed(stages: frame.stages, mesh: frame.mesh)
      (pricings, kindOfStage) = (try space.pricings(frame, on: placed, model: model), placed.kinds.ofStage)
      links = placed.links
    }
  }

  func predict(_ decision: Decision) throws -> (prediction: Prediction, objective: Int64, timeline: PipelineTimeline) {
    try DecisionPricing.predict(decision, pricings: pricings, kindOfStage: kindOfStage, links: links)
  }

  /// For each group of devices; what has the same prices is priced once.
  func parts(of decision: Decision) throws -> [StageParts] {
    let parts = try pricings.indices.map { kind in
      try DecisionPricing.parts(of: decision, pricings: pricings, kind: kind, kindOfStage: kindOfStage, links: links)
    }
    return kindOfStage.map { parts[$0] }
  }

  /// For each segment of a decision the number of its prices; the first where stages have one mesh.
  private func kinds(_ decision: Decision) -> [Int] {
    decision.graph.segments.indices.map { segment in
      guard hasRuns else { return 0 }
      return decision.stages.firstIndex { $0.units.contains { $0.segment == segment } }.map { kindOfStage[$0] } ?? 0
    }
  }

  /// For each segment the ways between layouts on its mesh. On devices of several kinds they are those that are cheapest on the first stage's.
  func resharders(_ decision: Decision) -> [Resharder] {
    let all = hasRuns ? pricings.map { Resharder($0) } : [Resharder(pricings[0])]
    return kinds(decision).map { all[$0] }
  }

  /// The order in which the positions of an axis stand under a choice of strategies: on all meshes the same.
  func order(ofAxis axis: AxisID, under strategies: [Strategy], _ decision: Decision) -> SequenceOrder {
    guard hasRuns else { return pricings[0].order(ofAxis: axis, under: strategies) }
    let kinds = kinds(decision)
    let isSplit = strategies.enumerated().contains { op, strategy in
      !pricings[kinds[decision.graph.segmentOfOperator[op]]].meshAxes(splitting: axis, inCausal: op, strategy).isEmpty
    }
    return isSplit ? pricings[0].orders[axis] : .natural
  }
}
