// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Strategies

/// Lower bounds of all interleaved cuts of a frame at once, whatever their numbers of chunks, under one price on the first stage's memory.
///
/// The chain that goes forward through everything, comes back to the first stage and ends there carries out i fewer forward passes of each of its
/// layers than there are micro-batches, but one, where i is the number in flight. With λ ticks for each byte above the limit it takes at least
///
///     Σ_(layers elsewhere) f + Σ_(layers of the last chunks elsewhere) b + Σ_(own layers) v(i) − λ · limit
///
/// with `PricedCuts`' v. What is in flight differs from chunk to chunk, but layers are alike, or of two kinds of which each chunk holds the same
/// share: so N own layers take at least N · v(ī), ī being their mean. v is concave, and lies above the line between the least and the most ī.
struct PricedChunks {
  private let stages: Int
  private let microBatches: Int
  private let fill: PricedCuts.Fill
  /// At the least and at the most mean number in flight.
  private let low: FrameBounds.Parts
  private let high: FrameBounds.Parts
  private let means: ClosedRange<Int>
  private let allowance: Int64

  /// - Parameters:
  ///   - kinds: a model for each kind of layer, not connected.
  ///   - members: schedules and cuts.
  ///   - price: ticks per byte.
  ///   - limit: of a device's memory, in bytes.
  /// - Returns: nil where there is no choice, or what is in flight differs before the layers.
  init?(
    _ kinds: [(model: FoldedModel, minimum: BlockMinimum)], _ space: Space, _ frame: Space.Frame, _ members: [PlanSearch.BoundedCut],
    fill: PricedCuts.Fill, price: Double, limit: Int64
  ) throws {
    guard space.request.mode == .train else { return nil }
    (stages, microBatches, self.fill) = (frame.stages, frame.microBatches, fill)
    var (least, most) = (Int.max, Int.min)
    var first: Int?
    for member in members {
      let inFlight = member.schedule.passesBeforeBackward(stage: 0, stages: frame.stages, microBatches: frame.microBatches)
      if let first, first != inFlight[0] { return nil }
      first = inFlight[0]
      let counts = Self.own(member.cut, frame.stages).map(\.count)
      let (kept, copies) = (zip(counts, inFlight).reduce(0) { $0 + $1.0 * $1.1 }, counts.reduce(0, +))
      (least, most) = (min(least, kept / copies), max(most, (kept + copies - 1) / copies))
    }
    guard let first, least <= most else { return nil }
    means = least...most
    allowance = Int64((price * Double(limit)).rounded(.up))
    func parts(_ inFlight: Int) throws -> FrameBounds.Parts? {
      let weights = Configuration.Weights(forward: Int64(frame.microBatches - inFlight + 1), backward: Int64(frame.microBatches), once: 1)
      return try PricedCuts.parts(kinds, space, weights, price: price, inFlight: inFlight)
    }
    guard let low = try parts(least), let high = least == most ? low : try parts(most) else { return nil }
    // What stands before all layers is on the first chunk, of which the most is in flight.
    let before = space.layerSegments.lowerBound == 0 ? 0 : first == most ? high.before : try parts(first)?.before
    guard let before else { return nil }
    (self.low, self.high) = (low, high)
    self.before = before
  }

  private let before: Int64

  /// The layers of the first stage's chunks.
  private static func own(_ cut: [Int], _ stages: Int) -> [Range<Int>] {
    var start = 0
    return cut.enumerated().compactMap { k, count in
      defer { start += count }
      return k % stages == 0 ? start..<start + count : nil
    }
  }

  /// A lower bound of the step under a cut.
  func bound(_ schedule: Schedule, cut: [Int]) -> Int64 {
    let inFlight = schedule.passesBeforeBackward(stage: 0, stages: stages, microBatches: microBatches)
    let total = cut.reduce(0, +)
    let own = Self.own(cut, stages)
    var (atLow, rise) = (Int64(0), 0.0)
    var elsewhere = fill.forward.layers(0..<total)
    for (layers, count) in zip(own, inFlight) {
      elsewhere -= fill.forward.layers(layers)
      let least = low.layers(layers)
      atLow += least
      if means.count > 1 { rise += Double(high.layers(layers) - least) * Double(count - means.lowerBound) / Double(means.count - 1) }
    }
    // Of the virtual stages after the first stage's last one the chain comes back through each.
    let last = own[own.count - 1].upperBound
    elsewhere += fill.both.layers(last..<total) - fill.forward.layers(last..<total) + fill.both.after
    return before + atLow + Int64(rise.rounded(.down)) + elsewhere - allowance
  }
}
