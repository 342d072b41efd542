// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies
import Testing

/// A device with round figures in nodes of 4: 100 GB/s and 1 µs inside, 10 GB/s and 5 µs between, a start-up of 20 µs between.
func cluster(devices: Int) throws -> Cluster {
  let device = DeviceKind(
    name: "d", source: nil, peaks: [.init(precision: .fp32, rate: .teraflops(1))], memory: .gibibytes(1), reservedMemory: .zero,
    memoryBandwidth: .gigabytesPerSecond(100), defaultPrecision: .fp32, launchOverhead: .zero, efficiency: .ideal)
  let levels = [
    Level(name: "inner", joins: 4, bandwidth: .gigabytesPerSecond(100), bandwidthIs: .device, latency: .microseconds(1), source: nil),
    Level(
      name: "outer", joins: nil, bandwidth: .gigabytesPerSecond(10), bandwidthIs: .device, latency: .microseconds(5), startup: .microseconds(20),
      source: nil),
  ]
  return try HardwareFile(name: "c", source: "made up", devices: [device], groups: [.init(device: 0, devicesPerNode: 4, nodes: nil)], levels: levels)
    .cluster(devices: devices)
}

/// Oracle: costs worked by hand.
@Suite struct CollectiveTests {
  private func microseconds(_ kind: CollectiveKind, megabytes: Double, devices: Int) throws -> Double {
    let placement = try cluster(devices: devices).placement(ofAxis: 0, in: Mesh(shape: [devices]))
    return CollectiveCost.time(kind, bytes: Bytes(megabytes * 1e6), on: placement).value * 1e6
  }

  private func expect(_ found: Double, _ expected: Double) {
    #expect(abs(found - expected) <= 1e-9 * expected, "\(found) µs, by hand \(expected) µs")
  }

  /// Four devices, 4 MB: one way 2 steps of 1 µs and ¾ · 4 MB / 100 GB/s = 30 µs.
  @Test func insideANode() throws {
    expect(try microseconds(.allGather, megabytes: 4, devices: 4), 32)
    expect(try microseconds(.reduceScatter, megabytes: 4, devices: 4), 32)
    expect(try microseconds(.allReduce, megabytes: 4, devices: 4), 64)
    expect(try microseconds(.allToAll, megabytes: 4, devices: 4), 3 * 1 + 30)
  }

  /// Two nodes: the rest of 1 MB a device crosses: 5 µs + ½ · 1 MB / 10 GB/s = 55 µs one way, and 20 µs once.
  @Test func acrossNodes() throws {
    expect(try microseconds(.allGather, megabytes: 4, devices: 8), 20 + 32 + 55)
    expect(try microseconds(.allReduce, megabytes: 4, devices: 8), 20 + 2 * (32 + 55))
    // 3 of 8 peers inside: 3 µs + 3/8 · 4 MB / 100 GB/s; 4 outside: 20 µs + 4/8 · 4 MB / 10 GB/s.
    expect(try microseconds(.allToAll, megabytes: 4, devices: 8), 20 + (3 + 15) + (20 + 200))
  }

  /// Three members take two rounds.
  @Test func threeMembers() throws { expect(try microseconds(.allGather, megabytes: 3, devices: 3), 2 + 20) }

  @Test func oneMemberPaysNothing() throws {
    for kind in CollectiveKind.allCases { #expect(try microseconds(kind, megabytes: 4, devices: 1) == 0) }
  }
}

/// Differential: Dijkstra against every sequence of steps.
@Suite struct ResharderTests {
  private func pricing(mesh: [Int], shape: [Int]) throws -> Pricing {
    var builder = GraphBuilder(name: "one")
    let dims = shape.enumerated().map { builder.axis("axis\($0)", $1, $0 == 0 ? .batch : .feature) }
    let ids = builder.input(.inputIDs, Array(dims.dropLast()))
    let rows = builder.axis("vocab", 64, .vocabulary)
    builder.begin(segment: "all")
    _ = builder.embedding("x", ids: ids, rows: rows, features: dims[dims.count - 1])
    builder.end()
    let devices = mesh.reduce(1, *)
    let cluster = try cluster(devices: devices)
    let job = Job(batch: shape[0], microBatches: 1, sequence: nil, mode: .forward, optimizer: .adamw, precision: .fp32)
    let placements = (0..<1 << mesh.count).map { set in cluster.placement(ofAxes: mesh.indices.filter { set >> $0 & 1 == 1 }, in: Mesh(shape: mesh)) }
    return Pricing(graph: try builder.finish(), mesh: mesh, rates: try DeviceRates(cluster.kind(of: 0), .fp32), job: job, placements: placements)
  }

