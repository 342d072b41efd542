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
  /// The frame's operators.
  private let model: FoldedModel
  private let minimum: BlockMinimum
  private let whole: Int64
  /// The parts that need all stages' layers, once some cut asks for them.
  private var parts: Parts?

  /// By schedule, what a stage does after the pipeline is filled, jointly: m backward and m − w forward passes, and once per step.
  private var filled: [Schedule.Kind: FrameBounds.Parts] = [:]

  private struct Parts {
    let both: FrameBounds.Parts
    let backward: FrameBounds.Parts
    /// One forward pass, and one through every stage, of operators by themselves.
    let forward: FrameBounds.Parts
    let forwards: Int64
  }

  /// - Returns: nil where no cut can be below the cutoff, under any schedule, or no choice of strategies is possible.
  init?(_ model: FoldedModel, _ minimum: BlockMinimum, space: Space, frame: Space.Frame, cutoff: Int64?) throws {
    (self.space, self.frame, self.model, self.minimum) = (space, frame, model, minimum)
    func least(_ chain: Chain) throws -> Int64? {
      let cutoff = cutoff.map { $0 * chain.sharers }
      guard let least = try minimum.least(.init(chain), cutoff: cutoff)?.sum, least < cutoff ?? .max else { return nil }
      return least
    }
    // Of those with one chunk on each stage, a schedule that lets a stage do more forward passes before its first backward pass has no longer
    // chains; interleaved ones have chains of their own.
    let schedules = space.loosestSchedules(stages: frame.stages, size: frame.size, microBatches: frame.microBatches)
    let plain = schedules.filter { $0.kind != .interleaved }.max { Self.warm($0, frame, space) < Self.warm($1, frame, space) }
    let loosest = frame.stages == 1 ? [] : [plain, schedules.first { $0.kind == .interleaved }].compactMap { $0 }
    if !loosest.isEmpty {
      let isOpen = try loosest.contains { schedule in
        try Chain.bounds(space, stages: frame.stages, microBatches: frame.microBatches, schedule: schedule).allSatisfy { try least($0) != nil }
      }
      guard isOpen else { return nil }
    }
    guard let whole = try least(.whole(space, stages: frame.stages, microBatches: frame.microBatches)) else { return nil }
    self.whole = whole
  }

  private func warm(_ schedule: Schedule, stage: Int) -> Int64 { Self.warm(schedule, frame, space, stage: stage) }

  private static func warm(_ schedule: Schedule, _ frame: Space.Frame, _ space: Space, stage: Int = 0) -> Int64 {
    Int64(schedule.sparedPasses(stage: stage, stages: frame.stages, microBatches: frame.microBatches, mode: space.request.mode))
  }

  /// A lower bound of the step under a cut.
  mutating func bound(_ schedule: Schedule, cut: [Int]) throws -> Int64 {
    let m = Int64(frame.microBatches)
    if frame.stages == 1 { return whole }
    if parts == nil { parts = try measure() }
    guard let parts else { return whole }
    let filled = try filled(schedule)
    if schedule.kind == .interleaved { return interleaved(schedule, cut, parts, filled) }
    var (most, fullest): (Int64, Int64) = (0, 0)
    var start = 0
    for (s, count) in cut.enumerated() {
      let layers = start..<start + count
      start += count
      let warm = warm(schedule, stage: s)
      let (both, backward) = (parts.both.stage(layers), parts.backward.stage(layers))
      most = max(most, (m - warm) * both + (warm - 1) * backward)
      fullest = max(fullest, filled.stage(layers))
    }
    return max(whole + most, parts.forwards + fullest)
  }

  /// Each stage's own passes, with what it does once per step, after the first micro-batch has come to it.
  private func interleaved(_ schedule: Schedule, _ cut: [Int], _ parts: Parts, _ filled: FrameBounds.Parts) -> Int64 {
    let chunks = ChunkTimes(cut, both: parts.both.chunk, forward: parts.forward.chunk, backward: parts.backward.chunk)
    var own = [Int64](repeating: 0, count: frame.stages)
    var start = 0
    for (k, count) in cut.enumerated() {
      own[k % frame.stages] += filled.chunk(start..<start + count)
      start += count
    }
    var (fullest, before): (Int64, Int64) = (0, 0)
    for s in own.indices {
      fullest = max(fullest, before + own[s])
      before += chunks.forward[s]
    }
    return max(chunks.bound(schedule, stages: frame.stages, microBatches: frame.microBatches), fullest, whole)
  }

  private mutating func filled(_ schedule: Schedule) throws -> FrameBounds.Parts {
    if let known = filled[schedule.kind] { return known }
    let trains = space.request.mode == .train
    let m = Int64(frame.microBatches)
    let spared = schedule.kind == .interleaved ? 0 : warm(schedule, stage: 0)
    let weights = Chain.Weights(forward: m - spared, backward: trains ? m : 0, once: trains ? 1 : 0)
    let alone = FrameBounds.least(model.nodes, model.pricing.graph) {
      weights.forward * $0.forward[$1] + weights.backward * $0.backward[$1] + weights.once * $0.once[$1]
    }
    let part = try part(weights, alone)
    filled[schedule.kind] = part
    return part
  }

  private func measure() throws -> Parts {
    let graph = model.pricing.graph
    let forward = FrameBounds.least(model.nodes, graph) { $0.forward[$1] }
    let forwards = zip(graph.segments, forward).reduce(Int64(0)) { $0 + Int64($1.0.repeats) * $1.1 }
    return Parts(
      both: try part(Chain.Weights(forward: 1, backward: 1), FrameBounds.least(model.nodes, graph) { $0.forward[$1] + $0.backward[$1] }),
      backward: try part(Chain.Weights(forward: 0, backward: 1), FrameBounds.least(model.nodes, graph) { $0.backward[$1] }),
      forward: .init(forward, space), forwards: forwards)
  }

  /// - Parameter alone: for a copy of each segment, what its operators take at least by themselves.
  private func part(_ weights: Chain.Weights, _ alone: [Int64]) throws -> FrameBounds.Parts {
    let count = alone.count
    // What stands before and after the layers occurs once: its operators alone are close enough.
    var least = alone
    guard space.layerSegments.count == 1, let segment = space.layerSegments.first else {
      for segment in space.layerSegments { least[segment] = try minimum.least(.init(Chain(segment, of: count, weights)))?.sum ?? 0 }
      return .init(least, space)
    }
    // A stage of n equal layers has at least n − 1 conversions between them.
    var repeats = weights
    repeats.once = 0
    least[segment] = try minimum.least(.init(Chain(segment, of: count, weights, repeats: repeats)))?.sum ?? 0
    return .init(least, space, lessPerStage: least[segment] - alone[segment])
  }
}
