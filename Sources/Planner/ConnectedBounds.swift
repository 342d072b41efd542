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
    let rounds = frame.stages == 1 ? Int64(frame.microBatches) : 1
    let copies = graph.segments.map { Int64($0.repeats) }
    // Everything once (or as often as there are micro-batches), and what the smallest first stage does once per step.
    let weights = graph.segments.indices.map { segment in
      Weights(
        forward: rounds * copies[segment], backward: rounds * copies[segment],
        once: frame.stages == 1 ? copies[segment] : (segment <= space.layerSegments.lowerBound ? 1 : 0))
    }
    let warm = Int64(
      schedule.passesBeforeBackward(stage: 0, stages: frame.stages, microBatches: frame.microBatches, mode: space.request.mode))
    let m = Int64(frame.microBatches)
    if frame.stages > 1, space.layerSegments.count == 1 {
      // Of every cut some stage holds at least this many layers: the chains through it, jointly.
      let layers = Int64((space.layerCount + frame.stages - 1) / frame.stages)
      let segment = space.layerSegments.lowerBound
      var drained = weights
      drained[segment].forward += (m - warm) * layers
      var filled = graph.segments.indices.map { Weights(forward: copies[$0], backward: 0, once: 0) }
      filled[segment] = Weights(forward: copies[segment] + (m - warm) * layers, backward: m * layers, once: layers)
      if trains { drained[segment].backward += (m - 1) * layers }
      for weights in trains ? [filled, drained] : [drained] {
        guard try Self.least(model, weights, seams: 0, cutoff: cutoff) != nil else { return nil }
      }
    }
    guard let whole = try Self.least(model, weights, seams: rounds, cutoff: cutoff) else { return nil }
    self.whole = whole
    if frame.stages == 1 {
      let nothing = [Int64](repeating: 0, count: copies.count)
      (both, backward, stage) = (.init(nothing, space), .init(nothing, space), .init(nothing, space))
      forwards = 0
      return
    }
    func part(_ weight: Weights, _ alone: [Int64]) throws -> FrameBounds.Parts {
      // What stands before and after the layers occurs once: its operators alone are close enough.
      let least = try graph.segments.indices.map { segment in
        guard space.layerSegments.contains(segment) else { return alone[segment] }
        return try Self.least(model, graph.segments.indices.map { $0 == segment ? weight : Weights() }, seams: 0) ?? 0
      }
      return .init(least, space)
    }
    both = try part(Weights(forward: 1, backward: 1, once: 0), FrameBounds.least(model.nodes, graph) { $0.forward[$1] + $0.backward[$1] })
    backward = try part(Weights(forward: 0, backward: 1, once: 0), FrameBounds.least(model.nodes, graph) { $0.backward[$1] })
    let chain = Weights(forward: m - warm, backward: trains ? m : 0, once: trains ? 1 : 0)
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

  private struct Weights {
    var forward: Int64 = 0
    var backward: Int64 = 0
    var once: Int64 = 0
  }

  /// The least weighted sum over all strategies; `seams` is how often each seam's conversions count. Nil where it reaches the cutoff, or there is
  /// no choice.
  private static func least(_ model: FoldedModel, _ weights: [Weights], seams: Int64, cutoff: Int64? = nil) throws -> Int64? {
    let graph = model.pricing.graph
    var builder = try ProblemBuilder()
    for node in model.nodes {
      let w = weights[node.segment]
      _ = try builder.addNode(
        costs: node.forward.indices.map { w.forward * node.forward[$0] + w.backward * node.backward[$0] + w.once * node.once[$0] })
    }
    for edge in model.edges {
      let (forward, backward): (Int64, Int64)
      switch edge.place {
      case .inside(let segment): (forward, backward) = (weights[segment].forward, weights[segment].backward)
      case .seam(let from, let to):
        let count = seams * (from == to ? Int64(graph.segments[to].repeats - 1) : 1)
        (forward, backward) = (count, count)
      }
      try builder.addEdge(
        edge.tail, edge.head,
        costs: edge.forward.indices.map {
          edge.forward[$0] == Problem.forbidden ? Problem.forbidden : forward * edge.forward[$0] + backward * edge.backward[$0]
        })
    }
    let outcome = try builder.build().solve(SolveOptions(cutoff: cutoff, reductions: .all.subtracting(.dominance)))
    switch outcome.status {
    case .infeasible, .cutoff: return nil
    case .optimal, .timeLimit: return outcome.lowerBound
    }
  }
}
