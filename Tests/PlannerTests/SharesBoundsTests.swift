// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Search
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Bounds that are made for even shares hold for uneven ones.
struct SharesBoundsTests {
  private func hardware(_ random: inout SeededGenerator, devices: Int) -> TinyHardware {
    var hardware = TinyHardware(
      devices: devices, devicesPerNode: devices / 2, innerBandwidth: random.pick([1e7, 1e8, 1e9]), outerBandwidth: random.pick([1e7, 1e8, 1e9]),
      latency: random.pick([1e-8, 1e-6]))
    (hardware.firstNodes, hardware.peak) = (1, random.pick([1e6, 1e7]))
    (hardware.peakShare, hardware.memoryShare) = (random.pick([0.25, 0.5, 3]), random.pick([0.5, 1]))
    return hardware
  }

  /// Differential: a mesh's bound from its axes is no more than the best plan with each of its shares.
  @Test(arguments: 0..<8) func boundsOfAxesHoldForAllShares(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 1000)
    var model = TinyModel(block: random.pick([.mlp, .residual, .linear]), layers: random.pick([1, 2]), batch: random.pick([8, 12]))
    (model.hidden, model.inner) = (random.pick([4, 8]), random.pick([7, 16]))
    let hardware = hardware(&random, devices: 4)
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32,
      mode: random.pick([.train, .train, .forward]), optimizer: .adamw)
    (request.pipelineDegree, request.layersMayDiffer) = (1, false)
    let space = try Space(request)
    var search = try PlanSearch(space, SearchMonitor(stop: StopCondition(after: nil)))
    let uneven = space.frames().filter { !$0.shares.isEmpty }
    #expect(!uneven.isEmpty)
    for frame in uneven {
      var fixed = request
      (fixed.mesh, fixed.shares) = (frame.mesh, frame.shares)
      let plan = try #require(try Planner.search(fixed).plan)
      #expect(plan.decision.shares?.samples == frame.shares)
      let axes = try search.axisBounds(1, frame.size, frame.microBatches)
      let bound = try axes.bound(space.placed(stages: 1, mesh: frame.mesh), mesh: frame.mesh)
      #expect(space.tick * Double(bound) <= plan.prediction.step)
      #expect(space.tick * Double(try search.countBound(1, frame.size, frame.microBatches)) <= plan.prediction.step)
    }
  }

  /// Differential: on three axes, with strategies left out by their bounds and without, also where memory binds.
  @Test(arguments: 0..<6) func leavingStrategiesOutChangesNoObjective(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 1100)
    var model = TinyModel(block: [.mlp, .tanhAtEnd][seed % 2], layers: 1, batch: random.pick([6, 8]))
    (model.hidden, model.inner, model.vocabulary) = (random.pick([4, 5]), random.pick([4, 7]), random.pick([3, 4]))
    var hardware = hardware(&random, devices: 8)
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32,
      mode: random.pick([.train, .train, .forward]), optimizer: random.pick([.adamw, .sgd]))
    (request.mesh, request.layersMayDiffer, request.microBatches, request.recompute) = ([2, 2, 2], false, 1, Recompute.none)
    #expect(try Space(request).frames().contains { !$0.shares.isEmpty })
    let roomy = try #require(try Planner.search(request).plan)
    for share in [2, 0.6] {
      hardware.memory = roomy.prediction.memory.value * share
      request.cluster = try hardware.cluster()
      request.leavesOutStrategies = true
      let few = try Planner.search(request).plan
      request.leavesOutStrategies = false
      let all = try Planner.search(request).plan
      #expect((few == nil) == (all == nil))
      guard let few, let all else { continue }
      let step = Int64((all.prediction.step / Seconds(1e-12)).rounded())
      #expect(abs((few.prediction.step - all.prediction.step).value) <= 2e-12 * Double(Outcome.tolerance(of: step)), "share \(share)")
    }
  }
}
