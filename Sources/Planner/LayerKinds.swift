// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// The layers of a plan as a search has them: written once, alike, or the first ones of each stage of one kind and the rest of another. A plan has each
/// stage's layers of a kind as a segment of their own.
package struct LayerKinds {
  private let plan: Decision
  /// The model with its layers written once.
  package let graph: Graph
  /// For each operator of the plan, the one of `graph` that it stems from.
  package let origins: [OperatorID]
  /// For each segment of the plan the kind of its layers, 0 or 1; nil for what are no layers, and where all are alike.
  let kindOfSegment: [Int?]
  /// So many layers of each stage, the first, are of the first kind; nil where all are alike.
  let first: Int?
  /// What the segments of `graph` compute again; where there are two kinds, those that hold no layers.
  let recompute: [Recompute]
  /// What layers of each kind compute again; one kind where all are alike.
  let recomputeOfKinds: [Recompute]

  /// What one layer of a segment is like.
  private struct Likeness: Hashable {
    let recompute: Recompute
    let assignments: [[Int?]]
    let zero: [ZeROStage]

    init(_ decision: Decision, _ segment: SegmentID) {
      let operators = decision.graph.segments[segment].operators
      recompute = decision.recompute[segment]
      assignments = operators.map { decision.assignments[$0] }
      zero = operators.map { decision.zero[$0] }
    }
  }

  /// - Returns: nil where the layers are written once, or otherwise than a search divides them: stages with several meshes, more than two kinds.
  package init?(_ decision: Decision) {
    plan = decision
    guard decision.stageMeshes.isEmpty, let (graph, origins) = decision.graph.joiningParts() else { return nil }
    let layers = graph.segments.indices.filter { graph.holdsLayers($0) }
    guard layers.count == 1, let block = layers.first else { return nil }
    (self.graph, self.origins) = (graph, origins)
    let segments = decision.graph.segments
    func segment(of id: SegmentID) -> SegmentID { graph.segmentOfOperator[origins[segments[id].operators[0]]] }
    let parts = segments.indices.filter { segment(of: $0) == block }
    let likeness = Dictionary(uniqueKeysWithValues: parts.map { ($0, Likeness(decision, $0)) })
    recompute = graph.segments.indices.map { joined in decision.recompute[segments.indices.first { segment(of: $0) == joined }!] }
    guard Set(likeness.values).count > 1 else {
      kindOfSegment = [Int?](repeating: nil, count: segments.count)
      (first, recomputeOfKinds) = (nil, [recompute[block]])
      return
    }
    let stages = decision.stages.map { $0.units.filter { likeness[$0.segment] != nil } }
    guard let mixed = stages.first(where: { $0.count > 1 }), let own = likeness[mixed[0].segment], let rest = likeness[mixed[1].segment],
      Set(likeness.values) == [own, rest]
    else { return nil }
    let count = mixed[0].copies.count
    let isAsSearched = stages.allSatisfy { units in
      guard let unit = units.first else { return true }
      return likeness[unit.segment] == own && (units.count == 1 ? unit.copies.count <= count : unit.copies.count == count)
        && units.count <= 2 && units.dropFirst().allSatisfy { likeness[$0.segment] == rest }
    }
    if !isAsSearched { return nil }
    kindOfSegment = segments.indices.map { id in likeness[id].map { $0 == own ? 0 : 1 } }
    (first, recomputeOfKinds) = (count, [own.recompute, rest.recompute])
  }

  /// A search whose space is the plan with other strategies, with the layers so.
  ///
  /// - Parameter request: the same with the plan's own graph.
  package func fix(_ request: SearchRequest) -> SearchRequest {
    var fixed = request
    fixed.graph = graph
    guard let first else {
      fixed.recomputeOfSegments = recompute
      return fixed
    }
    fixed.recomputeOfSegments = nil
    (fixed.recomputedLayers, fixed.recompute, fixed.recomputeOfRest) = (first, recomputeOfKinds[0], recomputeOfKinds[1])
    return fixed
  }

  /// The kind of layer that an operator of the plan is of; nil where all are alike.
  package func kind(of op: OperatorID) -> Int? { kindOfSegment[plan.graph.segmentOfOperator[op]] }

  /// Whether two operators of the plan are one of the search's: the same one in layers of one kind.
  package func areOne(_ a: OperatorID, _ b: OperatorID) -> Bool { origins[a] == origins[b] && kind(of: a) == kind(of: b) }
}
