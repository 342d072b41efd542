// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// What all stages of a pipeline hold together, whatever the cut.
extension Space {
  /// The least that all stages together keep, in layers times micro-batches in flight, and of what stands before and after all layers the least number of
  /// micro-batches in flight.
  ///
  /// - Parameter most: no stage holds more layers.
  func leastKept(_ schedule: Schedule, stages: Int, microBatches: Int, most: Int) -> (layers: Int, before: Int, after: Int) {
    guard request.mode == .train else { return (0, 0, 0) }
    let counts = schedule.kind == .interleaved ? chunkCounts(stages: stages) : [1]
    var least = (layers: Int.max, before: Int.max, after: Int.max)
    for chunks in counts {
      let schedule = chunks == 1 ? schedule : .interleaved(chunks: chunks)
      guard schedule.isPossible(stages: stages, microBatches: microBatches) else { continue }
      let held = (0..<stages).map { schedule.passesBeforeBackward(stage: $0, stages: stages, microBatches: microBatches) }
      let ofChunks = (0..<stages * chunks).map { held[$0 % stages][$0 / stages] }
      least.before = min(least.before, ofChunks[0])
      least.after = min(least.after, ofChunks[ofChunks.count - 1])
      least.layers = min(least.layers, leastKept(ofChunks, chunks: chunks, most: most))
    }
    return least.layers == .max ? (0, 0, 0) : least
  }

  /// As many layers as there can be where least is in flight, and elsewhere as few.
  private func leastKept(_ held: [Int], chunks: Int, most: Int) -> Int {
    if let given = request.stageLayers { return zip(given, held).reduce(0) { $0 + $1.0 * $1.1 } }
    let count = held.count
    var (fewest, mostOfChunk) = (1, most)
    if chunks > 1 {
      // As in `cuts(stages:chunks:)`.
      let (low, high) = (layerCount / count, (layerCount + count - 1) / count)
      let inner = max(1, count - 2)
      fewest = max(1, min(low - 1, (layerCount - 2 * (high + 1)) / inner))
      mostOfChunk = min(most, max(high + 1, (layerCount + inner - 1) / inner))
    }
    var rest = layerCount - fewest * (count - 1) - 1
    guard rest >= 0 else { return layerCount * (held.min() ?? 0) }
    var sum = held.dropLast().reduce(held[count - 1]) { $0 + fewest * $1 }
    for (number, inFlight) in held.enumerated().sorted(by: { ($0.element, $0.offset) < ($1.element, $1.offset) }) {
      let more = min(rest, max(0, mostOfChunk - (number == count - 1 ? 1 : fewest)))
      sum += more * inFlight
      rest -= more
    }
    return sum
  }
}
