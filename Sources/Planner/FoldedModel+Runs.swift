// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies

extension FoldedModel {
  /// The prices of stages with several meshes: each segment has those of its run of stages.
  final class RunPrices {
    /// For each segment its run's number.
    private let runOfSegment: [Int]
    let pricings: [Pricing]
    private let resharders: [Resharder]
    /// For each run the link between its stages.
    private let inner: [Link?]
    /// For each run but the last the way to the next.
    private let crossings: [CrossingCost]
    /// Between the first run and the last, which may hold one tied weight.
    private let ends: CrossingCost
    private let slowest: Link

    init(_ pricings: [Pricing], runOfSegment: [Int], _ placed: Space.PlacedRuns) {
      self.pricings = pricings
      self.runOfSegment = runOfSegment
      resharders = pricings.map { Resharder($0) }
      inner = placed.inner
      slowest = placed.links.neighbours
      crossings = zip(zip(pricings, pricings.dropFirst()), placed.crossings).map { CrossingCost(from: $0.0, to: $0.1, over: $1) }
      ends = CrossingCost(from: pricings[0], to: pricings[pricings.count - 1], over: placed.links.neighbours)
    }

    func pricing(_ segment: SegmentID) -> Pricing { pricings[runOfSegment[segment]] }
    func resharder(_ segment: SegmentID) -> Resharder { resharders[runOfSegment[segment]] }
    func changes(before segment: SegmentID) -> Bool { runOfSegment[segment - 1] != runOfSegment[segment] }

    /// To the next stage of the same run.
    func send(_ bytes: Bytes, from segment: SegmentID) -> Seconds { inner[runOfSegment[segment]]?.time(bytes) ?? .zero }

    /// To a segment of the next run, or, where the tensor is a gradient, back from it.
    func crossing(into segment: SegmentID, _ tensor: TensorID, from: Layout, to: Layout, isForward: Bool) -> Seconds {
      let cost = crossings[runOfSegment[segment] - 1]
      return isForward ? cost.forward(tensor, from: from, to: to).time : cost.backward(tensor, from: from, to: to).time
    }

    /// Whether the first and the last run have different meshes.
    var endsDiffer: Bool { pricings[0].mesh != pricings[pricings.count - 1].mesh }

    /// A tied weight's gradient between stages of one mesh, which may be far apart.
    func sendTied(_ bytes: Bytes) -> Seconds { slowest.time(bytes) }

    func exchange(_ tensor: TensorID, _ own: Layout, _ other: Layout) -> Seconds { ends.exchange(tensor, own, other).time }

    /// The readers of a parameter by their meshes, and the first of each: those of the first run and those of the last. Runs between hold no parameter
    /// that others hold too.
    func sides(_ readers: [Graph.OperandSite], _ graph: Graph) -> [(first: Graph.OperandSite, all: [Graph.OperandSite])] {
      let groups = [0, pricings.count - 1].map { run in readers.filter { runOfSegment[graph.segmentOfOperator[$0.op]] == run } }
      return groups.compactMap { group in group.first.map { ($0, group) } }
    }
  }

  /// The folded model of a frame whose stages have several meshes.
  init(
    runs: RunPrices, strategies: [[Strategy]], ties: Ties, zero: GivenZeRO, recompute: [Recompute]
  ) {
    self.init(pricing: runs.pricings[0], strategies: strategies, ties: ties, zero: zero, recompute: recompute, runs: runs) { _ in .zero }
  }
}
