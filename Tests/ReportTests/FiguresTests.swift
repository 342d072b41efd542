// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies
import Testing

@testable import Report

@Suite struct FiguresTests {
  @Test("The places of a collective on the stages are all of its places")
  func places() throws {
    var plans = try committedPlans.map(committedPlan) + Schedule.Kind.allCases.map { try tinyPipeline($0) }
    plans += [try tinyPipeline(recompute: .full, zero: 3), try tinyStageMeshes()]
    for plan in plans {
      let decision = plan.decision
      #expect(!plan.prediction.collectives.isEmpty)
      for part in plan.prediction.collectives {
        let places = (0..<decision.groups).map { decision.places(of: part, onGroup: $0) }
        if part.cause == .tied {
          // The stage of the operator that reads the parameter; the others' part is another one.
          let holders = decision.groupsHolding(part.tensor).filter { places[$0] == 1 }
          #expect(holders.count == 1 && places.reduce(0, +) == 1)
        } else {
          #expect(places.reduce(0, +) == part.copies, "\(decision.graph.name): \(part)")
        }
      }
    }
  }

  @Test("A stage's parts are the whole step, and each is what it is called", arguments: zip([1, 2, 3], [Recompute.full, .none, .full]))
  func stageTime(zero: Int, recompute: Recompute) throws {
    let plan = try tinyPipeline(recompute: recompute, zero: zero)
    let times = StageTime.ofGroups(plan.decision, plan.prediction)
    for time in times {
      let parts = StageTime.parts.reduce(Seconds.zero) { $0 + time[keyPath: $1.value] }
      #expect(abs(parts / plan.prediction.step - 1) < 1e-9 && abs(parts / time.whole - 1) < 1e-12)
      #expect((time.recomputing > .zero) == (recompute == .full))
      // Under ZeRO 2 and 3 gradients are exchanged within passes.
      #expect((time.ofWeights > .zero) == (zero >= 2))
      #expect(time.ofWeights < time.collectives && time.ofParameters == time.gradientSync + time.ofWeights)
      let early = time.ending(at: .zero, step: plan.prediction.step)
      #expect(early.waitingAtEnd == time.waiting && early.waitingBefore == .zero)
      let late = time.ending(at: plan.prediction.step, step: plan.prediction.step)
      #expect(late.waitingAtEnd == .zero && late.whole == time.whole)
    }
  }

  @Test("Collectives of all stages are all that a plan lists in passes: the first layer has its own conversions")
  func collectivesOfStages() throws {
    // In none of these is a layout changed by cutting alone, which takes time and is no collective, or a collective hidden.
    for plan in try committedPlans.map(committedPlan) {
      let (decision, prediction) = (plan.decision, plan.prediction)
      #expect(decision.job.software.overlap == .none)
      var listed = Seconds.zero
      for part in prediction.collectives where !part.travelsBesides && ![.gradient, .updated, .tied].contains(part.cause) {
        listed += part.time * part.calls * part.copies
      }
      let found = prediction.stages.reduce(Seconds.zero) { $0 + $1.communication }
      #expect(abs(found.value - listed.value) <= 1e-6 * listed.value, "\(decision.graph.name): \(found) and \(listed)")
    }
  }

  @Test("A model's work is that of its products and score matrices, however it is split or computed again")
  func modelWork() throws {
    // 256 tokens through 4 layers of 12 h² weights, scores of 32 positions, and a head of 97 words.
    let (tokens, hidden) = (256.0, 64.0)
    let forward = tokens * (4 * (2 * 12 * hidden * hidden + 4 * 32 * hidden) + 2 * hidden * 97)
    for recompute in [Recompute.none, .full] {
      let report = try PlanReport(try tinyPipeline(recompute: recompute))
      #expect(report.modelWork.value == 3 * forward)
      let use = try #require(report.utilisation)
      #expect(abs(use.rate.value * report.prediction.step.value * 8 / (3 * forward) - 1) < 1e-9)
      #expect(abs(use.share - use.rate.value / 312e12) < 1e-9)
    }
    let inference = try PlanReport(try tinyPlan(devices: 2, mode: .forward) { $0.microBatches = 2 })
    #expect(inference.modelWork.value == forward)
  }

  @Test("Counts of five digits and more are cut into thousands; marks of axes are round")
  func numbers() {
    #expect([0, 999, 9120, 12345, 1_220_845].map(grouped) == ["0", "999", "9120", "12\u{202F}345", "1\u{202F}220\u{202F}845"])
    #expect([(79.0, 4), (0.743, 4), (15.7, 5), (1, 5), (100, 4)].map { roundStep($0.0, parts: $0.1) } == [20, 0.2, 5, 0.2, 25])
  }
}
