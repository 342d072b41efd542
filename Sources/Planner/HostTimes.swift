// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph

/// What the host takes to hand over the kernels of one copy of a segment for one micro-batch, whatever its operators' strategies; in ticks.
///
/// A copy's operators together take no less, and conversions come on top.
struct HostTimes {
  var forward: Int64 = 0
  var backward: Int64 = 0

  /// Of each segment of a graph; chains have bits for 64 of them, which is more than a model has that is written with its repetitions.
  ///
  /// - Parameter isRecomputed: whether an operator is computed again for backward.
  static func ofSegments(_ graph: Graph, pricing: (SegmentID) -> Pricing, isRecomputed: (OperatorID) -> Bool) -> [HostTimes] {
    graph.segments.indices.map { segment in
      var times = HostTimes()
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
