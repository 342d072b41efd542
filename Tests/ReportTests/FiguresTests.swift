// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph
import Planner
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
    let times = try stageTimes(plan)
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

  @Test("Differential: what the host holds passes up is what they take longer than their program's instructions", arguments: [Recompute.none, .full])
  func heldUp(recompute: Recompute) throws {
    let held = try tinyPlan(on: "dgx_h100_80g_ndr400x8") { ($0.mesh, $0.pipelineDegree, $0.recompute) = ([4], 2, recompute) }
    let free = try tinyPlan { ($0.mesh, $0.pipelineDegree, $0.recompute) = ([4], 2, recompute) }
    for plan in [held, free] {
      let step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
      for (group, time) in try stageTimes(plan).enumerated() {
        let program = Lowering.program(for: plan.decision, rank: plan.decision.ranks(ofGroup: group).lowerBound)
        let prices = step.instructionPrices(of: program)
        let instructions = program.passes.flatMap { program.instructions[$0.instructions] }.reduce(0) { $0 + prices.time($1).value }
        // Passes are of whole ticks, operator by operator.
        let rounding = 1e-12 * Double(program.instructions.count)
        #expect(abs((time.computing + time.collectives - time.heldUp).value - instructions) <= rounding)
        #expect((time.heldUp > time.computing * 0.5) == (plan == held) && (time.heldUp == .zero) == (plan == free))
        #expect(time.computingOnce + time.recomputing + time.heldUp == time.computing)
      }
    }
  }

  @Test("Differential: operators on a stage are those of its own devices, not of the slowest")
  func operatorsOfStages() throws {
    let plan = try tinyPlan(devices: 32, batch: 32, precision: .fp16, on: "mixed-a100-v100") { ($0.mesh, $0.pipelineDegree) = ([16], 2) }
    let step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: 32))
    let parts = step.parts.map(\.operators)
    for (op, slowest) in plan.prediction.operators.enumerated() {
      let times = parts.map { $0[op].forward + $0[op].backward }
      #expect(times.max() == slowest.forward + slowest.backward)
    }
    #expect(parts[0] != parts[1])
    for group in 0..<2 {
      let program = Lowering.program(for: plan.decision, rank: plan.decision.ranks(ofGroup: group).lowerBound)
      let prices = step.instructionPrices(of: program)
      for case .kernel(let call) in program.instructions where call.phase == .forward {
        #expect(prices.time(.kernel(call)) <= parts[group][call.op].forward)
      }
    }
  }

  @Test("ZeRO is said as most weights have it, and where some have more")
  func zeroWords() throws {
    var decision = try tinyPlan(devices: 2) { ($0.mesh, $0.zero) = ([2], .optimizer) }.decision
    func set(_ stage: ZeROStage, _ isChosen: (String) -> Bool) {
      for op in decision.graph.operators.indices where isChosen(decision.graph.operators[op].name) { decision.zero[op] = stage }
    }
    set(.optimizer) { _ in true }
    #expect(decision.zeroStages == [.optimizer] && decision.zeroText(withNone: true) == "1" && decision.splitText.contains("ZeRO 1"))
    set(.none) { $0.contains("ln_") }
    #expect(decision.zeroText(withNone: false) == "1" && decision.zeroText(withNone: true) == "1 (some weights 0)")
    set(.weights) { $0.contains("ln_f") }
    #expect(decision.zeroStages == [.optimizer, .none, .weights] && decision.splitText.contains("ZeRO 1 (some weights 3)"))
    set(.none) { !$0.contains("ln_f") }
    #expect(decision.zeroText(withNone: false) == "3 (some weights)" && decision.zeroText(withNone: true) == "0 (some weights 3)")
    set(.none) { _ in true }
    #expect(decision.zeroText(withNone: true) == nil && !decision.splitText.contains("ZeRO"))
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
