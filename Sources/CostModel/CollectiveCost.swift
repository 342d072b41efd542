// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies

/// One level of the hardware as a group of ranks sees it.
package struct LinkShare: Hashable, Sendable {
  /// How many of the group's members (or of its sub-groups below this level) meet at this level.
  package let members: Int
  /// What one rank gets of the level's bandwidth, one direction, while every other group uses it too.
  package let bandwidth: Bandwidth
  /// The time before the first byte of a message arrives.
  package let latency: Seconds

  package init(members: Int, bandwidth: Bandwidth, latency: Seconds) {
    self.members = members
    self.bandwidth = bandwidth
    self.latency = latency
  }
}

/// α–β costs of collectives, hierarchical where a group spans levels.
///
/// Per level of f members with bandwidth B and latency α, on N bytes: all-gather and reduce-scatter take ⌈log₂ f⌉·α + (f−1)/f·N/B, an
/// all-reduce is a reduce-scatter and an all-gather, an all-to-all takes (f−1)·α + (f−1)/f·N/B (Thakur, Rabenseifner, Gropp 2005,
/// "Optimization of Collective Communication Operations in MPICH", §4). A group that spans levels reduces inside first, so that the slower level
/// carries only the part of one inner member.
package enum CollectiveCost {
  /// The time of one collective.
  ///
  /// - Parameters:
  ///   - bytes: the whole vector of an all-reduce, the gathered result of an all-gather, the whole input of a reduce-scatter, one rank's
  ///     buffer of an all-to-all.
  ///   - links: the levels that the group spans, innermost first.
  package static func time(_ kind: CollectiveKind, bytes: Bytes, links: [LinkShare]) -> Seconds {
    switch kind {
    case .allReduce: oneWay(bytes, links) * 2
    case .allGather, .reduceScatter: oneWay(bytes, links)
    case .allToAll: exchange(bytes, links)
    }
  }

  private static func oneWay(_ bytes: Bytes, _ links: [LinkShare]) -> Seconds {
    var total = Seconds.zero
    var rest = bytes
    for link in links where link.members > 1 {
      let f = Double(link.members)
      total += link.latency * f.log2RoundedUp + rest * ((f - 1) / f) / link.bandwidth
      rest = rest / f
    }
    return total
  }

  private static func exchange(_ bytes: Bytes, _ links: [LinkShare]) -> Seconds {
    let size = links.reduce(1) { $0 * $1.members }
    var total = Seconds.zero
    var reached = 1
    for link in links where link.members > 1 {
      // Peers that are met at this level, and not below it.
      let peers = reached * link.members - reached
      total += link.latency * peers + bytes * (Double(peers) / Double(size)) / link.bandwidth
      reached *= link.members
    }
    return total
  }
}

extension Double {
  fileprivate var log2RoundedUp: Double {
    var steps = 0
    while Double(1 << steps) < self { steps += 1 }
    return Double(steps)
  }
}
