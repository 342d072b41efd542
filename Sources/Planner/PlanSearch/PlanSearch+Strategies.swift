// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// Strategies of meshes with several axes, left out before they are priced.
extension PlanSearch {
  /// Bounds a frame of more than two mesh axes from its axes and its operators' strategies, and leaves out of it from then on what no plan of interest can
  /// take.
  mutating func isExcludedByStrategies(_ frame: Space.Frame) throws -> Bool {
    guard let cutoff, space.request.leavesOutStrategies, Space.isFine(frame.mesh), left[frame] == nil else { return false }
    let axisBounds = try axisBounds(frame.stages, frame.size, frame.microBatches)
    let placed = placed(stages: frame.stages, mesh: frame.mesh)
    guard var bounds = StrategyBounds(axisBounds, placed, frame, space, limit: limit) else { return false }
    guard try bounds.bound(below: cutoff) < cutoff else { return true }
    left[frame] = try strategiesLeft(by: bounds, frame, placed)
    // What they take on the mesh is known only once they are priced, which is quick for few of them.
    let ties = space.certainTies(stages: frame.stages)
    let models = try space.recomputes.compactMap { try operators(frame.recomputing($0), ties) }
    guard models.count == space.recomputes.count else { return false }
    bounds.refine(models)
    guard try bounds.bound(below: cutoff) < cutoff else { return true }
    left[frame] = try strategiesLeft(by: bounds, frame, placed)
    return false
  }

  private mutating func strategiesLeft(by bounds: StrategyBounds, _ frame: Space.Frame, _ placed: Space.Placed) throws -> [[UInt16]] {
    let pricing = try space.pricing(frame, on: placed, model: model(frame))
    return space.strategies(pricing, frame, structures).enumerated().map { op, strategies in
      strategies.indices.filter { bounds.isLeft(op, strategies[$0]) }.map(UInt16.init)
    }
  }

  /// Of a frame's strategies those that were not left out. Where layers are of two kinds a strategy of one kind is in less of the work than was counted,
  /// so all are left.
  func strategiesLeft(_ all: [[Strategy]], _ frame: Space.Frame) -> [[Strategy]] {
    guard frame.first == nil, let numbers = left[frame.recomputing(.none)] else { return all }
    return zip(all, numbers).map { all, numbers in numbers.map { all[Int($0)] } }
  }
}
