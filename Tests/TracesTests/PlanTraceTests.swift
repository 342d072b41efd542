// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Lowering
import Planner
import Plans
import Testing
import Traces

/// A plan's predicted step as a time line.
@Suite struct PlanTraceTests {
  /// Of one process the complete events of the track of this name.
  private func events(_ trace: Trace, _ process: Int, _ track: String) -> [Trace.Event] {
    let tracks = trace.tracks.filter { $0.track.process == process && $0.name == track }.map(\.track)
    return trace.events.filter { $0.kind == .complete && tracks.contains($0.track) }.sorted { $0.start < $1.start }
  }

  private func sum(_ events: [Trace.Event]) -> Int { events.reduce(0) { $0 + $1.end - $1.start } }

  private func number(_ event: Trace.Event, _ key: String) -> Int? {
    if case .int(let value) = event.arguments[key] { value } else { nil }
  }

  @Test(
    "Passes and bubbles fill every rank's step; so do kernels, collectives and bubbles, one after the other on each track", arguments: Split.allCases)
  func sums(split: Split) throws {
    for hardware in ["local", "dgx-a100"] {
      let plan = try split.plan(on: hardware)
      let (trace, step) = (try PlanTrace(plan, ranks: .all).trace, Trace.nanoseconds(plan.prediction.step))
      #expect(trace.processes.count == plan.decision.ranks)
      for rank in 0..<plan.decision.ranks {
        let passes = events(trace, rank + 1, "passes")
        let (compute, communication) = (events(trace, rank + 1, "compute"), events(trace, rank + 1, "communication"))
        #expect(abs(sum(passes) - step) <= 1, "rank \(rank)")
        let bubbles = passes.filter { $0.name == TraceLabel.bubble.name }
        #expect(plan.decision.groups == 1 || !bubbles.isEmpty)
        // Each time is rounded to a nanosecond, and what is less than half of one is left out.
        let parts = sum(compute) + sum(communication) + sum(bubbles)
        #expect(abs(parts - step) <= Lowering.program(for: plan.decision, rank: rank).instructions.count, "rank \(rank): \(parts) of \(step) ns")
        for track in [passes, compute, communication] {
          for (event, next) in zip(track, track.dropFirst()) { #expect(event.end <= next.start) }
        }
        let whole = (compute + communication).sorted { $0.start < $1.start }
        for (event, next) in zip(whole, whole.dropFirst()) { #expect(event.end <= next.start) }
      }
    }
  }

  @Test("Differential: what a plan says its stages spend in collectives is that of the program's instructions", arguments: Split.allCases)
  func communicationOfStages(split: Split) throws {
    for hardware in ["local", "dgx-a100"] {
      let plan = try split.plan(on: hardware)
      let step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
      for group in 0..<plan.decision.groups {
        let program = Lowering.program(for: plan.decision, rank: plan.decision.ranks(ofGroup: group).lowerBound)
        let prices = step.instructionPrices(of: program)
        let instructions = program.passes.flatMap { program.instructions[$0.instructions] }
        let expected = instructions.reduce(0) { $0 + prices.communication($1).value }
        let stages = plan.prediction.stages.enumerated().filter { plan.decision.group(ofStage: $0.offset) == group }.map(\.element)
        let found = stages.reduce(0) { $0 + $1.communication.value } * Double(plan.decision.job.microBatches)
        #expect(abs(found - expected) <= 1e-9 * plan.prediction.step.value, "stage \(group) on \(hardware)")
      }
    }
  }

  @Test("Every collective that has a price is there, with the plan's bytes", arguments: Split.allCases)
  func collectives(split: Split) throws {
    let plan = try split.plan(on: "derecho")
    let trace = try PlanTrace(plan, ranks: .all).trace
    let step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
    var found = 0
    for rank in 0..<plan.decision.ranks {
      let program = Lowering.program(for: plan.decision, rank: rank)
      let prices = step.instructionPrices(of: program)
      let own = events(trace, rank + 1, "communication")
      let bytes = Dictionary(own.compactMap { event in number(event, "instruction").map { ($0, number(event, "bytes") ?? -1) } }) { $1 }
      for (index, instruction) in program.instructions.enumerated() where prices.communication(instruction).value > 1e-9 {
        let exchanges = program.exchanges(of: instruction)
        // Of a stage that only receives a tied gradient's parts, those.
        let sent = exchanges.contains { !$0.isReceived } ? exchanges.filter { !$0.isReceived } : exchanges
        #expect(bytes[index] == sent.reduce(0) { $0 + $1.elements * prices.bytesPerElement($1, of: instruction) }, "\(instruction)")
        found += 1
      }
    }
    #expect(found > 0)
  }

  @Test(
    "Every message between stages is an arrow from the pass that sends it to the one that reads it",
    arguments: [Split.interleaved, .ringPipeline, .stageMeshes, .recomputed])
  func arrows(split: Split) throws {
    let plan = try split.plan()
    let trace = try PlanTrace(plan, ranks: .all).trace
    var messages = 0
    for rank in 0..<plan.decision.ranks {
      let program = Lowering.program(for: plan.decision, rank: rank)
      for pass in program.passes {
        for index in pass.instructions {
          for case .send(_, _, .some) in program.exchanges(of: program.instructions[index]) { messages += 1 }
        }
      }
    }
    func ends(_ isStart: Bool) -> [Int: Trace.Event] {
      Dictionary(
        trace.events.compactMap { event in
          switch event.kind {
          case .arrowStart(let number) where isStart: (number, event)
          case .arrowEnd(let number) where !isStart: (number, event)
          default: nil
          }
        }
      ) { first, _ in first }
    }
    let (starts, stops) = (ends(true), ends(false))
    #expect(messages > 0 && starts.count == messages && Set(starts.keys) == Set(stops.keys))
    for (number, start) in starts {
      let stop = try #require(stops[number])
      #expect(start.name == stop.name && start.start < stop.start)
      #expect((self.number(start, "bytes") ?? 0) > 0)
      for (event, rank) in [(start, "from"), (stop, "to")] {
        #expect(self.number(event, rank) == event.track.process - 1)
        let passes = events(trace, event.track.process, "passes")
        let around = passes.filter { $0.start <= event.start && event.start < $0.end }
        #expect(around.count == 1 && around.first?.categories == "pass", "\(event)")
      }
    }
  }

  @Test("The memory counter's highest value is the weights' and the state's with the peak of the program on paper", arguments: Split.allCases)
  func memory(split: Split) throws {
    let plan = try split.plan()
    let trace = try PlanTrace(plan, ranks: .all).trace
    let step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
    for rank in 0..<plan.decision.ranks {
      let program = Lowering.program(for: plan.decision, rank: rank)
      let resident = plan.prediction.memory(ofGroup: program.stage)
      let expected = resident.weights + resident.gradients + resident.optimizerState + step.memory(of: program).peak.total
      let counters = trace.events.filter { $0.kind == .counter && $0.track.process == rank + 1 }
      let totals = counters.compactMap { number($0, "total") }
      #expect(totals.max().map { abs(Double($0) - expected.value) <= 1 } == true)
      // The parts beside them add up.
      let parts = counters.filter { number($0, "total") == nil }
      #expect(parts.count == totals.count)
      for (part, total) in zip(parts, totals) {
        let sum = part.arguments.members.reduce(0) { if case .int(let value) = $1.value { $0 + value } else { $0 } }
        #expect(abs(sum - total) <= part.arguments.members.count)
      }
    }
  }

  @Test("Of micro-batches without their instructions the passes are there, and what is in memory after them")
  func detail() throws {
    let plan = try Split.interleaved.plan()
    let whole = try PlanTrace(plan, ranks: .all)
    #expect(whole.microBatches == plan.decision.job.microBatches && whole.microBatches > 1)
    for count in [0, 1] {
      let part = try PlanTrace(plan, ranks: .all, detailed: count)
      for process in 1...plan.decision.ranks {
        #expect(events(part.trace, process, "passes") == events(whole.trace, process, "passes"))
        let expected = (events(whole.trace, process, "compute") + events(whole.trace, process, "communication")).filter {
          (number($0, "micro_batch") ?? -1) < count
        }
        #expect((events(part.trace, process, "compute") + events(part.trace, process, "communication")) == expected)
        func totals(_ trace: Trace) -> [Int] {
          trace.events.filter { $0.kind == .counter && $0.track.process == process }.compactMap { number($0, "total") }
        }
        #expect(totals(part.trace).max() == totals(whole.trace).max() && totals(part.trace).count < totals(whole.trace).count)
        #expect(totals(part.trace).last == totals(whole.trace).last)
      }
    }
  }

  @Test("Of many ranks the first of each stage is shown, unless all are asked for")
  func ranks() throws {
    let plan = try Split.interleaved.plan()
    #expect(try PlanTrace(plan, ranks: .stages).ranks == [0, 2])
    #expect(try PlanTrace(plan, ranks: .stages).trace.processes == ["stage 0, rank 0 of 0–1", "stage 1, rank 2 of 2–3"])
    #expect(try PlanTrace(plan, ranks: .all).trace.processes == ["rank 0, stage 0", "rank 1, stage 0", "rank 2, stage 1", "rank 3, stage 1"])
    #expect(PlanTrace.Ranks.usual(plan.decision) == .all)
    var large = plan.decision
    large.mesh = [64]
    #expect(PlanTrace.Ranks.usual(large) == .stages)
  }
}
