// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Testing

@testable import Hardware

private func gigabytes(_ rate: Double) -> Bandwidth { .gigabytesPerSecond(rate) }

/// The made-up cluster: nodes of 4 at 300 GB/s a device; 3 nodes to a leaf, 100 GB/s a node; 2 leaves, 20 GB/s × 0.5 a node.
@Suite struct PlacementTests {
  let cluster: Cluster

  init() throws { cluster = try decode(threeLevels).cluster() }

  @Test func insideANode() {
    let placement = cluster.placement(stride: 2, size: 2, devices: 0..<24)
    #expect(placement.size == 2 && !placement.isFlat)
    #expect(
      placement.steps == [
        .init(level: 0, factor: 2, bandwidth: gigabytes(300), ringBandwidth: gigabytes(300), latency: .microseconds(1), startup: .microseconds(10))
      ])
  }

  @Test func betweenNodesAllDevicesShareTheLink() {
    // Every device of a node is in a group of its own, and all four groups leave the node at once.
    let placement = cluster.placement(stride: 4, size: 3, devices: 0..<24)
    #expect(
      placement.steps == [
        .init(level: 1, factor: 3, bandwidth: gigabytes(25), ringBandwidth: gigabytes(25), latency: .microseconds(5), startup: .zero)
      ])
    // A quarter of the mesh's devices to a node: one group only, the whole link.
    let alone = cluster.placement(ofGroups: [[0, 4, 8]])
    #expect(alone.steps[0].bandwidth == gigabytes(100))
  }

  @Test func mixedIsHierarchical() {
    let placement = cluster.placement(stride: 2, size: 12, devices: 0..<24)
    #expect(placement.steps.map(\.level) == [0, 1, 2])
    #expect(placement.steps.map(\.factor) == [2, 3, 2])
    #expect(placement.steps.map(\.bandwidth) == [gigabytes(300), gigabytes(25), gigabytes(2.5)])
    #expect(!placement.isFlat)
  }

  @Test func unevenGroupsAreFlatAndSlow() throws {
    // {0 1 2} lies in a node, {3 4 5} does not.
    let placement = cluster.placement(stride: 1, size: 3, devices: 0..<12)
    #expect(placement.isFlat)
    #expect(placement.steps.map(\.level) == [1] && placement.steps[0].factor == 3)
    // Node 1 holds 4 5 of one group and 6 7 of another, and both leave it: four senders, two rings.
    #expect(placement.steps[0].bandwidth == gigabytes(25))
    #expect(placement.steps[0].ringBandwidth == gigabytes(50))
    #expect(cluster.placement(ofGroups: [[0]]).steps.isEmpty)
    // 8 + 4 devices with a port each: a ring uses the four ports that both nodes have, an all-to-all one per device.
    let dgx = try hardwareFile("dgx-a100.json").cluster(devices: 12)
    let uneven = dgx.placement(ofAxis: 0, in: Mesh(shape: [12])).steps[0]
    #expect(uneven.factor == 12 && uneven.bandwidth == gigabytes(25) * 0.85 && uneven.ringBandwidth == gigabytes(25) * 0.85 * 4)
    #expect(cluster.placement(stride: 3, size: 1, devices: 0..<3).steps.isEmpty)
  }

  @Test func severalAxesTogether() {
    let mesh = Mesh(shape: [3, 2, 2])
    #expect(cluster.placement(ofAxes: [0, 2], in: mesh).steps.map(\.factor) == [2, 3])
    #expect(cluster.placement(ofAxes: [0, 1, 2], in: mesh).steps.map(\.factor) == [4, 3])
    #expect(cluster.placement(ofAxes: [], in: mesh).steps.isEmpty)
  }

  @Test func directLinksGiveAGroupItsShareOnly() throws {
    let derecho = try hardwareFile("derecho.json").cluster(devices: 16)
    let nvlink = derecho.levels[0]
    let two = derecho.placement(ofAxis: 1, in: Mesh(shape: [8, 2]))
    let four = derecho.placement(ofAxis: 1, in: Mesh(shape: [4, 4]))
    #expect(abs(two.steps[0].bandwidth / (nvlink.bandwidth * nvlink.efficiency) - 1.0 / 3) < 1e-15)
    #expect(four.steps[0].bandwidth == nvlink.bandwidth * nvlink.efficiency)
    // A port per device: no sharing between nodes.
    let outer = derecho.placement(ofAxis: 0, in: Mesh(shape: [4, 4]))
    #expect(outer.steps[0].bandwidth == gigabytes(25) * 0.85)
  }

  @Test func aLevelMayJoinManyNodes() throws {
    let cluster = try hardwareFile("gb200-nvl72.json").cluster(devices: 144)
    #expect(cluster.nodeCount == 36)
    let placement = cluster.placement(ofAxis: 0, in: Mesh(shape: [144]))
    #expect(placement.steps.map { [$0.level, $0.factor] } == [[0, 72], [1, 2]])
    #expect(cluster.link(from: 0, to: 71).level == 0 && cluster.link(from: 71, to: 72).level == 1)
  }

  @Test func links() {
    #expect(cluster.link(from: 0, to: 3) == Link(level: 0, bandwidth: gigabytes(300), latency: .microseconds(11)))
    #expect(cluster.link(from: 0, to: 4, sendersPerNode: 4) == Link(level: 1, bandwidth: gigabytes(25), latency: .microseconds(5)))
    #expect(cluster.link(from: 0, to: 23) == Link(level: 2, bandwidth: gigabytes(10), latency: .microseconds(9)))
    // Stage to stage: each of four devices sends to its counterpart.
    #expect(cluster.link(from: 0..<4, to: 4..<8).bandwidth == gigabytes(25))
    #expect(cluster.link(from: 0..<2, to: 2..<4).level == 0)
    // Two of them leave the node, and share its link.
    #expect(cluster.link(from: 0..<4, to: 4..<6).bandwidth == gigabytes(25))
    #expect(cluster.link(from: 0..<1, to: 4..<8).bandwidth == gigabytes(25))
  }

  /// What is worked out once for stages that lie alike is what each of them has, also where stages straddle nodes and kinds of devices.
  @Test(arguments: ["three", "mixed-a100-v100.json", "gb200-nvl72.json"], [1, 2, 3, 4, 6, 8])
  func stagesThatLieAlikeHaveTheSameLinksAndPlacements(file: String, size: Int) throws {
    let cluster = file == "three" ? self.cluster : try hardwareFile(file).cluster(devices: file == "gb200-nvl72.json" ? 144 : nil)
    let stages = (0..<cluster.deviceCount / size).map { $0 * size..<($0 + 1) * size }
    #expect(cluster.links(between: stages) == zip(stages, stages.dropFirst()).map { cluster.link(from: $0, to: $1) })
    func placement(_ stage: Range<Int>) -> AxisPlacement { cluster.placement(ofAxis: 0, in: Mesh(shape: [size], firstDevice: stage.lowerBound)) }
    for stage in stages { for other in stages where cluster.lieAlike(stage, other) { #expect(placement(stage) == placement(other)) } }
    #expect(Set(cluster.differing(stages).map(placement)) == Set(stages.map(placement)))
  }

  /// Oracle: where a mesh is aligned with nodes of D devices, the placement follows from stride and size alone.
  @Test(arguments: [1, 2, 4, 8, 16, 32], [2, 4, 8, 16]) func alignedMeshes(stride: Int, size: Int) throws {
    let perNode = 8
    let count = max(64, stride * size)
    let cluster = try hardwareFile("dgx-a100.json").cluster(devices: count)
    let placement = cluster.placement(stride: stride, size: size, devices: 0..<count)
    let inner = stride < perNode ? min(size, perNode / stride) : 1
    var expected: [[Int]] = []
    if inner > 1 { expected.append([0, inner]) }
    if size / inner > 1 { expected.append([1, size / inner]) }
    #expect(placement.steps.map { [$0.level, $0.factor] } == expected)
  }

  /// Invariants over random groups: factors multiply to the size; adding groups never makes a link faster.
  @Test(arguments: 0..<40) func invariants(seed: Int) throws {
    var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1
    func random(_ n: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % n
    }
    let shape = [1 + random(3), 1 + random(4), 1 + random(2)]
    let mesh = Mesh(shape: shape, firstDevice: random(24 - shape.reduce(1, *) + 1))
    for axis in 0..<3 {
      let groups = mesh.groups(along: [axis])
      let all = cluster.placement(ofGroups: groups)
      #expect(all.steps.reduce(1) { $0 * $1.factor } == shape[axis])
      for group in groups {
        let alone = cluster.placement(ofGroups: [group])
        #expect(!alone.steps.isEmpty || shape[axis] == 1)
        for (a, b) in zip(alone.steps, all.steps) where a.level == b.level && alone.isFlat == all.isFlat {
          #expect(a.bandwidth >= b.bandwidth && a.ringBandwidth >= b.ringBandwidth)
        }
        #expect(alone.steps.last?.level ?? 0 <= all.steps.last?.level ?? 0)
      }
    }
  }
}
