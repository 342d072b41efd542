// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import Quantities
import Strategies

extension FoldedModel {
  /// The folded model of a frame of the space.
  init(
    pricing: Pricing, strategies: [[Strategy]], ties: Ties, zero: GivenZeRO = GivenZeRO(), recompute: [Recompute]? = nil, resharder: Resharder? = nil,
    link: Link?, wrapLink: Link? = nil, prices: OperatorPrices = OperatorPrices()
  ) {
    self.init(
      pricing: pricing, strategies: strategies, ties: ties, zero: zero, recompute: recompute, resharder: resharder, prices: prices
    ) { bytes in
      link?.time(bytes) ?? .zero
    }
    self.wrapLink = wrapLink == link ? nil : wrapLink
  }

  /// The same at the prices of every kind of device; tensors are converted in the ways that are cheapest on the first.
  ///
  /// - Parameters:
  ///   - resharder: with the first kind's prices; nil makes one.
  ///   - prices: for each kind; nil makes them.
  init(
    pricings: [Pricing], strategies: [[Strategy]], ties: Ties, zero: GivenZeRO = GivenZeRO(), recompute: [Recompute]? = nil,
    resharder: Resharder? = nil, link: Link?, wrapLink: Link? = nil, prices: [OperatorPrices]? = nil
  ) {
    func folded(_ kind: Int, _ resharder: Resharder?) -> FoldedModel {
      FoldedModel(
        pricing: pricings[kind], strategies: strategies, ties: ties, zero: zero, recompute: recompute, resharder: resharder, link: link,
        wrapLink: wrapLink, prices: prices?[kind] ?? OperatorPrices())
    }
    var first = folded(0, resharder)
    first.otherShares = pricings[0].kinds.dropFirst().map {
      FoldedModel(
        pricing: $0, strategies: strategies, ties: ties, zero: zero, recompute: recompute, resharder: first.resharder, link: link, wrapLink: wrapLink)
    }
    let others = pricings.indices.dropFirst().map { folded($0, Resharder(pricings[$0], along: first.resharder)) }
    self = others.isEmpty ? first : FoldedModel(leastOf: [first] + others)
  }

  /// The times to send a node's result to the next virtual stage, and its gradient back: over the link between neighbouring stages, or from the
  /// last stage to the first.
  func sends(_ node: Int, wraps: Bool) -> (forward: [Int64], backward: [Int64]) {
    let graph = pricing.graph
    guard wraps, let wrapLink, case .op(let op) = nodes[node].subject, graph.segments[nodes[node].segment].exits.contains(graph.operators[op].result)
    else { return (nodes[node].sendForward, nodes[node].sendBackward) }
    let result = graph.operators[op].result
    return (
      strategies[op].map { pricing.ticks(pricing.boundary(result, $0.result, by: wrapLink.time)) },
      strategies[op].map { pricing.job.mode == .train ? pricing.ticks(pricing.boundary(result, $0.resultGradient, by: wrapLink.time)) : 0 }
    )
  }
}
