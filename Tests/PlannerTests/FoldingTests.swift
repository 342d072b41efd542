// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Search
import Strategies
import TestSupport
import Testing

@testable import CostModel
@testable import Planner

/// Differential: a block with its multiplicity against its copies written out.
@Suite struct FoldingTests {
  private func requests(_ block: TinyModel.Block, layers: Int, seed: Int) throws -> (folded: SearchRequest, unfolded: SearchRequest) {
    var random = SeededGenerator(seed: seed)
    var model = TinyModel(block: block, layers: layers)
    model.batch = random.pick([2, 4])
    model.hidden = random.pick([4, 6])
    model.inner = random.pick([5, 16])
    model.vocabulary = random.pick([4, 12])
    let hardware = TinyHardware(devices: 2 * random.pick([1, 2]), innerBandwidth: random.pick([1e7, 1e9]))
    func request(_ model: TinyModel) throws -> SearchRequest {
      var request = SearchRequest(
        graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32, mode: .train,
        optimizer: .adamw)
      request.mesh = [2]
      request.microBatches = 2
      // Left free, they multiply the number of decisions.
      (request.zero, request.recompute) = (ZeROStage.allCases[seed % 4], Recompute.allCases[seed / 2 % 5])
      return request
    }
    let folded = try request(model)
    model.isUnfolded = true
    return (folded, try request(model))
  }

  /// Written out, each copy may choose for itself, so the optimum is no worse; with all copies alike it is the same.
  @Test(arguments: [(TinyModel.Block.linear, 2), (.linear, 3), (.linear, 4), (.tanhAtEnd, 2), (.mlp, 3), (.residual, 4), (.gated, 2)], 0..<2)
  func writingABlockOutChangesNothing(_ example: (block: TinyModel.Block, layers: Int), seed: Int) throws {
    let (folded, unfolded) = try requests(example.block, layers: example.layers, seed: seed)
    let plan = try #require(try Planner.search(folded).plan)
    let free = try #require(try Planner.search(unfolded).plan)
    let objective = plan.prediction.step.picoseconds
    #expect(free.prediction.step.picoseconds <= objective + Outcome.tolerance(of: objective))

    let perCopy = folded.graph.segments[1].operators.count
    let layers = example.layers * perCopy
    let alike = unfolded.graph.operators.indices.map { op in 1...layers ~= op ? 1 + (op - 1) % perCopy : op }
    let best = try #require(try Enumeration(unfolded, copiesAlike: alike).best(memory: plan.prediction.memoryLimit))
    #expect(objective >= best.objective)
    #expect(objective - best.objective <= 2 * Outcome.tolerance(of: objective))
  }

  /// The plan of every seed, its copies written out, costs and needs exactly what it claims.
  @Test(arguments: 0..<6) func aPlanWrittenOutCostsTheSame(seed: Int) throws {
    let (folded, unfolded) = try requests(TinyModel.Block.allCases[seed % 5], layers: 4, seed: seed)
    let plan = try #require(try Planner.search(folded).plan)
    let perCopy = folded.graph.segments[1].operators.count
    let assignments = unfolded.graph.operators.indices.map { op in
      plan.decision.assignments[op == 0 ? 0 : (op > 4 * perCopy ? op - 3 * perCopy : 1 + (op - 1) % perCopy)]
    }
    let written = try #require(try Enumeration(unfolded, frame: plan.decision, assignments: assignments).entries.first)
    #expect(written.objective == plan.prediction.step.picoseconds)
    #expect(written.memory == plan.prediction.memory)
  }
}
