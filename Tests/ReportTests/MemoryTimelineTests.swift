// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Lowering
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies
import Testing

/// What is in memory when: the lowered program on paper beside what the plan's prediction counts.
@Suite struct MemoryTimelineTests {
  private func timeline(_ plan: Plan, group: Int) throws -> (timeline: MemoryTimeline, program: Program) {
    let step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
    let program = Lowering.program(for: plan.decision, rank: plan.decision.ranks(ofGroup: group).lowerBound)
    return (step.memory(of: program), program)
  }

  /// What a virtual stage keeps of one micro-batch.
  private func kept(_ plan: Plan, stage: Int) -> Bytes {
    plan.decision.stages[stage].units.reduce(.zero) { sum, unit in
      plan.decision.graph.segments[unit.segment].operators.reduce(sum) { $0 + plan.prediction.operators[$1].kept * unit.copies.count }
    }
  }

  @Test("Differential: after each pass the program holds what the prediction keeps of the micro-batches in flight", arguments: Schedule.Kind.allCases)
  func afterPasses(kind: Schedule.Kind) throws {
    let plan = try tinyPipeline(kind, recompute: Recompute.none)
    for group in 0..<2 {
      let (timeline, program) = try timeline(plan, group: group)
      var inFlight = [Int](repeating: 0, count: plan.decision.stages.count)
      #expect(timeline.afterPasses.count == program.passes.count)
      for (pass, sample) in zip(program.passes, timeline.afterPasses) {
        inFlight[plan.decision.stage(of: pass.pass, on: group)] += pass.pass.isForward ? 1 : -1
        let expected = inFlight.indices.reduce(Bytes.zero) { $0 + kept(plan, stage: $1) * inFlight[$1] }
        #expect(sample[.activations] == expected, "\(pass.pass)")
        #expect(sample[.gradients] == .zero && sample[.gathered] == .zero)
      }
    }
  }

  @Test("Nothing but what stays is left at the end, and times do not go back", arguments: [nil, Recompute.full], [nil, 3])
  func end(recompute: Recompute?, zero: Int?) throws {
    let plan = try tinyPipeline(recompute: recompute, zero: zero)
    for group in 0..<2 {
      let samples = try timeline(plan, group: group).timeline.samples
      #expect(samples.last?.total == .zero && samples.allSatisfy { $0.bytes.allSatisfy { $0 >= .zero } })
      #expect(zip(samples, samples.dropFirst()).allSatisfy { $0.time <= $1.time } && samples[samples.count - 1].time <= plan.prediction.step)
      #expect(samples.contains { $0[.gathered] > .zero } == (zero == 3))
    }
  }

  @Test("Gradients of weights that are updated in the backward pass are there until then, and do not stay")
  func updatesInBackward() throws {
    let plan = try tinyPlan(devices: 2) {
      $0.microBatches = 1
      $0.software.updates = .inBackward
    }
    let timeline = try timeline(plan, group: 0).timeline
    #expect(timeline.samples.contains { $0[.gathered] > .zero } && timeline.samples.last?.total == .zero)
    #expect(timeline.afterPasses.allSatisfy { $0[.gathered] == .zero })
  }

  @Test("The most at once is near the predicted peak", arguments: ["bert-base-ethernet-4", "gpt2-dgx-a100-8", "llama-3-8b-derecho-8"])
  func peak(name: String) throws {
    let plan = try committedPlan(name)
    for group in 0..<plan.decision.groups {
      let timeline = try timeline(plan, group: group).timeline
      let part = plan.prediction.memory(ofGroup: group)
      // The prediction counts an operator's result and gradients twice over, and the program lets several operators' results stand side by side.
      #expect(abs((timeline.peak.total - part.activations - part.transient).value) <= max(part.transient.value, 0.05 * part.activations.value))
      let envelope = timeline.envelope(until: plan.prediction.step, count: 77)
      #expect(envelope.count == 77 && envelope.map(\.total).max() == timeline.peak.total)
      #expect(envelope[76].total < timeline.peak.total)
    }
  }

  @Test("Tensors are never more than the predicted peak, of which they are a part", arguments: [Precision.fp32, .bf16], [nil, 2])
  func bounded(precision: Precision, zero: Int?) throws {
    // The logits of a whole batch are most of what is in memory: in fp32 their gradient goes over them.
    let logits = try tinyPlan(layers: 1, devices: 4, precision: precision) {
      $0.mesh = [2, 2]
      $0.microBatches = 1
      $0.zero = zero.flatMap { ZeROStage(rawValue: $0) }
    }
    var plans = [logits, try tinyPipeline(zero: zero), try tinyPipeline(recompute: .full, zero: zero)]
    if zero == nil { plans += try committedPlans.map(committedPlan) }
    for plan in plans {
      for group in 0..<plan.decision.groups {
        let part = plan.prediction.memory(ofGroup: group)
        let peak = try timeline(plan, group: group).timeline.peak.total
        #expect(peak <= (part.activations + part.transient) * (1 + 1e-9), "\(plan.decision.graph.name), stage \(group)")
      }
    }
  }
}
