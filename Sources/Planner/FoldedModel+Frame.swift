// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import Quantities
import Strategies

extension FoldedModel {
  /// The folded model of a frame of the space.
  init(pricing: Pricing, strategies: [[Strategy]], ties: Ties, zero: ZeROStage? = nil, recompute: [Recompute]? = nil, link: Link?) {
    self.init(pricing: pricing, strategies: strategies, ties: ties, zero: zero, recompute: recompute) { bytes in link?.time(bytes) ?? .zero }
  }
}
