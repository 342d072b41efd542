// SPDX-License-Identifier: GPL-3.0-or-later
import Search
import Strategies

/// The best configurations, without those that say the same with other mesh axes.
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
}
