// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search
import Strategies

/// Lower bounds of what a frame's parts take, with memory relaxed, from which every cut of the frame is bounded by arithmetic alone.
struct FrameBounds {
  /// One micro-batch through every stage, forward and backward, and once per step what the smallest first stage does.
  let whole: Int64
  /// One copy of each segment, with the conversions at its entry left out: forward and backward together, forward, and backward.
  let both: [Int64]
  let forward: [Int64]
  let backward: [Int64]

  /// - Returns: nil where no choice of strategies is possible.
  init?(_ model: FoldedModel, space: Space, stages: Int, microBatches: Int) throws {
    let graph = model.pricing.graph
    let mode = model.pricing.job.mode
    let cut = [Int](repeating: 0, count: stages)
    _ = cut
    let segments = graph.segments.count
    func least(_ weigh: (SegmentID) -> (forward: Int64, backward: Int64, once: Int64), seams: Bool) throws -> Int64? {
      var builder = try ProblemBuilder(offsets: [0], limits: [])
      for node in model.nodes {
        let w = weigh(node.segment)
        _ = try builder.addNode(
          costs: node.forward.indices.map { w.forward * node.forward[$0] + w.backward * node.backward[$0] + w.once * node.once[$0] })
      }
      for edge in model.edges {
        let w: (forward: Int64, backward: Int64)
        switch edge.place {
        case .inside(let segment): w = (weigh(segment).forward, weigh(segment).backward)
        case .seam(let from, let to):
          let copies: Int64 = from == to ? Int64(graph.segments[to].repeats - 1) : 1
          let scale = seams ? copies : 0
          w = (scale, mode == .train ? scale : 0)
        }
        try builder.addEdge(
          edge.tail, edge.head,
          costs: edge.forward.indices.map {
            edge.forward[$0] == Problem.forbidden ? Problem.forbidden : w.forward * edge.forward[$0] + w.backward * edge.backward[$0]
          })
      }
      return builder.build().eliminationBound()?.bound
    }
    let backwardWeight: Int64 = mode == .train ? 1 : 0
    let firstStage =
      stages == 1 ? graph.segments.map { Int64($0.repeats) } : graph.segments.indices.map { $0 <= space.layerSegments.lowerBound ? 1 : 0 }
    let rounds = stages == 1 ? Int64(microBatches) : 1
    guard
      let whole = try least(
        { (rounds * Int64(graph.segments[$0].repeats), rounds * backwardWeight * Int64(graph.segments[$0].repeats), firstStage[$0]) },
        seams: stages > 1 || rounds == 1)
    else { return nil }
    if whole >= Problem.forbidden / 2 { return nil }
    self.whole = whole
    var (both, forward, backward): ([Int64], [Int64], [Int64]) = ([], [], [])
    for segment in 0..<segments {
      if stages == 1 {
        both.append(0)
        forward.append(0)
        backward.append(0)
        continue
      }
      both.append(try least({ $0 == segment ? (1, backwardWeight, 0) : (0, 0, 0) }, seams: false) ?? 0)
      forward.append(try least({ $0 == segment ? (1, 0, 0) : (0, 0, 0) }, seams: false) ?? 0)
      backward.append(try least({ $0 == segment ? (0, backwardWeight, 0) : (0, 0, 0) }, seams: false) ?? 0)
    }
    (self.both, self.forward, self.backward) = (both, forward, backward)
  }

  /// A lower bound of the step under a cut: the chains of `PipelineTimeline.bounds`, each part at its own least.
  ///
  /// Σ_r t_r + (m−1)·b_s + (m−w_s)·f_s = Σ_r t_r + (m−w_s)·t_s + (w_s−1)·b_s.
  func bound(copies: [[Int]], schedule: Schedule, microBatches m: Int, mode: Mode, scale: Double = 1) -> Int64 {
    let stages = copies.count
    if stages == 1 { return Int64(Double(whole)) }
    var most: Double = 0
    for s in 0..<stages {
      var (t, f, b): (Double, Double, Double) = (0, 0, 0)
      for (segment, count) in copies[s].enumerated() where count > 0 {
        t += Double(count) * Double(both[segment])
        f += Double(count) * Double(forward[segment])
        b += Double(count) * Double(backward[segment])
      }
      if mode == .forward {
        most = max(most, Double(m - 1) * f)
      } else {
        let warm = Double(schedule == .gpipe ? m : min(m, stages - s))
        most = max(most, (Double(m) - warm) * t + (warm - 1) * b)
      }
    }
    return Int64((Double(whole) + most) * scale * (1 - 1e-9))
  }
}
