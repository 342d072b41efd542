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
    func exit(_ pair: (Int, Int)) -> Int { nodeOfDevice[pair.0] * levels.count + levelJoining(pair.0, pair.1) }
    var senders: [Int: Int] = [:]
    for pair in pairs { senders[exit(pair), default: 0] += 1 }
    let links = pairs.map { link(from: $0.0, to: $0.1, sendersPerNode: senders[exit($0)] ?? 1) }
    return links.min { ($0.bandwidth, $1.latency) < ($1.bandwidth, $0.latency) } ?? link(from: sources.lowerBound, to: targets.lowerBound)
  }

  /// The links between each stage's devices and the next one's, which follow them; where two stages lie as two others do, they are worked out once.
  package func links(between stages: [Range<Int>]) -> [Link] {
    var found: [(sources: Range<Int>, both: Range<Int>, link: Link)] = []
    return zip(stages, stages.dropFirst()).map { sources, targets in
      let both = sources.lowerBound..<targets.upperBound
      if let known = found.first(where: { $0.sources.count == sources.count && lieAlike($0.both, both) }) { return known.link }
      found.append((sources, both, link(from: sources, to: targets)))
      return found[found.count - 1].link
    }
  }
}
