// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Strategies
import TestSupport
import Testing

@Suite struct TimelineTests {
  private typealias Times = PipelineTimeline.StageTimes

  private func random(_ seed: Int, sends: Bool = true) -> (times: [Times], microBatches: Int, generator: SeededGenerator) {
    var g = SeededGenerator(seed: seed)
    let stages = Int.random(in: 1...8, using: &g)
    let times = (0..<stages).map { _ in
      Times(
        forward: .random(in: 0...50, using: &g), backward: .random(in: 0...90, using: &g), once: .random(in: 0...60, using: &g),
        sendForward: sends ? .random(in: 0...20, using: &g) : 0, sendBackward: sends ? .random(in: 0...20, using: &g) : 0)
    }
    return (times, Int.random(in: 1...9, using: &g), g)
  }

  /// Every schedule that so many virtual stages can be for, with its number of stages and of micro-batches: at least m.
  private func each(_ count: Int, _ m: Int, _ body: (Schedule, _ stages: Int, _ microBatches: Int, Mode) -> Void) {
    for mode in Mode.allCases {
      for schedule in [Schedule.gpipe, .oneForwardOneBackward] { body(schedule, count, m, mode) }
      for chunks in 2..<max(2, count) where count % chunks == 0 {
        let stages = count / chunks
        body(.interleaved(chunks: chunks), stages, (m + stages - 1) / stages * stages, mode)
      }
    }
  }

