// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// Strategies of meshes with several axes, left out before they are priced.
extension PlanSearch {
  /// Bounds a frame from its axes and its operators' strategies. On a mesh of more than two axes, the strategies that no plan of interest can take are
  /// left out of the frame from then on.
  mutating func isExcludedByStrategies(_ frame: Space.Frame) throws -> Bool {
    guard let cutoff, left[frame.configuration] == nil, frame.mesh.count(where: { $0 > 1 }) > 1 else { return false }
    let key = [frame.stages, frame.size, frame.microBatches]
    var axisBounds = try axisBounds(frame.stages, frame.size, frame.microBatches)
    let placed = placed(stages: frame.stages, mesh: frame.mesh)
    let made = StrategyBounds(&axisBounds, placed, frame, space, limit: limit)
    axes[key] = axisBounds
    guard var bounds = made else { return false }
    guard try bounds.bound(below: cutoff) < cutoff else { return true }
    guard Space.isFine(frame.mesh) else { return false }
    let pricing = try space.pricing(frame, on: placed, model: model(frame))
    left[frame.configuration] = space.strategies(pricing, frame).enumerated().map { op, strategies in
      strategies.indices.filter { bounds.isLeft(op, strategies[$0]) }.map(UInt16.init)
    }
    return false
  }

  /// Of a frame's strategies those that were not left out. Where layers are of two kinds a strategy of one kind is in less of the work than was counted,
  /// so all are left.
  func strategiesLeft(_ all: [[Strategy]], _ frame: Space.Frame) -> [[Strategy]] {
    guard frame.first == nil, let numbers = left[frame.recomputing(.none)] else { return all }
    return zip(all, numbers).map { all, numbers in numbers.map { all[Int($0)] } }
  }
}
