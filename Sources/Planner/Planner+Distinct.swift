// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Plans
import Search
import Strategies

/// Plans that differ in how their mesh is written.
extension Planner {
  /// Searches for as many configurations as are asked for that differ in more than how a mesh is written: `2x4`, `4x2` and `8` are one where every
  /// operator treats both axes alike.
  ///
  /// What is wanted is the beginning of the list of all configurations, so where some of it are equal a longer list is asked for.
  static func searchDistinct(_ request: SearchRequest, _ monitor: SearchMonitor) throws -> PlanOutcome {
    var asked = request
    var result: (search: PlanSearch, space: Space)?
    while true {
      var (search, space) = try explore(asked, monitor)
      let isWholeList = search.found.count < asked.top
      search.found = distinct(search.found)
      // A longer list that was cut short says less than a shorter one that was not.
      if result == nil || search.isComplete { result = (search, space) }
      if isWholeList || !search.isComplete || search.found.count >= request.top { break }
      // As if as many of the rest were equal.
      asked.top = asked.top * request.top / max(1, search.found.count) + 1
    }
    guard var best = result else { preconditionFailure("at least one search was made") }
    best.search.found = Array(best.search.found.prefix(request.top))
    return try outcome(best.search, best.space)
  }

  /// Of equal plans the first.
  private static func distinct(_ candidates: [PlanSearch.Candidate]) -> [PlanSearch.Candidate] {
    var seen = Set<PlanSearch.Candidate.Essence>()
    return candidates.filter { seen.insert($0.essence).inserted }
  }
}

extension PlanSearch.Candidate {
  /// What a plan is, however the mesh is written.
  struct Essence: Hashable {
    let frame: Space.Frame
    let schedule: Schedule
    let cut: [Int]
    let first: Int
    let zero: [ZeROStage]
    /// By operator and mesh axis.
    let assignments: [[Int?]]
  }

  /// With neighbouring mesh axes as one where every operator treats them alike.
  var essence: Essence {
    let all = strategies.map(\.assignment)
    guard frame.runs.isEmpty else { return Essence(frame: frame, schedule: schedule, cut: cut, first: first, zero: zero, assignments: all) }
    var axes: [(first: Int, size: Int)] = []
    for axis in frame.mesh.indices where frame.mesh[axis] > 1 {
      if let last = axes.last, all.allSatisfy({ $0[last.first] == $0[axis] }) {
        axes[axes.count - 1].size *= frame.mesh[axis]
      } else {
        axes.append((axis, frame.mesh[axis]))
      }
    }
    let frame = Space.Frame(
      stages: frame.stages, mesh: axes.map(\.size), microBatches: frame.microBatches, recompute: frame.recompute, first: frame.first)
    return Essence(
      frame: frame, schedule: schedule, cut: cut, first: first, zero: zero, assignments: all.map { assignment in axes.map { assignment[$0.first] } })
  }

  /// The same plan on the mesh of fewest axes, if the search may choose that mesh, and the plan fits on it and takes no longer.
  ///
  /// A search ends when nothing is better than what it has, and may have found `4x2` before `8`, which people read more easily and more programs can express.
  ///
  /// - Throws: `PlannerError` where the plan cannot be priced.
  func joiningAlikeAxes(_ space: Space) throws -> PlanSearch.Candidate {
    let (essence, request) = (essence, space.request)
    let joined = essence.frame
    guard joined.mesh.count < frame.mesh.count, !joined.mesh.isEmpty, frame.shares.isEmpty, request.form == nil, request.constraints.isEmpty,
      space.meshes(size: joined.size).contains(joined.mesh), space.isPossible(mesh: joined.mesh, microBatches: joined.microBatches)
    else { return self }
    let placed = space.placed(stages: joined.stages, mesh: joined.mesh)
    let pricing = try space.pricings(joined, on: placed)[0]
    let strategies = zip(essence.assignments, pricing.rules).map { Strategy(assignment: $0, rule: $1) }
    guard zip(strategies, space.strategies(pricing, joined)).allSatisfy({ $1.contains($0) }) else { return self }
    func candidate(_ objective: Int64) -> PlanSearch.Candidate {
      PlanSearch.Candidate(frame: joined, schedule: schedule, cut: cut, first: first, strategies: strategies, zero: zero, objective: objective)
    }
    let written = try Planner.written(candidate(objective), space)
    let (prediction, time, _) = try written.prices.predict(written.decision)
    let isWithin = request.ignoresMemoryLimit || prediction.memory <= request.memoryLimit ?? prediction.memoryLimit
    return isWithin && time <= objective + Outcome.tolerance(of: objective) ? candidate(time) : self
  }
}
