// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Strategies
import TestSupport
import Testing

@Suite struct TimelineTests {
  private typealias Times = PipelineTimeline.StageTimes

  private func random(_ seed: Int, sends: Bool = true) -> (times: [Times], microBatches: Int, generator: SeededGenerator) {
    var g = SeededGenerator(seed: seed)
    let stages = Int.random(in: 1...6, using: &g)
    let times = (0..<stages).map { _ in
      Times(
        forward: .random(in: 0...50, using: &g), backward: .random(in: 0...90, using: &g), once: .random(in: 0...60, using: &g),
        sendForward: sends ? .random(in: 0...20, using: &g) : 0, sendBackward: sends ? .random(in: 0...20, using: &g) : 0)
    }
    return (times, Int.random(in: 1...9, using: &g), g)
  }

  private func each(_ body: (Schedule, Mode) -> Void) {
    for schedule in Schedule.allCases { for mode in Mode.allCases { body(schedule, mode) } }
  }

  /// Oracle: chains that every run contains are no longer than the run.
  @Test(arguments: 0..<200) func boundsAreNoLongerThanTheTimeline(seed: Int) {
    let (times, m, _) = random(seed)
    each { schedule, mode in
      let timeline = PipelineTimeline(times, schedule: schedule, microBatches: m, mode: mode)
      let bounds = PipelineTimeline.bounds(stages: times.count, schedule: schedule, microBatches: m, mode: mode)
      for bound in bounds { #expect(bound.length(times) <= timeline.end, "\(schedule) \(mode) m \(m)") }
      #expect(!bounds.isEmpty)
    }
  }

  /// The critical chain explains the whole step, and under other times it is a chain of that run too.
  @Test(arguments: 0..<100) func theCriticalChainIsAsLongAsTheStep(seed: Int) {
    let (times, m, _) = random(seed)
    let others = times.reversed().map { $0 }
    each { schedule, mode in
      let timeline = PipelineTimeline(times, schedule: schedule, microBatches: m, mode: mode)
      #expect(timeline.critical.length(times) == timeline.end)
      #expect(timeline.critical.length(others) <= PipelineTimeline(others, schedule: schedule, microBatches: m, mode: mode).end)
    }
  }

  /// Oracle: the run by fixed-point iteration over all start times, in no order at all.
  @Test(arguments: 0..<60) func theTimelineIsTheLeastFixedPointOfItsConstraints(seed: Int) {
    let (times, m, _) = random(seed)
    each { schedule, mode in
      let orders = times.indices.map { schedule.passes(stage: $0, stages: times.count, microBatches: m, mode: mode) }
      var ends = orders.map { [Int64](repeating: 0, count: $0.count) }
      var changed = true
      while changed {
        changed = false
        for s in times.indices {
          for (i, pass) in orders[s].enumerated() {
            var start = i > 0 ? ends[s][i - 1] : 0
            var duration: Int64
            switch pass {
            case .forward(let mb):
              duration = times[s].forward
              if s > 0 { start = max(start, ends[s - 1][orders[s - 1].firstIndex(of: .forward(mb))!] + times[s - 1].sendForward) }
            case .backward(let mb):
              duration = times[s].backward
              if s + 1 < times.count { start = max(start, ends[s + 1][orders[s + 1].firstIndex(of: .backward(mb))!] + times[s].sendBackward) }
            }
            duration += start
            if duration != ends[s][i] { (ends[s][i], changed) = (duration, true) }
          }
        }
      }
      let timeline = PipelineTimeline(times, schedule: schedule, microBatches: m, mode: mode)
      #expect(timeline.passes.map { $0.map(\.end) } == ends)
      #expect(timeline.end == zip(ends, times).map { $0.last! + $1.once }.max())
    }
  }

  /// Equal stages: the papers' (m + p − 1)(f + b) for both schedules (Huang et al. 2019; Narayanan et al. 2019).
  @Test(arguments: 0..<50) func equalStagesGiveTheClosedForm(seed: Int) {
    var g = SeededGenerator(seed: seed)
    let (p, m) = (Int.random(in: 1...6, using: &g), Int.random(in: 1...9, using: &g))
    let (f, b) = (Int64.random(in: 1...50, using: &g), Int64.random(in: 1...90, using: &g))
    let times = [Times](repeating: Times(forward: f, backward: b, once: 0, sendForward: 0, sendBackward: 0), count: p)
    for schedule in Schedule.allCases {
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
    for schedule in Schedule.allCases {
      for p in 1...5 {
        for m in 1...7 {
          for s in 0..<p {
            var (held, most) = (0, 0)
            for pass in schedule.passes(stage: s, stages: p, microBatches: m, mode: .train) {
              if case .forward = pass { held += 1 } else { held -= 1 }
              most = max(most, held)
            }
            #expect(held == 0)
            #expect(most == schedule.inFlight(stage: s, stages: p, microBatches: m, mode: .train))
          }
        }
      }
    }
  }
}
