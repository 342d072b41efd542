// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Search
import Strategies

/// A price on the bytes that all stages together hold.
extension StrategyBounds {
  /// What all stages together hold, at least.
  func row(_ schedule: Int, _ cutoff: Int64) -> BlockTables.MemoryRow {
    let segments = space.request.graph.segments
    let layers = space.layerSegments
    var most = space.layerCount
    if layers.count == 1, let layer = layers.first {
      // A stage carries out all micro-batches of all its layers.
      let m = Int64(frame.microBatches)
      let passes = kinds[0].baseModel.leastOfOperators(Chain(layer, of: segments.count, .init(forward: m, backward: m)))
      most = Int(min(Int64(most), cutoff / max(1, passes - 4 * m * Int64(operators.count))))
    }
    let held = space.leastKept(schedules[schedule], stages: frame.stages, microBatches: frame.microBatches, most: max(1, most))
    let kept = segments.indices.map { segment in
      if segment < layers.lowerBound { return held.before }
      if segment >= layers.upperBound { return held.after }
      // Which of several kinds of layers are where little is in flight is open.
      return layers.count == 1 ? held.layers : segments[segment].repeats * min(held.after, held.before)
    }
    let reserved = ((try? space.reserved(frame)) ?? []).reduce(0, +)
    return .init(copies: segments.map(\.repeats), kept: kept, op: nil, reserved: reserved)
  }

  /// The price at which the bound over all kinds of layers is greatest, found where the lines of two choices meet; nil where memory does not bind.
  func price(_ schedule: Int, _ chain: Int, _ cutoff: Int64) throws -> BlockTables.Price? {
    if space.request.ignoresMemoryLimit { return nil }
    let row = row(schedule, cutoff)
    let all = limit * Int64(frame.stages)
    func evaluated(_ price: BlockTables.Price?) throws -> (bound: Int64, time: Double, excess: Double)? {
      var least: (bound: Int64, time: Double, excess: Double)?
      for kind in kinds {
        guard let sums = try sums(kind, schedule, chain, price, cutoff), let bound = try bound(kind, sums, operators.map(\.isLeft)) else {
          return nil
        }
        if bound.sum >= least?.bound ?? .max { continue }
        let ofBase = kind.base.memory(sums.baseChoice, row)
        let bytes = zip(kind.tables, bound.choices).reduce(ofBase) { $0 + $1.0.memory($1.1, row) - ofBase }
        let excess = Double(bytes - all)
        least = (bound.sum, Double(bound.sum) - (price?.ticksPerByte ?? 0) * excess, excess)
      }
      return least
    }
    guard var above = try evaluated(nil), above.excess > 0 else { return nil }
    var below: (bound: Int64, time: Double, excess: Double)?
    var best: (bound: Int64, price: BlockTables.Price?) = (above.bound, nil)
    var ticks = above.time / Double(all)
    for _ in 0..<Self.mostPrices {
      let price = BlockTables.Price(row: row, limit: all, ticksPerByte: ticks)
      var evaluation: (bound: Int64, time: Double, excess: Double)?
      do { evaluation = try evaluated(price) } catch SearchError.sumOutOfRange { break }
      guard let next = evaluation else { break }
      if next.bound > best.bound { best = (next.bound, price) }
      if next.excess > 0 { above = next } else { below = next }
      guard let below else {
        ticks *= 10
        continue
      }
      let meeting = (below.time - above.time) / (above.excess - below.excess)
      guard meeting > 0, abs(meeting - ticks) > 1e-2 * ticks else { break }
      ticks = meeting
    }
    return best.price
  }
}
