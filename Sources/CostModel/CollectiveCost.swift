// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities
import Strategies

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
  ///   - placement: how the groups that run it at the same time lie on the hardware's levels.
  package static func time(_ kind: CollectiveKind, bytes: Bytes, on placement: AxisPlacement) -> Seconds {
    let startup = placement.steps.reduce(Seconds.zero) { $0 + $1.startup }
    switch kind {
    case .allReduce: return startup + oneWay(bytes, placement, .allReduce) * 2
    case .allGather: return startup + oneWay(bytes, placement, .allGather)
    case .reduceScatter: return startup + oneWay(bytes, placement, .reduceScatter)
    case .allToAll: return startup + exchange(bytes, placement)
    }
  }

  /// The time in which every member of a group sends so many bytes to its neighbour on a ring through all of them: the slowest of its edges.
  package static func hop(_ bytes: Bytes, on placement: AxisPlacement) -> Seconds {
    placement.steps.reduce(Seconds.zero) { max($0, $1.startup + $1.latency + bytes / ($1.ringBandwidth * $1.patterns[.message])) }
  }

  private static func oneWay(_ bytes: Bytes, _ placement: AxisPlacement, _ pattern: CommunicationPattern) -> Seconds {
    var total = Seconds.zero
    var rest = bytes
    for step in placement.steps {
      let f = Double(step.factor)
      total += step.latency * f.log2RoundedUp + rest * ((f - 1) / f) / (step.ringBandwidth * step.patterns[pattern])
      rest = rest / f
    }
    return total
  }

  private static func exchange(_ bytes: Bytes, _ placement: AxisPlacement) -> Seconds {
    var total = Seconds.zero
    var reached = 1
    for step in placement.steps {
      // Peers that are met at this level, and not below it.
      let peers = reached * step.factor - reached
      total += step.latency * peers + bytes * (Double(peers) / Double(placement.size)) / (step.bandwidth * step.patterns[.allToAll])
      reached *= step.factor
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
