// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// The cheapest way from one layout of a tensor to another, by Dijkstra's algorithm over the layouts in between.
///
/// Answers are remembered per tensor shape, so that a search asks each question once.
package final class Resharder {
  /// A way between two layouts, and what it costs.
  package struct Path: Sendable {
    package let steps: [ReshardingStep]
    package let time: Seconds
  }

  private struct Key: Hashable {
    let shape: [Int]
    let bytesPerElement: Int
    let from: Layout
  }

  private let pricing: Pricing
  private var known: [Key: [Layout: Path]] = [:]

  package init(_ pricing: Pricing) { self.pricing = pricing }

  /// The cheapest way; nil where there is none (a target that has an empty part, or a partial target).
  package func path(_ tensor: TensorID, from: Layout, to: Layout) -> Path? {
    if from == to { return Path(steps: [], time: .zero) }
    let key = Key(shape: pricing.graph.shape(tensor), bytesPerElement: pricing.elementBytes(tensor), from: from)
    if let paths = known[key] { return paths[to] }
    let paths = explore(key)
    known[key] = paths
    return paths[to]
  }

  /// The time of one step on a tensor.
  package func time(_ step: ReshardingStep, shape: [Int], bytesPerElement: Int, from: Layout) -> Seconds {
    func bytes(_ layout: Layout) -> Bytes { Bytes(Shard.largestCount(shape, layout: layout, mesh: pricing.mesh) * bytesPerElement) }
    let (before, after) = (bytes(from), bytes(step.result))
    guard let kind = step.collective else { return pricing.rates.stream(after * 2) }
    // A collective's payload: the larger side; equal for all-reduce and all-to-all.
    return pricing.collective(kind, bytes: max(before, after), axes: step.axes)
  }

  private func explore(_ key: Key) -> [Layout: Path] {
    var settled: [Layout: Path] = [:]
    var frontier: [Layout: Path] = [key.from: Path(steps: [], time: .zero)]
    // Ties go to fewer steps, then to the smaller layout, so that the answer does not depend on a dictionary's order.
    while let next = frontier.min(by: { ($0.value.time, $0.value.steps.count, $0.key) < ($1.value.time, $1.value.steps.count, $1.key) }) {
      frontier[next.key] = nil
      settled[next.key] = next.value
      for step in ReshardingStep.steps(from: next.key, shape: key.shape, mesh: pricing.mesh) where settled[step.result] == nil {
        let time = next.value.time + self.time(step, shape: key.shape, bytesPerElement: key.bytesPerElement, from: next.key)
        let candidate = Path(steps: next.value.steps + [step], time: time)
        if let other = frontier[step.result], (other.time, other.steps.count) <= (time, candidate.steps.count) { continue }
        frontier[step.result] = candidate
      }
    }
    return settled
  }
}
