// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Plans
import Quantities
import Strategies
import Testing

@testable import tpplan

@Suite struct SingleChangeTests {
  private func changes(_ plan: Plan) throws -> [SingleChange] {
    try Planner.singleChanges(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
  }

  @Test(
    "Oracle: a search with the changed choice fixed finds nothing slower than the plan with it changed",
    arguments: [Schedule.Kind.gpipe, .oneForwardOneBackward])
  func searched(kind: Schedule.Kind) throws {
    let plan = try tinyPipeline(kind)
    let changes = try changes(plan)
    #expect(Set(changes.map(\.choice)).isSuperset(of: [.microBatches(2), .recompute(.full), .zero(.weights)]))
    for change in changes {
      var request = try plan.request()
      switch change.choice {
      case .microBatches(let count): request.microBatches = count
      case .schedule(let kind): request.schedule = kind
      case .recompute(let kind):
        request.recomputeOfSegments = plan.decision.graph.segments.indices.map {
          plan.decision.graph.holdsLayers($0) ? kind : plan.decision.recompute[$0]
        }
      case .zero(let stage): request.zero = stage
      }
      guard case .planned(let best) = try Planner.search(request) else {
        Issue.record("\(change.choice): nothing fits")
        continue
      }
      #expect(best.prediction.step.value <= change.prediction.step.value * (1 + 1e-6), "\(change.choice)")
    }
  }

  @Test("Of a plan that is proven no change that fits is faster", arguments: committedPlans)
  func proven(name: String) throws {
    let plan = try committedPlan(name)
    for change in try changes(plan) where change.prediction.memory <= change.prediction.memoryLimit {
      #expect(change.prediction.step.value >= plan.prediction.step.value * (1 - 1e-6), "\(change.choice)")
    }
  }
}
