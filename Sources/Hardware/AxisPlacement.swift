// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Quantities

/// How the groups of a mesh axis lie on the levels of a cluster: what a cost model needs to price a collective over that axis,
/// while every group of the axis runs the same collective at the same time.
package struct AxisPlacement: Hashable, Sendable {
  /// Members of a group.
  package let size: Int
  /// The levels that a group spans, innermost first. Their factors multiply to `size`; empty if `size` is 1.
  package let steps: [Step]

  /// One level's part of a hierarchical collective: `factor` units of the level below exchange what each of them holds.
  package struct Step: Hashable, Sendable {
    /// Index into `Cluster.levels`.
    package let level: Int
    package let factor: Int
    /// What each device can send, in one direction, while all members of all groups send at once.
    package let bandwidth: Bandwidth
    /// What each edge of a ring through all members, node after node, can carry: only one edge leaves each node. It differs from
    /// `bandwidth` only in a flat placement; an all-to-all must use `bandwidth` there.
    package let ringBandwidth: Bandwidth
    /// α, per message step.
    package let latency: Seconds
    /// Once per collective.
    package let startup: Seconds
    /// What each kind of communication reaches of these rates.
    package var patterns = PatternEfficiency.even
  }

  /// True if the groups lie unevenly on the levels (7 devices on nodes of 4, say): then one step, at the outermost level that
  /// any group spans, stands for all. This is conservative: a hierarchical algorithm would do part of the work further in.
  package let isFlat: Bool

  /// A device by itself.
  package static let alone = AxisPlacement(size: 1, steps: [], isFlat: false)

  /// For lower bounds: nothing that so many devices send takes any time.
  package static func free(size: Int) -> AxisPlacement { AxisPlacement(size: size, steps: [], isFlat: false) }

  /// For lower bounds: what a collective over this axis takes at least as its part of one over several axes. Each level has the most bandwidth and the
  /// least latency that any of `others` has there; steps are counted as fractions, so that those of several axes on one level add up to no more than
  /// are needed for all of them; and of what a collective takes to start on a level, each of the axes there has an equal share.
  ///
  /// - Parameter sharers: for a level, how many of the mesh's axes have steps there.
  /// - Returns: nil where a placement is flat.
  package func relaxed(by others: [AxisPlacement], sharers: (_ level: Int) -> Int) -> AxisPlacement? {
    if isFlat || others.contains(where: \.isFlat) { return nil }
    let steps = steps.map { step in
      let alike = others.flatMap(\.steps).filter { $0.level == step.level } + [step]
      let counted = log2(Double(step.factor))
      return Step(
        level: step.level, factor: step.factor, bandwidth: alike.map(\.bandwidth).max()!, ringBandwidth: alike.map(\.ringBandwidth).max()!,
        latency: alike.map(\.latency).min()! * (counted / counted.rounded(.up)),
        startup: alike.map(\.startup).min()! * (1 / Double(sharers(step.level))),
        patterns: alike.dropFirst().reduce(alike[0].patterns) { $0.best($1.patterns) })
    }
    return AxisPlacement(size: size, steps: steps, isFlat: false)
  }

  /// The same with bytes alone taking time.
  package var withoutLatencies: AxisPlacement {
    let steps = steps.map {
      Step(
        level: $0.level, factor: $0.factor, bandwidth: $0.bandwidth, ringBandwidth: $0.ringBandwidth, latency: .zero, startup: .zero,
        patterns: $0.patterns)
    }
    return AxisPlacement(size: size, steps: steps, isFlat: isFlat)
  }
}

extension Cluster {
  /// The placement of a collective over one mesh axis.
  package func placement(ofAxis axis: Int, in mesh: Mesh) -> AxisPlacement { placement(ofAxes: [axis], in: mesh) }

  /// The placement of a collective over several mesh axes together, e.g. a gradient all-reduce over all axes that replicate it.
  /// - Precondition: the mesh's devices are in the cluster.
  package func placement(ofAxes axes: [Int], in mesh: Mesh) -> AxisPlacement {
    placement(ofGroups: mesh.groups(along: axes))
  }

  /// The placement of groups {b + i · stride : i < size} that fill `devices`, which has a multiple of size · stride devices.
  package func placement(stride: Int, size: Int, devices: Range<Int>) -> AxisPlacement {
    precondition(stride > 0 && size > 0 && devices.count % (stride * size) == 0)
    let mesh = Mesh(shape: [devices.count / (stride * size), size, stride], firstDevice: devices.lowerBound)
    return placement(ofAxis: 1, in: mesh)
  }

