// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Strategies

/// Lower bounds of all cuts of a frame at once, under one price on memory, whatever kinds of layers stages hold.
///
/// With λ ticks for each byte above a stage's limit, and less for each below, the chain that fills the pipeline and comes back to stage s takes at
/// least
///
///     Σ_{r<s} f_r + Σ_(layers on s) v_s + Σ_{r>s} (f_r + b_r) − λ · limit
///
/// where limit is that of the stage's own devices, f and f + b are the least of a layer's passes and v_s the least that a layer of any kind takes on stage s: m − w_s + 1 forward and m
/// backward passes, once per step, and λ for each of its bytes. A layer's least is concave in w_s, the forward passes that the chain spares, and in
/// the micro-batches in flight, which fall from stage to stage: so stages between lie above the line from the first to the last.
struct PricedCuts {
  /// What a copy of each segment takes at least while the pipeline fills, with the conversions inside it and before the next copy.
  struct Fill {
    let forward: FrameBounds.Parts
    let both: FrameBounds.Parts

    /// - Returns: nil where there is no choice.
    init?(_ model: FoldedModel, _ minimum: BlockMinimum, _ space: Space) throws {
      func parts(_ weights: Configuration.Weights) throws -> FrameBounds.Parts? {
        try PricedCuts.parts([(model, minimum)], space, weights, price: 0, inFlight: 0)
      }
      guard let forward = try parts(.init(forward: 1)), let both = try parts(.init(forward: 1, backward: space.request.mode == .train ? 1 : 0))
      else { return nil }
      (self.forward, self.both) = (forward, both)
    }
  }

  private let fill: Fill
  /// With the weights of the first and of the last stage.
  private let first: FrameBounds.Parts
  private let last: FrameBounds.Parts
  /// For each stage, its share of the last one's weights.
  private let shares: [Double]
  private let allowance: Int64
  /// For each stage, the price of what its devices have less than the largest; empty where none has less.
  private let lacking: [Int64]

  /// - Parameters:
  ///   - kinds: a model for each kind of layer, not connected.
  ///   - price: ticks per byte.
  ///   - limit: of the largest device's memory, in bytes.
  /// - Returns: nil where there is no choice, or stages hold several chunks.
  init?(
    _ kinds: [(model: FoldedModel, minimum: BlockMinimum)], _ space: Space, _ frame: Space.Frame, _ schedule: Schedule, fill: Fill, price: Double,
    limit: Int64
  ) throws {
    guard schedule.chunks == 1 else { return nil }
    let (mode, m, p) = (space.request.mode, frame.microBatches, frame.stages)
    self.fill = fill
    allowance = Int64((price * Double(limit)).rounded(.up))
    lacking = try space.reserved(frame).map { Int64((price * Double($0)).rounded(.down)) }
    let inFlight = (0..<p).map { schedule.full(stage: $0, stages: p, microBatches: m, mode: mode)[0] }
    func parts(stage: Int) throws -> FrameBounds.Parts? {
      let spared = schedule.sparedPasses(stage: stage, stages: p, microBatches: m, mode: mode)
      var weights = Configuration.Weights(forward: Int64(m - spared + 1))
      if mode == .train { (weights.backward, weights.once) = (Int64(m), 1) }
      return try Self.parts(kinds, space, weights, price: price, inFlight: inFlight[stage])
    }
    guard let first = try parts(stage: 0), let last = p == 1 ? first : try parts(stage: p - 1) else { return nil }
    (self.first, self.last) = (first, last)
    shares = inFlight.map { inFlight[0] == inFlight[p - 1] ? 0 : Double(inFlight[0] - $0) / Double(inFlight[0] - inFlight[p - 1]) }
  }

  /// For a copy of each segment the least of all kinds.
  static func parts(
    _ kinds: [(model: FoldedModel, minimum: BlockMinimum)], _ space: Space, _ weights: Configuration.Weights, price: Double, inFlight: Int
  ) throws -> FrameBounds.Parts? {
    let segments = kinds[0].model.pricing.graph.segments
    var least: [Int64] = []
    for segment in segments.indices {
      let objective = BlockTables.Objective(segment, of: segments.count, weights, price: price, inFlight: inFlight)
      // What is no layer is of one kind.
      let sums = try (space.layerSegments.contains(segment) ? kinds : [kinds[0]]).compactMap { try $0.minimum.least(objective)?.sum }
      guard let sum = sums.min() else { return nil }
      least.append(sum)
    }
    // The first copy of a segment follows no other: it has its operators alone.
    let alone = segments.indices.map { segment in
      kinds.map { $0.model.leastOfOperators(segment, weights, price: price, inFlight: inFlight) }.min() ?? 0
    }
    return FrameBounds.Parts(least, space, first: zip(alone, least).map { min($0, $1) })
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
      let before = layers.lowerBound > 0 ? fill.forward.stage(0..<layers.lowerBound) : 0
      let after = layers.upperBound < total ? fill.both.stage(layers.upperBound..<total) : 0
      most = max(most, before + own + after + (lacking.isEmpty ? 0 : lacking[s]))
    }
    return most - allowance
  }
}

extension BlockTables.Objective {
  /// One copy of a segment with the conversions between it and the next, and a price on its own bytes.
  fileprivate init(_ segment: SegmentID, of count: Int, _ weights: Configuration.Weights, price: Double, inFlight: Int) {
    var segments = [Configuration.Weights](repeating: .init(), count: count)
    segments[segment] = weights
    var copies = [Int](repeating: 0, count: count)
    var kept = copies
    (copies[segment], kept[segment]) = (1, inFlight)
    self.init(
      segments: segments,
      place: { place in
        switch place {
        case .inside(let own): own == segment ? weights : .init()
        case .seam(let from, let to): from == segment && to == segment ? weights : .init()
        case .crossing, .exchange: .init()
        }
      }, price: .init(row: .init(copies: copies, kept: kept, op: nil), limit: 0, ticksPerByte: price))
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
