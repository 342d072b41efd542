// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Lowering
import Planner
import Plans
import Report
import Strategies
import Testing

@testable import tpplan

/// Plans whose stages have several meshes.
@Suite struct StageMeshPlanTests {
  /// Stages of 2 × 2 and of 2 devices, with tied weights on both.
  private func plan() throws -> Plan {
    try Self.once.get()
  }

  private static let once = Result {
    try PlansTests.plan(deepGPT2(layers: 3), hardware: "derecho", devices: 6, batch: 8, sequence: 32) {
      ($0.stageMeshes, $0.microBatches, $0.schedule) = ([[2, 2], [2]], 2, .oneForwardOneBackward)
      $0.constraints = [.init(pattern: "*.mlp.c_fc", words: ["column"], isForbidden: false)]
    }
  }

  @Test("Oracle: written, read and written again it is the same, and says what its stages have") func roundTrip() throws {
    let plan = try plan()
    let json = PlanFile.encode(plan)
    let again = try PlanFile.decode(Document(file: "plan.json", value: json))
    #expect(again == plan && PlanFile.encode(again) == json)
    #expect(json["stage_meshes"] == [[2, 2], [2]])
    #expect(plan.decision.ranks == 6 && (0..<6).map(plan.decision.group(ofRank:)) == [0, 0, 0, 0, 1, 1])
    let summary = PlanSummary(plan: plan, seconds: 0).lines
    #expect(summary.contains("  mesh         2 x 2 on stage 0, 2 on stage 1, 2 stages, 1f1b"))
    let report = try PlanReport(plan).lines(.plain)
    #expect(report.contains("Mesh 2 × 2 on stage 0") && report.contains("Mesh 2 on stage 1"))
    #expect(report.contains { $0.contains("back to the stage before") })
  }

  @Test("Every rank's program is printed, with who sends boxes to whom") func programs() throws {
    let plan = try plan()
    for rank in 0..<plan.decision.ranks {
      let lines = try ProgramReport(plan, rank: rank).lines(.plain)
      #expect(lines.contains { $0.contains("boxes [") })
      #expect(lines.contains { $0.contains("tied gradient, with stages of other meshes") })
    }
  }

  @Test("Oracle: a layer's own strategy gives the plan's step, and no other a better one", arguments: [0, 1]) func alternatives(stage: Int) throws {
    let plan = try PlansTests.plan(deepGPT2(layers: 3), hardware: "derecho", devices: 3, batch: 8, sequence: 32) {
      ($0.stageMeshes, $0.microBatches, $0.schedule) = ([[2], [1]], 2, .oneForwardOneBackward)
    }
    let segment = plan.decision.stages[stage].units.first { plan.decision.graph.holdsLayers($0.segment) }!.segment
    let op = plan.decision.graph.segments[segment].operators.first { plan.decision.graph.operators[$0].name.hasSuffix(".mlp.act") }!
    let report = try LayerReport(plan, layer: plan.decision.graph.operators[op].name)
    let mesh = plan.decision.stageMeshes[stage]
    #expect(report.alternatives.count == Strategy.all(for: report.rule, mesh: mesh).count - 1)
    for alternative in report.alternatives {
      if case .step(let time, _) = alternative.result { #expect(time.value >= plan.prediction.step.value * (1 - 1e-6)) }
    }
    var request = try plan.request()
    request.constraints = [StrategyConstraint(operator: plan.decision.graph.operators[op].name, strategy: report.chosen, rule: report.rule)]
    guard case .planned(let again) = try Planner.search(request) else { throw NoPlan() }
    #expect(again.prediction.step == plan.prediction.step)
    #expect(again.decision.stageMeshes == plan.decision.stageMeshes)
  }

  static let contradictions: [(path: String, meshes: JSON, message: String)] = [
    ("$.stage_meshes", [[2, 2], [2], [2]], "for 2 stages"), ("$.stages[1].devices", [[2, 2], [4]], "expected 4"),
    ("$.stage_meshes", [[2, 2], [2, 2]], "leave it out where they are"), ("$.stage_meshes[1]", [[2, 2], []], "mesh axes"),
    ("$.stage_meshes[1][0]", [[2, 2], ["x"]], "string"), ("$.stage_meshes", 3, "number"),
    ("].assignment", [[2, 2], [1, 2]], "one axis, or null, for each of the 2 mesh axes"),
  ]

  @Test("Every contradiction is refused with its place", arguments: contradictions)
  func refusals(path: String, meshes: JSON, message: String) throws {
    let document = edited(try plan()) { $0.set(["stage_meshes"], meshes) }
    do {
      _ = try PlanFile.decode(document)
      Issue.record("it was read")
    } catch {
      #expect("\(error)".contains(path) && "\(error)".contains(message), "\(error)")
    }
  }

  @Test("A schedule of several chunks has one mesh") func interleaved() throws {
    let document = edited(try tinyInterleaved()) { $0.set(["stage_meshes"], [[2, 2], [4]]) }
    #expect(throws: PlanError.self) { try PlanFile.decode(document) }
  }
}
