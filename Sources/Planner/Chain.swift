// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// How often a chain of passes through a pipeline carries out each segment: a weighted sum of a folded model's costs that no step is shorter than,
/// however the layers are cut into stages.
struct Chain {
  struct Weights {
    var forward: Int64 = 0
    var backward: Int64 = 0
    var once: Int64 = 0
  }

  /// For each segment its operators, and the conversions inside it.
  var segments: [Weights]
  /// For each segment the conversions between a copy of it and the next copy.
  var repeats: [Weights]
  /// For each segment the conversions at its first copy, from the segment before.
  var entries: [Weights]
  /// No step is shorter than the chain's length over this: more than 1 where it is the sum of several chains.
  var sharers: Int64 = 1

  /// Of a single segment's copies.
  init(_ segment: Int, of count: Int, _ weights: Weights, repeats: Weights = Weights()) {
    segments = .init(repeating: Weights(), count: count)
    self.repeats = segments
    entries = segments
    segments[segment] = weights
    self.repeats[segment] = repeats
  }

  /// Each segment's copies so many times forward and backward.
  private init(_ copies: [Int64], forward: Int64, backward: Int64) {
    segments = copies.map { Weights(forward: forward * $0, backward: backward * $0) }
    repeats = copies.map { Weights(forward: forward * ($0 - 1), backward: backward * ($0 - 1)) }
    entries = copies.indices.map { $0 == 0 ? Weights() : Weights(forward: forward, backward: backward) }
  }

  /// Everything once (with one stage as often as there are micro-batches), and what the smallest first stage does once per step.
  static func whole(_ space: Space, stages: Int, microBatches: Int) -> Chain {
    let copies = space.request.graph.segments.map { Int64($0.repeats) }
    let rounds = stages == 1 ? Int64(microBatches) : 1
    var chain = Chain(copies, forward: rounds, backward: rounds)
    for segment in copies.indices {
      chain.segments[segment].once = stages == 1 ? copies[segment] : segment <= space.layerSegments.lowerBound ? 1 : 0
    }
    return chain
  }

  /// The chains of `PipelineTimeline.bounds` through a stage that holds so many layers as some stage of every cut does.
  static func bounds(_ space: Space, stages: Int, microBatches: Int, schedule: Schedule) -> [Chain] {
    if schedule.kind == .interleaved { return interleaved(space, stages: stages, microBatches: microBatches) }
    let whole = whole(space, stages: stages, microBatches: microBatches)
    guard stages > 1, space.layerSegments.count == 1 else { return [whole] }
    let mode = space.request.mode
    let copies = space.request.graph.segments.map { Int64($0.repeats) }
    let segment = space.layerSegments.lowerBound
    let layers = Int64((space.layerCount + stages - 1) / stages)
    let m = Int64(microBatches)
    let warm = Int64(schedule.sparedPasses(stage: 0, stages: stages, microBatches: microBatches, mode: mode))
    var drained = whole
    drained.segments[segment].forward += (m - warm) * layers
    drained.repeats[segment].forward += (m - warm) * (layers - 1)
    guard mode == .train else { return [drained] }
    drained.segments[segment].backward += (m - 1) * layers
    drained.repeats[segment].backward += (m - 1) * (layers - 1)
    var filled = Chain(copies, forward: 1, backward: 0)
    filled.segments[segment].forward += (m - warm) * layers
    filled.repeats[segment].forward += (m - warm) * (layers - 1)
    filled.segments[segment].backward = m * layers
    filled.repeats[segment].backward = m * (layers - 1)
    filled.segments[segment].once = layers
    return [drained, filled]
  }

  /// What holds for any number of chunks: chains through all passes of a stage, of which m go through each of its layers.
  ///
  /// - All stages' chains together go m times through everything, and one is no shorter than their mean. Before its own passes stage s waits for a
  ///   chunk of each stage before it, which is Σ_s s = p(p−1)/2 chunks of a layer or more.
  /// - Some stage holds n = ⌈layers / p⌉ layers or more. If p divides the layers, either the last stage holds n, and waits for a chunk of each of
  ///   the other p − 1, or some stage holds n + 1, which is m ≥ p layers more.
  private static func interleaved(_ space: Space, stages: Int, microBatches: Int) -> [Chain] {
    let (p, m) = (Int64(stages), Int64(microBatches))
    let copies = space.request.graph.segments.map { Int64($0.repeats) }
    var all = Chain(copies, forward: m, backward: m)
    all.sharers = p
    for segment in copies.indices where segment <= space.layerSegments.lowerBound {
      let isLayer = space.layerSegments.contains(segment)
      // Which of several kinds of layers are in the first chunks is open.
      let passes = !isLayer ? p - 1 : space.layerSegments.count == 1 ? p * (p - 1) / 2 : 0
      all.segments[segment].forward += passes
      all.segments[segment].backward += passes
      all.segments[segment].once = p
    }
    guard space.layerSegments.count == 1 else { return [all] }
    let segment = space.layerSegments.lowerBound
    let most = Int64((space.layerCount + stages - 1) / stages)
    let waits = space.layerCount % stages == 0 ? p - 1 : 0
    func through(waitsBackward: Int64) -> Chain {
      Chain(
        segment, of: copies.count, Weights(forward: m * most + waits, backward: m * most + waitsBackward),
        repeats: Weights(forward: m * (most - 1), backward: m * (most - 1)))
    }
    var drained = through(waitsBackward: waits)
    for segment in 0...segment { drained.segments[segment].once = 1 }
    var filled = through(waitsBackward: 0)
    filled.segments[segment].once = most
    return [drained, filled, all]
  }

  var totalWeight: Int64 {
    [segments, repeats, entries].joined().reduce(0) { $0 + $1.forward + $1.backward + $1.once }
  }

  func weights(_ place: FoldedModel.Place) -> Weights {
    switch place {
    case .inside(let segment): segments[segment]
    case .seam(let from, let to): from == to ? repeats[to] : entries[to]
    case .crossing, .exchange: Weights()
    }
  }
}

extension FoldedModel {
  /// A chain's length where every operator takes what is least for it, conversions free.
  func leastOfOperators(_ chain: Chain) -> Int64 {
    nodes.reduce(0) { sum, node in
      let w = chain.segments[node.segment]
      var least = Int64.max
      for s in 0..<node.count { least = min(least, w.forward * node.forward[s] + w.backward * node.backward[s] + w.once * node.once[s]) }
      return sum + least
    }
  }
}
