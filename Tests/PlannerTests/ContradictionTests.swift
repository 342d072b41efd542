// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Strategies
import Testing

@testable import Planner

/// Choices that no plan can satisfy together.
@Suite struct ContradictionTests {
  private func request(_ model: TinyModel = TinyModel(layers: 4), _ pins: String..., change: (inout SearchRequest) -> Void = { _ in }) throws
    -> SearchRequest
  {
    var request = SearchRequest(
      graph: try model.graph(), cluster: try TinyHardware(devices: 2).cluster(), batch: model.batch, sequence: nil, precision: .fp32, mode: .train,
      optimizer: .adamw)
    request.constraints = try pins.map { try StrategyConstraint(parsing: $0, isForbidden: false) }
    change(&request)
    return request
  }

  @Test("Two pins of one operator: both are named, a third one that is innocent is not")
  func oneOperator() throws {
    let request = try request(TinyModel(layers: 4), "block.*.up=column", "embedding=vocab", "block.*.up=row")
    let found = try #require(try Planner.contradiction(request))
    #expect(found.options == ["--pin block.*.up=column", "--pin block.*.up=row"])
    #expect(found.operators == ["block.{i}.up"] && found.leavesNone)
    #expect(found.splits.contains("column") && found.splits.contains("row"))
    guard case .infeasible(let why) = try Planner.search(request) else {
      Issue.record("there is a plan")
      return
    }
    #expect(why.memory == nil)
  }

  @Test("A pin that contradicts what is fixed around the operators")
  func fixedChoices() throws {
    let request = try request(TinyModel(layers: 4), "block.*.up=column") { ($0.mesh, $0.schedule) = ([1], .gpipe) }
    let found = try #require(try Planner.contradiction(request))
    #expect(found.options == ["--mesh 1", "--pin block.*.up=column"])
  }

  @Test("Readers of one tied table that are pinned to different splits")
  func neighbours() throws {
    var request = try Shipped.request("gpt2", on: try Shipped.hardware("local"), devices: 2, batch: 2, sequence: 64)
    request.constraints = try ["transformer.wte=vocab", "*.mlp.c_fc=column", "lm_head=row"].map {
      try StrategyConstraint(parsing: $0, isForbidden: false)
    }
    let found = try #require(try Planner.contradiction(request))
    #expect(found.options == ["--pin transformer.wte=vocab", "--pin lm_head=row"])
    #expect(found.operators == ["transformer.wte", "lm_head"] && !found.leavesNone)
  }

  @Test("One tensor in more layouts than are held at once is no plan, and no crash")
  func tooManyLayouts() throws {
    var request = try Shipped.request("gpt2", on: try Shipped.hardware("local"), devices: 4, batch: 8, sequence: 64)
    request.mesh = [4]
    request.constraints = try ["*.c_attn.q=data", "*.c_attn.k=column", "*.c_attn.v=sequence", "*.mlp.c_fc=column"].map {
      try StrategyConstraint(parsing: $0, isForbidden: false)
    }
    #expect(try Planner.search(request).plan == nil)
    let found = try #require(try Planner.contradiction(request))
    // On two mesh axes the pins leave room: the one axis is part of it.
    #expect(found.options == ["--mesh 4", "--pin *.c_attn.q=data", "--pin *.c_attn.k=column", "--pin *.c_attn.v=sequence"])
  }

  @Test func satisfiableChoicesDoNotContradictEachOther() throws {
    #expect(try Planner.contradiction(try request(TinyModel(layers: 4), "block.*.up=column")) == nil)
    #expect(try Planner.contradiction(try request()) == nil)
  }

  @Test("What pins exclude is not counted as not fitting")
  func excludedConfigurationsAreNotCounted() throws {
    // On two stages of one device nothing can be split, so that the pin leaves the mesh of two only.
    let planned = try #require(try Planner.search(try request(TinyModel(layers: 4), "block.*.up=column")).plan)
    #expect(planned.decision.mesh == [2] && planned.certificate.infeasible == 0)
  }
}
