// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Oracle: the bound of many configurations together against the best decision of any of them.
@Suite struct JointWeightsTests {
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
    let operators = FoldedModel(
      pricing: pricing, strategies: space.strategies(pricing, frame), ties: space.certainTies(stages: frame.stages), zero: request.givenZeRO,
      recompute: space.recompute(frame), link: placed.stageLink, wrapLink: placed.wrapLink)
    let configurations = space.schedules(stages: frame.stages, microBatches: frame.microBatches).flatMap { schedule in
      space.cuts(stages: frame.stages, chunks: schedule.chunks).map { Configuration(frame, schedule, $0, space: space) }
    }
    let joint = JointWeights(operators, configurations)
    let minimum = BlockMinimum(operators)
    let sizes = all.entries.map(\.memory).sorted()
    let relaxed = try #require(try minimum.least(joint.objective)).sum
    var isPriced = false
    for limit in [sizes[0], sizes[sizes.count / 20], sizes[sizes.count / 3], sizes[sizes.count - 1]] {
      let best = try #require(all.best(memory: limit)).objective
      #expect(relaxed > 0 && relaxed <= best, "within \(limit)")
      for ticksPerByte in [1.0, 10, 100, 1e3, 1e4, 1e5, 1e6] {
        var objective = joint.objective
        objective.price = .init(row: joint.load.row(), limit: limit.whole, ticksPerByte: ticksPerByte)
        let bound = try #require(try minimum.least(objective)).sum
        #expect(bound <= best, "within \(limit) at \(ticksPerByte)")
        isPriced = isPriced || bound > relaxed
      }
    }
    #expect(isPriced, "where memory binds, some price is better than none")
  }
}
