// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search
import Strategies

/// Lower bounds of the cuts of a frame whose stages are on devices of several kinds, with conversions counted and memory relaxed: each stage takes at
/// least what its layers take on its own kind. Each stage holds one chunk.
struct MixedBounds {
  private let space: Space
  private let frame: Space.Frame
  private let kindOfStage: [Int]
  private let models: [FoldedModel]
  private let minima: [BlockMinimum]
  /// By kind: a forward and a backward pass, and each alone.
  private let parts: [(both: FrameBounds.Parts, forward: FrameBounds.Parts, backward: FrameBounds.Parts)]
  /// By schedule and kind, what a stage does after the pipeline is filled, and once per step.
  private var filled: [Schedule: [FrameBounds.Parts]] = [:]

  /// - Parameter model: its operators, not connected.
  /// - Returns: nil where all stages are of one kind.
  init?(_ model: FoldedModel, space: Space, frame: Space.Frame, structures: KnownStructures) throws {
    if model.kinds.isEmpty { return nil }
    (self.space, self.frame) = (space, frame)
    kindOfStage = space.kinds(frame).ofStage
    models = model.kinds
    minima = models.map { BlockMinimum($0, structures: structures) }
    parts = try zip(models, minima).map { kind, minimum in
      (
        both: try Self.part(kind, minimum, .init(forward: 1, backward: 1), space),
        forward: try Self.part(kind, minimum, .init(forward: 1, backward: 0), space),
        backward: try Self.part(kind, minimum, .init(forward: 0, backward: 1), space)
      )
    }
  }

  /// What a layer takes at least where layers follow one another, and what its operators take without the conversions before the first.
  private static func part(_ model: FoldedModel, _ minimum: BlockMinimum, _ weights: Chain.Weights, _ space: Space) throws -> FrameBounds.Parts {
    var least = FrameBounds.least(model.nodes, model.pricing.graph) {
      weights.forward * $0.forward[$1] + weights.backward * $0.backward[$1] + weights.once * $0.once[$1]
    }
    guard space.layerSegments.count == 1, let segment = space.layerSegments.first else { return .init(least, space) }
    let alone = least[segment]
    var repeats = weights
    repeats.once = 0
    least[segment] = try minimum.least(.init(Chain(segment, of: least.count, weights, repeats: repeats)))?.sum ?? alone
    return .init(least, space, lessPerStage: least[segment] - alone)
  }

  private func warm(_ schedule: Schedule, stage: Int) -> Int64 {
    Int64(schedule.sparedPasses(stage: stage, stages: frame.stages, microBatches: frame.microBatches, mode: space.request.mode))
  }

  private mutating func filled(_ schedule: Schedule) throws -> [FrameBounds.Parts] {
    if let known = filled[schedule] { return known }
    let trains = space.request.mode == .train
    let m = Int64(frame.microBatches)
    let weights = Chain.Weights(forward: m - warm(schedule, stage: 0), backward: trains ? m : 0, once: trains ? 1 : 0)
    let parts = try zip(models, minima).map { try Self.part($0, $1, weights, space) }
    filled[schedule] = parts
    return parts
  }

  /// A lower bound of the step under a cut, by the chains of `ConnectedBounds`: one micro-batch through all stages, and the others through the one
  /// that takes longest; or forward through all, and all the rest on one stage.
  mutating func bound(_ schedule: Schedule, cut: [Int]) throws -> Int64 {
    let m = Int64(frame.microBatches)
    let filled = try filled(schedule)
    var (all, most, forwards, fullest): (Int64, Int64, Int64, Int64) = (0, 0, 0, 0)
    var start = 0
    for (s, count) in cut.enumerated() {
      let layers = start..<start + count
      start += count
      let part = parts[kindOfStage[s]]
      let (both, backward) = (part.both.stage(layers), part.backward.stage(layers))
      let warm = warm(schedule, stage: s)
      all += both
      most = max(most, (m - warm) * both + (warm - 1) * backward)
      forwards += part.forward.stage(layers)
      fullest = max(fullest, filled[kindOfStage[s]].stage(layers))
    }
    return max(all + most, forwards + fullest)
  }
}
