// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Search
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Plans whose layers are of two kinds, asked what another strategy would make of the step.
@Suite struct LayerKindsTests {
  @Test("the parts of a divided block are joined again; blocks that differ in more than names are not")
  func joining() throws {
    var model = TinyModel(block: .residual, layers: 7)
    model.isTied = true
    let graph = try model.graph()
    #expect(graph.joiningParts() == nil)
    for counts in [[3, 4], [1, 1, 5], [2, 1, 1, 1, 2]] {
      let (divided, origins) = graph.dividing(1, into: counts)
      let joined = try #require(divided.joiningParts())
      #expect(joined.graph == graph && joined.origins == origins, "\(counts)")
    }
    // Copies that each have a segment from the start have names without a number in common.
    model.isUnfolded = true
    #expect(try model.graph().joiningParts() == nil)
  }

  @Test(
    "oracle: with layers of two kinds as in a plan, and one kind's operator pinned, the search finds the cheapest of the enumerated decisions that are so",
    arguments: 0..<6)
  func pins(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 400)
    var hardware = TinyHardware()
    let block = random.pick([TinyModel.Block.single, .linear])
    hardware.devices = 2
    var model = TinyModel(block: block, layers: block == .single ? random.pick([3, 4]) : 3)
    (model.batch, model.hidden, model.inner, model.vocabulary) = (
      random.pick([2, 4]), random.pick([4, 8]), random.pick([4, 16]), random.pick([4, 40])
    )
    (hardware.devicesPerNode, hardware.peak) = (random.pick([1, 2]), random.pick([1e7, 1e8, 1e9]))
    hardware.innerBandwidth = random.pick([1e7, 1e8, 1e9])
    hardware.outerBandwidth = hardware.innerBandwidth * random.pick([0.1, 1])
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32, mode: .train, optimizer: .adamw)
    request.zero = random.pick([ZeROStage.none, .optimizer])
    let all = try Enumeration(request)
    let sizes = all.entries.map(\.memory).sorted()
    var compared = 0
    for limit in [Bytes(1e9)] + [2, 5, 20, 100].map({ sizes[sizes.count / $0] }) {
      let mixed = all.entries.filter { $0.memory <= limit && $0.decision.graph.segments.count > 3 }.sorted { $0.objective < $1.objective }
      guard
        let (plan, kinds) = mixed.lazy.compactMap({ entry in LayerKinds(entry.decision).map { (entry.decision, $0) } }).first(where: {
          $0.1.first != nil
        })
      else { continue }
      #expect(kinds.graph == (try model.graph()).sized(batch: request.batch / plan.job.microBatches, sequence: nil))
      // The decisions with the same mesh, stages and kinds.
      let like = mixed.filter {
        let other = $0.decision
        return other.mesh == plan.mesh && other.stages == plan.stages && other.schedule == plan.schedule && other.job == plan.job
          && other.recompute == plan.recompute && other.graph == plan.graph
      }
      var fixed = request
      hardware.memory = limit.value
      fixed.cluster = try hardware.cluster()
      (fixed.mesh, fixed.pipelineDegree, fixed.microBatches) = (plan.mesh, plan.groups, plan.job.microBatches)
      (fixed.schedule, fixed.chunks, fixed.stageLayers) = (plan.schedule.kind, plan.schedule.chunks, plan.searchedLayers)
      fixed.layersMayDiffer = false
      fixed = kinds.fix(fixed)
      try expect(fixed, finds: like, "limit \(limit)")
      for op in plan.graph.operators.indices where kinds.kind(of: op) != nil {
        let rule = OperatorRules.rule(for: op, in: plan.graph)
        for strategy in Strategy.all(for: rule, mesh: plan.mesh) {
          var pinned = fixed
          let name = kinds.graph.operators[kinds.origins[op]].name
          pinned.constraints = [StrategyConstraint(operator: name, strategy: strategy, rule: rule, kind: kinds.kind(of: op))]
          try expect(pinned, finds: like.filter { $0.decision.assignments[op] == strategy.assignment }, "\(name) \(strategy.assignment)")
          compared += 1
        }
      }
    }
    #expect(compared > 8)
  }

  private func expect(_ request: SearchRequest, finds entries: [Enumeration.Entry], _ comment: String) throws {
    switch try Planner.search(request) {
    case .planned(let planned):
      let best = try #require(entries.map(\.objective).min(), "\(comment): enumeration finds none")
      let found = planned.prediction.step.picoseconds
      #expect(found >= best && found - best <= 2 * Outcome.tolerance(of: best), "\(comment): \(found), \(best)")
    case .infeasible: #expect(entries.isEmpty, "\(comment): the search finds none")
    case .timeLimit: Issue.record("no time limit was set")
    }
  }
}
