// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph

/// What the passes of one copy of a segment take for one micro-batch, in ticks.
struct PassTimes {
  var forward: Int64 = 0
  var backward: Int64 = 0

  /// What the host takes to hand over the kernels of each segment, whatever its operators' strategies: the operators together take no less, and conversions
  /// come on top. Chains have bits for 64 segments, which is more than a model has that is written with its repetitions.
  ///
  /// - Parameter isRecomputed: whether an operator is computed again for backward.
  static func ofHost(_ graph: Graph, pricing: (SegmentID) -> Pricing, isRecomputed: (OperatorID) -> Bool) -> [PassTimes] {
    graph.segments.indices.map { segment in
      var times = PassTimes()
      if segment < UInt64.bitWidth { for op in graph.segments[segment].operators { times.add(pricing(segment), op, repeats: isRecomputed(op)) } }
      return times
    }
  }

  private mutating func add(_ pricing: Pricing, _ op: OperatorID, repeats: Bool) {
    let host = pricing.host(op)
    let again = pricing.ticks(host.forward)
    forward += again
    backward += pricing.ticks(host.backward) + (repeats ? again : 0)
  }

  func least(_ other: Self) -> Self {
    var least = self
    (least.forward, least.backward) = (min(forward, other.forward), min(backward, other.backward))
    return least
  }
}

extension PipelineTimeline.Path {
  /// Whether a segment's copies take the host's time in the passes of a virtual stage.
  func takesHostForward(_ stage: Int, _ segment: SegmentID) -> Bool { !hostForward.isEmpty && hostForward[stage] >> UInt64(segment) & 1 == 1 }
  func takesHostBackward(_ stage: Int, _ segment: SegmentID) -> Bool { !hostBackward.isEmpty && hostBackward[stage] >> UInt64(segment) & 1 == 1 }
}