  private func layouts(_ axes: Int, _ dimensions: Int) -> [Layout] {
    let placements = [Placement.replicated, .partial] + (0..<dimensions).map(Placement.split)
    return (0..<axes).reduce([[]]) { all, _ in all.flatMap { head in placements.map { head + [$0] } } }.map { Layout($0) }
  }

  @Test(arguments: [([4], [8, 6]), ([3], [4, 9]), ([2, 2], [8, 6]), ([2, 4], [8, 12]), ([4, 2], [3, 16]), ([2, 3], [6, 6])])
  func theCheapestWayIsTheCheapestOfAll(mesh: [Int], shape: [Int]) throws {
    let pricing = try pricing(mesh: mesh, shape: shape)
    let resharder = Resharder(pricing)
    let tensor = pricing.graph.operators[0].result
    /// Whether every rank has a part.
    func isHeld(_ layout: Layout) -> Bool {
      shape.indices.allSatisfy { d in layout.axesSplitting(d).reduce(1) { $0 * mesh[$1] } <= shape[d] }
    }
    for from in layouts(mesh.count, shape.count).filter(isHeld) {
      // Bellman's iteration over all steps, until nothing becomes cheaper.
      var least = [from: 0.0]
      var changed = true
      while changed {
        changed = false
        for (layout, time) in least {
          for step in ReshardingStep.steps(from: layout, shape: shape, mesh: mesh) {
            let next = time + resharder.time(step, of: tensor, from: layout).value
            if next < least[step.result] ?? .infinity { (least[step.result], changed) = (next, true) }
          }
        }
      }
      for to in layouts(mesh.count, shape.count) {
        let path = resharder.path(tensor, from: from, to: to)
        // Nothing makes a partial sum; every other layout in which each rank has a part can be reached.
        let isReachable = from == to || (isHeld(to) && to.partialAxes.allSatisfy { from[$0] == .partial })
        #expect((path != nil) == isReachable, "\(from.placements) to \(to.placements)")
        guard let path else { continue }
        #expect(abs(path.time.value - least[to]!) <= 1e-12 * path.time.value)
        #expect(resharder.time(tensor, from: from, to: to) == path.time)
        #expect((path.steps.last?.result ?? from) == to)
        var layout = from
        for step in path.steps {
          #expect(ReshardingStep.steps(from: layout, shape: shape, mesh: mesh).contains(step))
          layout = step.result
        }
      }
    }
  }

  /// Oracle: each step on numbers, rank by rank: the parts of the result are what the parts before hold between them.
  @Test(arguments: [([2, 2], [5, 7]), ([3], [4, 5]), ([2, 3], [6, 8])]) func aStepMovesWhatItsNameSays(mesh: [Int], shape: [Int]) throws {
    let ranks = Mesh(shape: mesh)
    for from in layouts(mesh.count, shape.count)
    where shape.indices.allSatisfy({ d in from.axesSplitting(d).reduce(1) { $0 * mesh[$1] } <= shape[d] }) {
      for step in ReshardingStep.steps(from: from, shape: shape, mesh: mesh) {
        for axis in mesh.indices where !step.axes.contains(axis) { #expect(step.result[axis] == from[axis]) }
        for device in 0..<ranks.deviceCount {
          let place = ranks.coordinates(of: device)
          let after = Shard.region(shape: shape, layout: step.result, mesh: mesh, coordinates: place)
          // Every index of the new part is held by a member of the group that the step joins.
          let held = ranks.groups(along: step.axes).first { $0.contains(device) }!.map {
            Shard.region(shape: shape, layout: from, mesh: mesh, coordinates: ranks.coordinates(of: $0))
          }
          for i in after[0] { for j in after[1] { #expect(held.contains { $0[0].contains(i) && $0[1].contains(j) }) } }
        }
      }
    }
  }
}
