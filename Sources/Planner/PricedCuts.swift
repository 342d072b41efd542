// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Strategies

/// Lower bounds of all cuts of a frame at once, under one price on memory.
///
/// With λ ticks for each byte above a stage's limit, and less for each below, the chain that fills the pipeline and comes back to stage s takes at
/// least
///
///     Σ_r f_r + Σ_{r>s} b_r + Σ_(layers on s) v_s − λ · limit
///
/// where f and b are the least of a layer's passes and v_s the least that a layer of any kind takes on stage s: m − w_s forward and m backward
/// passes, once per step, and λ for each of its bytes. A layer's least is concave in w_s, the passes before the first backward
/// pass, and in the micro-batches in flight, which fall from stage to stage: so stages between lie above the line from the first to the last.
struct PricedCuts {
  private let forwards: Int64
  private let backward: FrameBounds.Parts
  /// With the weights of the first and of the last stage.
  private let first: FrameBounds.Parts
  private let last: FrameBounds.Parts
  /// For each stage, its share of the last one's weights.
  private let shares: [Double]
  private let allowance: Int64

  /// - Parameters:
  ///   - kinds: a model for each kind of layer, not connected.
  ///   - price: ticks per byte.
  ///   - limit: of each stage's memory, in bytes.
  /// - Returns: nil where there is no choice.
  init?(
    _ kinds: [(model: FoldedModel, minimum: BlockMinimum)], _ space: Space, _ frame: Space.Frame, _ schedule: Schedule, price: Double, limit: Int64
  ) throws {
    let model = kinds[0].model
    let graph = model.pricing.graph
    let (mode, m, p) = (space.request.mode, frame.microBatches, frame.stages)
    let forward = FrameBounds.least(model.nodes, graph) { $0.forward[$1] }
    forwards = zip(graph.segments, forward).reduce(Int64(0)) { $0 + Int64($1.0.repeats) * $1.1 }
    backward = FrameBounds.Parts(FrameBounds.least(model.nodes, graph) { $0.backward[$1] }, space)
    allowance = Int64((price * Double(limit)).rounded(.up))
    func parts(stage: Int) throws -> FrameBounds.Parts? {
      let warm = Int64(schedule.passesBeforeBackward(stage: stage, stages: p, microBatches: m, mode: mode))
      let inFlight = schedule.inFlight(stage: stage, stages: p, microBatches: m, mode: mode)
      var weights = Configuration.Weights(forward: Int64(m) - warm)
      if mode == .train { (weights.backward, weights.once) = (Int64(m), 1) }
      var least: [Int64] = []
      for segment in graph.segments.indices {
        let isLayer = space.layerSegments.contains(segment)
        var ofKinds: Int64?
        // What is no layer is of one kind.
        for kind in isLayer ? kinds : [kinds[0]] {
          let objective = BlockTables.Objective(segment, of: graph.segments.count, weights, price: price, inFlight: inFlight)
          if let (sum, _) = try kind.minimum.least(objective) { ofKinds = min(ofKinds ?? sum, sum) }
        }
        guard let ofKinds else { return nil }
        least.append(ofKinds)
      }
      // The first copy of a segment follows no other: it has its operators alone.
      let alone = graph.segments.indices.map { segment in
        kinds.map { $0.model.leastOfOperators(segment, weights, price: price, inFlight: inFlight) }.min() ?? 0
      }
      return FrameBounds.Parts(least, space, first: zip(alone, least).map { min($0, $1) })
    }
    guard let first = try parts(stage: 0), let last = p == 1 ? first : try parts(stage: p - 1) else { return nil }
    (self.first, self.last) = (first, last)
    let inFlight = (0..<p).map { Double(schedule.inFlight(stage: $0, stages: p, microBatches: m, mode: mode)) }
    shares = inFlight.map { inFlight[0] == inFlight[p - 1] ? 0 : (inFlight[0] - $0) / (inFlight[0] - inFlight[p - 1]) }
  }

  /// A lower bound of the step under a cut.
  func bound(cut: [Int]) -> Int64 {
    let total = cut.reduce(0, +)
    var most: Int64 = .min
    var start = 0
    for (s, count) in cut.enumerated() {
      let layers = start..<start + count
      start += count
      let (a, b) = (first.stage(layers), last.stage(layers))
      let own = shares[s] == 0 ? a : a + Int64((shares[s] * Double(b - a)).rounded(.down))
      most = max(most, own + (start < total ? backward.stage(start..<total) : 0))
    }
    return forwards + most - allowance
  }
}

extension BlockTables.Objective {
  /// One copy of a segment with the conversions between it and the next, and a price on its own bytes.
  fileprivate init(_ segment: SegmentID, of count: Int, _ weights: Configuration.Weights, price: Double, inFlight: Int) {
    var segments = [Configuration.Weights](repeating: .init(), count: count)
    segments[segment] = weights
    var copies = [Int](repeating: 0, count: count)
    copies[segment] = 1
    self.init(
      segments: segments,
      place: { place in
        switch place {
        case .inside(let own): own == segment ? weights : .init()
        case .seam(let from, let to): from == segment && to == segment ? weights : .init()
        }
      }, price: .init(row: .init(copies: copies, inFlight: inFlight, op: nil), limit: 0, ticksPerByte: price))
  }
}

extension FoldedModel {
  /// What a copy of a segment takes where every operator has what is least for it, conversions and what they keep free.
  fileprivate func leastOfOperators(_ segment: SegmentID, _ w: Configuration.Weights, price: Double, inFlight: Int) -> Int64 {
    operatorNodes.reduce(0) { sum, node in
      if node.segment != segment { return sum }
      var least = Int64.max
      for s in 0..<node.count {
        let bytes = Double(node.resident[s] + Int64(inFlight) * node.kept[s])
        let time = w.forward * node.forward[s] + w.backward * node.backward[s] + w.once * node.once[s]
        least = min(least, time + Int64((price * bytes).rounded(.down)))
      }
      return sum + least
    }
  }
}