  /// The placement of groups of equal size that run the same collective at once; members ascend.
  package func placement(ofGroups groups: [[Int]]) -> AxisPlacement {
    guard let size = groups.first?.count, size > 1 else { return AxisPlacement(size: groups.first?.count ?? 1, steps: [], isFlat: false) }
    precondition(groups.allSatisfy { $0.count == size }, "groups of one axis have one size")

    let first = factors(of: groups[0])
    let isFlat = first == nil || groups.dropFirst().contains { factors(of: $0) != first }
    let steps: [AxisPlacement.Step]
    if !isFlat, let factors = first {
      steps = factors.enumerated().filter { $0.element > 1 }.map { step(level: $0.offset, factor: $0.element, groups: groups, isFlat: false) }
    } else {
      let outermost = groups.map { levelJoining($0[0], $0[size - 1]) }.max() ?? 0
      steps = [step(level: outermost, factor: size, groups: groups, isFlat: true)]
    }
    return AxisPlacement(size: size, steps: steps, isFlat: isFlat)
  }

  /// Per level, how many units of the level below the group has in each unit it touches; nil if these numbers differ.
  private func factors(of group: [Int]) -> [Int]? {
    var below = group  // one device for each unit of the level below
    var factors: [Int] = []
    for level in levels.indices {
      let units = unitOfDevice[level]
      var counts: [Int] = []
      var heads: [Int] = []
      for device in below {
        if let head = heads.last, units[head] == units[device] {
          counts[counts.count - 1] += 1
        } else {
          heads.append(device)
          counts.append(1)
        }
      }
      guard counts.allSatisfy({ $0 == counts[0] }) else { return nil }
      factors.append(counts[0])
      below = heads
    }
    return factors
  }

  /// The figures of one step: the slowest of the forms that the level has, latencies of the level itself.
  private func step(level index: Int, factor: Int, groups: [[Int]], isFlat: Bool) -> AxisPlacement.Step {
    let load = nodeLoad(groups, level: index)
    var slowest = Bandwidth(.infinity)
    var ring = Bandwidth(.infinity)
    var latency = Seconds.zero
    var startup = Seconds.zero
    var patterns = PatternEfficiency.even
    // In a flat step the inner levels carry the same traffic, over single links where they are meshes.
    for inner in (isFlat ? 0 : index)...index {
      for level in distinctLevels(inner, in: groups) {
        let rate = level.bandwidth(amongst: isFlat ? 2 : factor)
        let isOutermost = inner == index
        if isOutermost {
          latency = max(latency, level.latency)
          startup = max(startup, level.startup)
          patterns = patterns.worst(level.patterns)
        }
        switch level.bandwidthIs {
        case .device:
          slowest = min(slowest, rate)
          // NCCL spreads a ring over as many ports as the group has in every node.
          ring = min(ring, isFlat && isOutermost ? rate * load.fewestMembers : rate)
        case .node:
          slowest = min(slowest, rate / Double(load.mostSenders))
          ring = min(ring, rate / Double(isFlat && isOutermost ? load.mostGroups : load.mostSenders))
        }
      }
    }
    return AxisPlacement.Step(
      level: index, factor: factor, bandwidth: slowest, ringBandwidth: ring, latency: latency, startup: startup, patterns: patterns)
  }

  /// The different forms of one level among the members of some groups.
  private func distinctLevels(_ index: Int, in groups: [[Int]]) -> [Level] {
    if index > 0 { return [levels[index]] }
    var seen: [Int] = []
    for group in groups { for device in group where !seen.contains(innermostIndex(of: device)) { seen.append(innermostIndex(of: device)) } }
    return seen.map { innermostLevel($0) }
  }

  /// How the groups that cross `level` crowd the nodes.
  private func nodeLoad(_ groups: [[Int]], level: Int) -> (mostSenders: Int, mostGroups: Int, fewestMembers: Int) {
    let nodes = nodeOfDevice[groups.map { $0[0] }.min() ?? 0]...nodeOfDevice[groups.map { $0[$0.count - 1] }.max() ?? 0]
    var senders = [Int](repeating: 0, count: nodes.count)
    var visits = senders
    var fewest = Int.max
    for group in groups where level == 0 || levelJoining(group[0], group[group.count - 1]) >= level {
      var run = 0
      for (i, device) in group.enumerated() {
        let node = nodeOfDevice[device]
        senders[node - nodes.lowerBound] += 1
        run += 1
        if i == group.count - 1 || nodeOfDevice[group[i + 1]] != node {
          visits[node - nodes.lowerBound] += 1
          fewest = min(fewest, run)
          run = 0
        }
      }
    }
    return (max(1, senders.max() ?? 1), max(1, visits.max() ?? 1), fewest == .max ? 1 : fewest)
  }
}
