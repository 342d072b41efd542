// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Search
import Strategies

/// Lower bounds of what the stages of one mesh take for one micro-batch, forward and backward (forward alone in a forward run), whatever passes
/// between them: enough to bound every cut of two runs of stages.
struct RunParts {
  /// What stands before all layers, and after them.
  private let before: Int64
  private let after: Int64
  /// One layer, and one that follows another.
  private let layer: Int64
  private let again: Int64

  /// Where so many devices share all work and data of a stage perfectly, as in `CountBounds`.
  init(_ bounds: CountBounds, _ space: Space, size: Int) {
    let graph = bounds.alone.pricing.graph
    let trains = space.request.mode == .train
    func times(_ model: FoldedModel) -> [Int64] { FrameBounds.least(model.nodes, graph) { $0.forward[$1] + (trains ? $0.backward[$1] : 0) } }
    let nodes = FrameBounds.least(bounds.alone.nodes, graph) { _, _ in 1 }
    let least = zip(zip(times(bounds.alone), times(bounds.startup)), nodes).map { pair, nodes in
      let (most, startup) = (Double(pair.0), Double(pair.1))
      // Each cost is rounded to a whole tick.
      return max(0, Int64((startup + (most - startup) / Double(size)).rounded(.down)) - 4 * nodes)
    }
    self.init(least, again: least, space)
  }

  /// On a mesh, with the conversions inside a copy of a segment and between two copies; nil where there is no choice.
  ///
  /// - Parameter model: of all segments on that mesh, not connected.
  init?(_ model: FoldedModel, _ space: Space) throws {
    let minimum = BlockMinimum(model)
    let segments = model.pricing.graph.segments.count
    let trains = space.request.mode == .train
    func least(_ segment: SegmentID, withSeam: Bool) throws -> Int64? {
      let once = Configuration.Weights(forward: 1, backward: trains ? 1 : 0)
      var weights = [Configuration.Weights](repeating: .init(), count: segments)
      weights[segment] = once
      return try minimum.least(
        .init(segments: weights) { place in
          switch place {
          case .inside(let own): own == segment ? once : .init()
          case .seam(let from, let to): withSeam && from == segment && to == segment ? once : .init()
          case .crossing, .exchange: .init()
          }
        })?.sum
    }
    var (alone, again): ([Int64], [Int64]) = ([], [])
    for segment in 0..<segments {
      guard let first = try least(segment, withSeam: false), let next = try least(segment, withSeam: true) else { return nil }
      alone.append(first)
      again.append(next)
    }
    self.init(alone, again: again, space)
  }

  private init(_ least: [Int64], again: [Int64], _ space: Space) {
    let layer = space.layerSegments.lowerBound
    before = least[..<layer].reduce(0, +)
    after = least[(layer + 1)...].reduce(0, +)
    (self.layer, self.again) = (least[layer], again[layer])
  }

  private func layers(_ count: Int) -> Int64 { layer + Int64(count - 1) * again }

  /// The least step of any cut into two runs of stages: a micro-batch through all stages, and the others through the one that takes longest, which takes
  /// no less than the mean of its run's.
  ///
  /// Σ_r t_r + (m − w)·t_s, as in `PipelineTimeline.bounds`; w is how many passes the schedule spares the first stage, which is the most.
  static func bound(_ first: RunParts, _ second: RunParts, _ runs: Space.RunSizes, microBatches: Int, _ space: Space) -> Int64 {
    let schedules = space.schedules(stages: runs.allStages, microBatches: microBatches).filter { $0.kind != .interleaved }
    let spared = schedules.map { $0.sparedPasses(stage: 0, stages: runs.allStages, microBatches: microBatches, mode: space.request.mode) }.max() ?? 1
    let rounds = Int64(microBatches - spared)
    let counts = space.request.stageLayers.map { [$0[..<runs.stages[0]].reduce(0, +)] } ?? Array(runs.stages[0]...space.layerCount - runs.stages[1])
    return counts.map { count -> Int64 in
      let (a, b) = (first.before + first.layers(count), second.layers(space.layerCount - count) + second.after)
      return a + b + rounds * max(a / Int64(runs.stages[0]), b / Int64(runs.stages[1]))
    }.min() ?? .max
  }

  /// The least step of one cut.
  ///
  /// - Parameter parts: of each run.
  static func bound(_ parts: [RunParts], _ frame: Space.Frame, _ schedule: Schedule, cut: [Int], _ mode: Mode) -> Int64 {
    var (all, most, stage): (Int64, Int64, Int) = (0, 0, 0)
    for (number, run) in frame.runs.enumerated() {
      for place in 0..<run.stages {
        // The first layer of a run follows none of its own.
        var time = (place == 0 ? parts[number].layer : parts[number].again) + Int64(cut[stage] - 1) * parts[number].again
        if stage == 0 { time += parts[number].before }
        if stage == frame.stages - 1 { time += parts[number].after }
        let spared = schedule.sparedPasses(stage: stage, stages: frame.stages, microBatches: frame.microBatches, mode: mode)
        all += time
        most = max(most, Int64(frame.microBatches - spared) * time)
        stage += 1
      }
    }
    return all + most
  }
}
