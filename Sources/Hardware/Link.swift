// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities

/// A point-to-point path between two devices.
package struct Link: Hashable, Sendable {
  /// Index into `Cluster.levels`: the innermost level that joins the two.
  package let level: Int
  /// The rate that each transfer gets.
  package let bandwidth: Bandwidth
  /// α of one message, the level's startup included.
  package let latency: Seconds

  /// From the start of a message to its last byte.
  package func time(_ bytes: Bytes) -> Seconds { latency + bytes / bandwidth }
}

extension Cluster {
  /// The path from device `a` to another device `b`, while `sendersPerNode` devices of the node of `a` send over this level.
  package func link(from a: Int, to b: Int, sendersPerNode: Int = 1) -> Link {
    precondition(a != b, "a device has no link to itself")
    let index = levelJoining(a, b)
    let ends = [level(index, of: a), level(index, of: b)]
    let share = ends.map { level in
      level.bandwidth(amongst: 2) * level.patterns[.message] / (level.bandwidthIs == .node ? Double(max(1, sendersPerNode)) : 1)
    }
    let latency = ends.map { $0.latency + $0.startup }.max() ?? .zero
    return Link(level: index, bandwidth: share.min() ?? .zero, latency: latency)
  }

  /// The slowest of the paths between the devices of two stages, while all of them send: device i of one of n stages' devices is
  /// paired with device ⌊i · m / n⌋ of the m of the other, and the other way round where m > n.
  package func link(from sources: Range<Int>, to targets: Range<Int>) -> Link {
    precondition(!sources.isEmpty && !targets.isEmpty && !sources.overlaps(targets), "stages have devices of their own")
    let count = max(sources.count, targets.count)
    let pairs = (0..<count).map {
      (sources.lowerBound + $0 * sources.count / count, targets.lowerBound + $0 * targets.count / count)
    }
    // Senders of a node that leave over the same level share its link.
    var senders: [[Int]: Int] = [:]
    for (a, b) in pairs { senders[[nodeOfDevice[a], levelJoining(a, b)], default: 0] += 1 }
    let links = pairs.map { (a, b) in link(from: a, to: b, sendersPerNode: senders[[nodeOfDevice[a], levelJoining(a, b)]] ?? 1) }
    return links.min { ($0.bandwidth, $1.latency) < ($1.bandwidth, $0.latency) } ?? link(from: sources.lowerBound, to: targets.lowerBound)
  }
}
