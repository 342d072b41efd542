// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Strategies

/// The model of a candidate with its stages. Where layers differ, a stage's layers of one kind are a segment of their own; where stages have several
/// meshes, the layers of each run of stages are.
struct WrittenModel {
  let graph: Graph
  let stages: [Stage]
  /// For each operator the one of the searched model whose choice it takes.
  let origins: [OperatorID]
  /// For each segment.
  let recompute: [Recompute]

  init(_ candidate: PlanSearch.Candidate, _ space: Space) {
    let searched = space.recompute(candidate.frame)
    let meshes = candidate.frame.runs
    if !meshes.isEmpty, !space.runOfDividedSegment.isEmpty {
      (graph, origins) = (space.request.graph, Array(space.request.graph.operators.indices))
      (stages, recompute) = (Self.stages(space.stages(cut: candidate.cut), segments: graph.segments.count), searched)
      return
    }
    if !meshes.isEmpty {
      let units = space.stages(cut: candidate.cut, runs: meshes)
      let first = space.layerSegments.lowerBound
      let copies = meshes.indices.map { run in units.joined().reduce(0) { $0 + ($1.segment == first + run ? $1.copies : 0) } }
      (graph, origins) = (space.request.graph.dividing(first, into: copies).graph, Array(space.graph(candidate.frame).operators.indices))
      (stages, recompute) = (Self.stages(units, segments: graph.segments.count), searched)
      return
    }
    guard candidate.frame.first != nil, let variants = space.variants else {
      graph = space.request.graph
      stages = Self.stages(space.stages(cut: candidate.cut), segments: graph.segments.count)
      origins = Array(graph.operators.indices)
      recompute = searched
      return
    }
    let kinds = space.stages(cut: candidate.cut, first: candidate.first)
    let runs = kinds.joined().filter { variants.segments.contains($0.segment) }
    let (segment, more) = (variants.segments.lowerBound, runs.count - variants.segments.count)
    graph = space.request.graph.dividing(segment, into: runs.map(\.copies)).graph
    /// The searched model's segment that one of this model stems from.
    func source(_ id: SegmentID) -> SegmentID {
      id < segment ? id : id < segment + runs.count ? runs[id - segment].segment : id - more
    }
    origins = graph.segments.indices.flatMap { variants.graph.segments[source($0)].operators }
    recompute = graph.segments.indices.map { searched[source($0)] }
    var next = segment
    let units = kinds.map { units in
      units.map { unit in
        if unit.segment < segment { return unit }
        if unit.segment >= variants.segments.upperBound { return Space.UnitCount(unit.segment + more, unit.copies) }
        next += 1
        return Space.UnitCount(next - 1, unit.copies)
      }
    }
    stages = Self.stages(units, segments: graph.segments.count)
  }

  private static func stages(_ units: [[Space.UnitCount]], segments: Int) -> [Stage] {
    var next = [Int](repeating: 0, count: segments)
    return units.map { units in
      Stage(
        units: units.map { unit in
          let first = next[unit.segment]
          next[unit.segment] += unit.copies
          return UnitRange(segment: unit.segment, copies: first..<first + unit.copies)
        })
    }
  }
}

extension PlanSearch.Candidate {
  /// The same plan with layers alike, where both kinds of layers came out as one.
  func joiningEqualKinds(_ space: Space) -> PlanSearch.Candidate {
    guard frame.first == frame.recompute, let variants = space.variants else { return self }
    let operators = variants.segments.map { variants.graph.segments[$0].operators }
    let areEqual = zip(operators[0], operators[1]).allSatisfy { strategies[$0] == strategies[$1] && zero[$0] == zero[$1] }
    if !areEqual { return self }
    let kept = variants.graph.operators.indices.filter { !operators[1].contains($0) }
    return PlanSearch.Candidate(
      frame: frame.recomputing(frame.recompute), schedule: schedule, cut: cut, first: 0, strategies: kept.map { strategies[$0] },
      zero: kept.map { zero[$0] }, objective: objective)
  }
}