  /// Oracle: chains that every run contains are no longer than the run.
  @Test(arguments: 0..<200) func boundsAreNoLongerThanTheTimeline(seed: Int) {
    let (times, m, _) = random(seed)
    each(times.count, m) { schedule, stages, m, mode in
      let timeline = PipelineTimeline(times, schedule: schedule, microBatches: m, mode: mode)
      let bounds = PipelineTimeline.bounds(stages: stages, schedule: schedule, microBatches: m, mode: mode)
      for bound in bounds { #expect(bound.length(times) <= timeline.end, "\(schedule) \(mode) m \(m)") }
      #expect(!bounds.isEmpty)
    }
  }

  /// The critical chain explains the whole step, and under other times it is a chain of that run too.
  @Test(arguments: 0..<100) func theCriticalChainIsAsLongAsTheStep(seed: Int) {
    let (times, m, _) = random(seed)
    let others = times.reversed().map { $0 }
    each(times.count, m) { schedule, _, m, mode in
      let timeline = PipelineTimeline(times, schedule: schedule, microBatches: m, mode: mode)
      #expect(timeline.critical.length(times) == timeline.end)
      #expect(timeline.critical.length(others) <= PipelineTimeline(others, schedule: schedule, microBatches: m, mode: mode).end)
    }
  }

  /// Oracle: the run by fixed-point iteration over all start times, in no order at all.
  @Test(arguments: 0..<60) func theTimelineIsTheLeastFixedPointOfItsConstraints(seed: Int) {
    let (times, m, _) = random(seed)
    each(times.count, m) { schedule, stages, m, mode in
      let orders = (0..<stages).map { schedule.passes(stage: $0, stages: stages, microBatches: m, mode: mode) }
      func end(_ k: Int, _ pass: Pass, _ ends: [[Int64]]) -> Int64 {
        let same = Pass(isForward: pass.isForward, microBatch: pass.microBatch, chunk: k / stages)
        return ends[k % stages][orders[k % stages].firstIndex(of: same)!]
      }
      var ends = orders.map { [Int64](repeating: 0, count: $0.count) }
      var changed = true
      while changed {
        changed = false
        for s in 0..<stages {
          for (i, pass) in orders[s].enumerated() {
            var start = i > 0 ? ends[s][i - 1] : 0
            let k = pass.chunk * stages + s
            if pass.isForward {
              if k > 0 { start = max(start, end(k - 1, pass, ends) + times[k - 1].sendForward) }
            } else if k + 1 < times.count {
              start = max(start, end(k + 1, pass, ends) + times[k].sendBackward)
            }
            let finish = start + (pass.isForward ? times[k].forward : times[k].backward)
            if finish != ends[s][i] { (ends[s][i], changed) = (finish, true) }
          }
        }
      }
      let timeline = PipelineTimeline(times, schedule: schedule, microBatches: m, mode: mode)
      #expect(timeline.passes.map { $0.map(\.end) } == ends)
      let once = (0..<stages).map { s in stride(from: s, to: times.count, by: stages).reduce(0) { $0 + times[$1].once } }
      #expect(timeline.end == zip(ends, once).map { $0.last! + $1 }.max())
    }
  }

  /// Equal stages: the papers' (m + p − 1)(f + b) for both schedules (Huang et al. 2019; Narayanan et al. 2019).
  @Test(arguments: 0..<50) func equalStagesGiveTheClosedForm(seed: Int) {
    var g = SeededGenerator(seed: seed)
    let (p, m) = (Int.random(in: 1...6, using: &g), Int.random(in: 1...9, using: &g))
    let (f, b) = (Int64.random(in: 1...50, using: &g), Int64.random(in: 1...90, using: &g))
    let times = [Times](repeating: Times(forward: f, backward: b, once: 0, sendForward: 0, sendBackward: 0), count: p)
    for schedule in [Schedule.gpipe, .oneForwardOneBackward] {
      let timeline = PipelineTimeline(times, schedule: schedule, microBatches: m, mode: .train)
      #expect(timeline.end == Int64(m + p - 1) * (f + b))
      #expect(abs(timeline.bubble - Double(p - 1) / Double(m + p - 1)) < 1e-12)
      let bounds = PipelineTimeline.bounds(stages: p, schedule: schedule, microBatches: m, mode: .train).map { $0.length(times) }
      // A chain through the last stage meets the step when that stage is never idle between its first and last pass.
      #expect(bounds.max() == timeline.end)
    }
  }

  /// GPipe with free messages: Σ(f + b) + (m − 1)(max f + max b), for any stages.
  @Test(arguments: 0..<100) func gPipeIsExact(seed: Int) {
    var (times, m, _) = random(seed, sends: false)
    for s in times.indices { times[s].once = 0 }
    let timeline = PipelineTimeline(times, schedule: .gpipe, microBatches: m, mode: .train)
    let once = times.reduce(Int64(0)) { $0 + $1.forward + $1.backward }
    #expect(timeline.end == once + Int64(m - 1) * (times.map(\.forward).max()! + times.map(\.backward).max()!))
  }

  /// Worked by hand: where Σt + (m−1)·max t says 42, neither exact nor a bound.
  @Test func unevenStagesUnderOneForwardOneBackward() {
    let times = [
      Times(forward: 10, backward: 10, once: 0, sendForward: 0, sendBackward: 0),
      Times(forward: 1, backward: 1, once: 0, sendForward: 0, sendBackward: 0),
    ]
    #expect(PipelineTimeline(times, schedule: .oneForwardOneBackward, microBatches: 2, mode: .train).end == 40)
  }

  /// 1F1B holds min(m, p − s) micro-batches, GPipe all: counted in the orders themselves.
  @Test func microBatchesInFlightAreCountedInTheOrder() {
    for (p, m) in (1...5).flatMap({ p in (1...7).map { (p, $0) } }) {
      for s in 0..<p {
        #expect(Schedule.gpipe.fullest(stage: s, stages: p, microBatches: m, mode: .train) == [[m]])
        #expect(Schedule.oneForwardOneBackward.fullest(stage: s, stages: p, microBatches: m, mode: .train) == [[min(m, p - s)]])
        for schedule in [Schedule.gpipe, .oneForwardOneBackward] { expectFullest(schedule, s, p, m) }
      }
    }
  }
}

/// Walks a stage's order and compares, after every pass, what it holds of each chunk with the times at which it is said to hold most.
func expectFullest(_ schedule: Schedule, _ s: Int, _ p: Int, _ m: Int) {
  let fullest = schedule.fullest(stage: s, stages: p, microBatches: m, mode: .train)
  var held = [Int](repeating: 0, count: schedule.chunks)
  var seen: Set<[Int]> = []
  var beforeBackward: [Int]?
  for pass in schedule.passes(stage: s, stages: p, microBatches: m, mode: .train) {
    if !pass.isForward, beforeBackward == nil { beforeBackward = held }
    held[pass.chunk] += pass.isForward ? 1 : -1
    seen.insert(held)
    #expect(fullest.contains { zip($0, held).allSatisfy { $0 >= $1 } }, "\(schedule) stage \(s) of \(p), \(m) micro-batches: \(held)")
  }
  #expect(held.allSatisfy { $0 == 0 })
  #expect(fullest.allSatisfy { seen.contains($0) }, "\(schedule) stage \(s) of \(p), \(m) micro-batches: \(fullest)")
  #expect(beforeBackward == schedule.passesBeforeBackward(stage: s, stages: p, microBatches: m))
}
