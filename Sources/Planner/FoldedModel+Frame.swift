// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies

extension FoldedModel {
  /// The folded model of a frame of the space.
  init(pricing: Pricing, strategies: [[Strategy]], frame: Space.Frame, link: Link?) {
    let graph = pricing.graph
    self.init(
      pricing: pricing, strategies: strategies, send: { bytes in link.map { $0.latency + bytes / $0.bandwidth } ?? .zero },
      splitsTies: { tensor in
        // The readers of a tied parameter are apart when they stand before and after the layers and there are several stages.
        frame.stages > 1 && Set(graph.consumers[tensor].map { graph.segmentOfOperator[$0.op] }).count > 1
      })
  }
}
