// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search
import Strategies

/// Lower bounds of a frame's cuts with conversions counted and memory relaxed.
///
/// A chain of `PipelineTimeline.bounds` takes Σ_r t_r + (m−w_s)·t_s + (w_s−1)·b_s; each of the three parts is minimised over the strategies by
/// itself, for a copy of each segment, so that every cut is bounded by arithmetic.
struct ConnectedBounds {
  private let space: Space
  private let frame: Space.Frame
  private let schedule: Schedule
  private let whole: Int64
  private let both: FrameBounds.Parts
  private let backward: FrameBounds.Parts
  /// What a stage does after the pipeline is filled, jointly: m backward and m − w forward passes, and once per step.
  private let stage: FrameBounds.Parts
  /// One forward pass through every stage.
  private let forwards: Int64

  /// - Returns: nil where no cut can be below the cutoff, or no choice of strategies is possible.
  init?(_ model: FoldedModel, space: Space, frame: Space.Frame, schedule: Schedule, cutoff: Int64?) throws {
    self.space = space
    self.frame = frame
    self.schedule = schedule
    let graph = model.pricing.graph
    let trains = space.request.mode == .train
    let copies = graph.segments.map { Int64($0.repeats) }
    for chain in Chain.bounds(space, stages: frame.stages, microBatches: frame.microBatches, schedule: schedule) {
      guard try model.least(chain, cutoff: cutoff) != nil else { return nil }
    }
    guard let whole = try model.least(.whole(space, stages: frame.stages, microBatches: frame.microBatches), cutoff: cutoff) else { return nil }
    self.whole = whole
    if frame.stages == 1 {
      let nothing = [Int64](repeating: 0, count: copies.count)
      (both, backward, stage) = (.init(nothing, space), .init(nothing, space), .init(nothing, space))
      forwards = 0
      return
    }
    let count = graph.segments.count
    func part(_ weights: Chain.Weights, _ alone: [Int64]) throws -> FrameBounds.Parts {
      // What stands before and after the layers occurs once: its operators alone are close enough.
      let least = try graph.segments.indices.map { segment in
        guard space.layerSegments.contains(segment) else { return alone[segment] }
        return try model.least(Chain(segment, of: count, weights)) ?? 0
      }
      // A stage of n equal layers has at least n − 1 conversions between them.
      guard space.layerSegments.count == 1, let segment = space.layerSegments.first else { return .init(least, space) }
      var repeats = weights
      repeats.once = 0
      let joined = try model.least(Chain(segment, of: count, weights, repeats: repeats)) ?? 0
      return .init(alone.indices.map { $0 == segment ? joined : least[$0] }, space, lessPerStage: joined - least[segment])
    }
    let warm = Int64(
      schedule.passesBeforeBackward(stage: 0, stages: frame.stages, microBatches: frame.microBatches, mode: space.request.mode))
    let m = Int64(frame.microBatches)
    both = try part(Chain.Weights(forward: 1, backward: 1, once: 0), FrameBounds.least(model.nodes, graph) { $0.forward[$1] + $0.backward[$1] })
    backward = try part(Chain.Weights(forward: 0, backward: 1, once: 0), FrameBounds.least(model.nodes, graph) { $0.backward[$1] })
    let chain = Chain.Weights(forward: m - warm, backward: trains ? m : 0, once: trains ? 1 : 0)
    stage = try part(
      chain,
      FrameBounds.least(model.nodes, graph) {
        chain.forward * $0.forward[$1] + chain.backward * $0.backward[$1] + chain.once * $0.once[$1]
      })
    forwards = FrameBounds.least(model.nodes, graph) { $0.forward[$1] }.enumerated().reduce(0) { $0 + copies[$1.offset] * $1.element }
  }

  /// A lower bound of the step under a cut.
  func bound(cut: [Int]) -> Int64 {
    if frame.stages == 1 { return whole }
    var (most, fullest): (Int64, Int64) = (0, 0)
    var start = 0
    for (s, count) in cut.enumerated() {
      let layers = start..<start + count
      start += count
      fullest = max(fullest, stage.stage(layers))
      let warm = Int64(
        schedule.passesBeforeBackward(stage: s, stages: frame.stages, microBatches: frame.microBatches, mode: space.request.mode))
      most = max(most, (Int64(frame.microBatches) - warm) * both.stage(layers) + (warm - 1) * backward.stage(layers))
    }
    return max(whole + most, forwards + fullest)
  }
}
