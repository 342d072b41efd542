// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Oracle: the bound of many configurations together against the best decision of any of them.
@Suite struct JointBoundTests {
  @Test(arguments: 0..<6) func noConfigurationIsBelowTheJointBound(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 300)
    var model = TinyModel(block: random.pick([.linear, .mlp]), layers: random.pick([4, 6]), batch: 4)
    model.hidden = random.pick([4, 5, 8])
    let hardware = TinyHardware(devices: 4, devicesPerNode: random.pick([1, 2]), innerBandwidth: random.pick([1e7, 1e8]))
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: 4, sequence: nil, precision: .fp32, mode: .train, optimizer: .adamw)
    (request.mesh, request.zero, request.recompute, request.schedule, request.microBatches) = ([2], ZeROStage.none, Recompute.none, .interleaved, 2)
    let all = try Enumeration(request)
    let space = try Space(request)
    let frame = try #require(space.frames().first)
    let placed = space.placed(stages: frame.stages, mesh: frame.mesh)
    let pricing = try space.pricing(frame, on: placed)
    var folded = FoldedModel(
      pricing: pricing, strategies: space.strategies(pricing, frame), ties: space.certainTies(stages: frame.stages), zero: request.zero,
      recompute: space.recompute(.none), link: placed.stageLink, wrapLink: placed.wrapLink)
    folded.connect()
    let configurations = space.schedules(stages: frame.stages, microBatches: frame.microBatches).flatMap { schedule in
      space.cuts(stages: frame.stages, chunks: schedule.chunks).map { cut in
        Configuration(
          stages: space.stages(cut: cut), segments: pricing.graph.segments.count, schedule: schedule, microBatches: frame.microBatches, mode: .train)
      }
    }
    let joint = JointBound(folded, configurations)
    let sizes = all.entries.map(\.memory).sorted()
    var bounds: [Int64] = []
    for limit in [sizes[0], sizes[sizes.count / 20], sizes[sizes.count / 3], sizes[sizes.count - 1]] {
      let best = try #require(all.best(memory: limit)).objective
      var price: JointBound.Price?
      let bound = try #require(try joint.bound(limit: limit.whole, cutoff: nil, price: &price))
      #expect(bound > 0 && bound <= best, "within \(limit)")
      let again = try #require(try joint.bound(limit: limit.whole, cutoff: nil, price: &price))
      #expect(again <= best)
      bounds.append(bound)
      // A reached cutoff ends it, with a bound that reaches it.
      var other: JointBound.Price?
      #expect(try joint.bound(limit: limit.whole, cutoff: bound / 2, price: &other).map { $0 >= bound / 2 } ?? false)
    }
    // Memory is priced: where it binds the bound is higher, and it is never lower.
    #expect(zip(bounds, bounds.dropFirst()).allSatisfy { Double($1) <= Double($0) * 1.0001 + 1 })
    #expect(bounds[0] > bounds[bounds.count - 1])
  }
}
