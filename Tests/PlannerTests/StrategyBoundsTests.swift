// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Search
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Oracle: the bounds of strategies from single mesh axes, which searches use on three axes, against the best plans on two.
@Suite struct StrategyBoundsTests {
  /// Each mesh of a tiny model with plenty of memory, and with what its best plan needs less a part.
  @Test(arguments: 0..<24) func noStrategyOfATinyModelsBestPlanIsLeftOut(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 900)
    var hardware = TinyHardware()
    var request = try tinyRequest(seed: seed + 900, hardware: &hardware)
    hardware.devices = random.pick([4, 6, 8])
    (request.cluster, request.mesh) = (try hardware.cluster(), nil)
    (request.recompute, request.zero) = (random.pick([nil, Recompute.none]), random.pick([nil, ZeROStage.none, .weights]))
    let roomy = try #require(try Planner.search(request).plan)
    for share in [2, 0.75, 0.5] {
      hardware.memory = roomy.prediction.memory.value * share
      request.cluster = try hardware.cluster()
      try expectBounds(request)
    }
  }

  /// Extents that do not divide, levels of several kinds, and memory that binds.
  @Test(arguments: [("gpt2", "derecho", 8, Mode.train), ("gpt2", "aws-p3", 16, .train), ("gpt2", "ethernet", 8, .forward)])
  func noStrategyOfARealModelsBestPlanIsLeftOut(model: String, hardware: String, devices: Int, mode: Mode) throws {
    var request = try Shipped.request(model, on: Shipped.hardware(hardware), devices: devices, batch: 8, sequence: 96, mode: mode)
    (request.pipelineDegree, request.microBatches, request.layersMayDiffer) = (1, 2, false)
    try expectBounds(request)
  }

  /// Differential: on three axes, blocks too large to try everything, with strategies left out and without.
  @Test(arguments: 0..<10) func leavingStrategiesOutChangesNoObjective(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 950)
    var model = TinyModel(block: [.mlp, .tanhAtEnd][seed % 2], layers: random.pick([1, 2]), batch: random.pick([2, 4]))
    (model.hidden, model.inner, model.vocabulary) = (random.pick([4, 5]), random.pick([4, 7]), random.pick([3, 4]))
    var hardware = TinyHardware(
      devices: 8, devicesPerNode: random.pick([2, 4, 8]), innerBandwidth: random.pick([1e7, 1e8, 1e9]), outerBandwidth: random.pick([1e6, 1e7, 1e8]))
    hardware.latency = random.pick([1e-8, 1e-6, 1e-5])
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: random.pick([.fp32, .bf16]),
      mode: random.pick([.train, .train, .forward]), optimizer: random.pick([.adamw, .sgd]))
    (request.mesh, request.layersMayDiffer, request.microBatches, request.recompute) = ([2, 2, 2], false, 1, Recompute.none)
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

  private func expectBounds(_ request: SearchRequest) throws {
    let space = try Space(request)
    var search = try PlanSearch(space, SearchMonitor(stop: StopCondition(after: nil)))
    for frame in space.frames() where frame.mesh.count > 1 {
      var fixed = request
      (fixed.pipelineDegree, fixed.mesh, fixed.microBatches) = (frame.stages, frame.mesh, frame.microBatches)
      guard let plan = try Planner.search(fixed).plan else { continue }
      let step = Int64((plan.prediction.step / space.tick).rounded())
      let cutoff = step + 2 * Outcome.tolerance(of: step)
      let placed = space.placed(stages: frame.stages, mesh: frame.mesh)
      let axes = try search.axisBounds(frame.stages, frame.size, frame.microBatches)
      var bounds = try #require(StrategyBounds(axes, placed, frame, space, limit: search.limit))
      // Layers of two kinds have no one strategy.
      let isAlike = plan.decision.graph.operators.count == request.graph.operators.count
      let pricing = try space.pricing(frame, on: placed)
      let strategies = zip(plan.decision.assignments, pricing.rules).map { Strategy(assignment: $0, rule: $1) }
      for isRefined in [false, true] {
        if isRefined {
          bounds.refine(
            try space.recomputes.map { try #require(try search.operators(frame.recomputing($0), space.certainTies(stages: frame.stages))) })
        }
        let bound = try bounds.bound(below: cutoff)
        #expect(bound > 0 && bound < cutoff, "\(frame), \(isRefined)")
        guard isAlike else { continue }
        let lost = strategies.indices.filter { !bounds.isLeft($0, strategies[$0]) }.map { pricing.graph.operators[$0].name }
        #expect(lost.isEmpty, "\(frame), \(isRefined)")
      }
    }
  }
}
