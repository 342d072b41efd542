// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import Quantities
import Strategies

extension FoldedModel {
  /// The folded model of a frame of the space.
  init(
    pricing: Pricing, strategies: [[Strategy]], ties: Ties, zero: ZeROStage? = nil, recompute: [Recompute]? = nil, along guide: Resharder? = nil,
    link: Link?
  ) {
    self.init(pricing: pricing, strategies: strategies, ties: ties, zero: zero, recompute: recompute, along: guide) { bytes in
      link?.time(bytes) ?? .zero
    }
  }

  /// The same at the prices of every kind of device; tensors are converted in the ways that are cheapest on the first.
  init(
    pricings: [Pricing], strategies: [[Strategy]], ties: Ties, zero: ZeROStage? = nil, recompute: [Recompute]? = nil, link: Link?
  ) {
    let first = FoldedModel(pricing: pricings[0], strategies: strategies, ties: ties, zero: zero, recompute: recompute, link: link)
    let others = pricings.dropFirst().map {
      FoldedModel(pricing: $0, strategies: strategies, ties: ties, zero: zero, recompute: recompute, along: first.resharder, link: link)
    }
    self = others.isEmpty ? first : FoldedModel(leastOf: [first] + others)
  }
}
