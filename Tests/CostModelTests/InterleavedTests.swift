// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Strategies
import TestSupport
import Testing

/// The interleaved schedule; that its time line is the fixed point of its order, and no shorter than its bounds, `TimelineTests` has.
@Suite struct InterleavedTests {
  private func order(_ passes: [Pass]) -> String {
    passes.map { "\($0.isForward ? "F" : "B")\($0.microBatch)\($0.chunk == 0 ? "a" : "b")" }.joined(separator: " ")
  }

  /// Worked by hand: two stages of chunks a and b, four micro-batches (Narayanan et al. 2021, figure 4, at this size).
  @Test func theOrderOfTwoStagesOfTwoChunks() {
    let schedule = Schedule.interleaved(chunks: 2)
    func passes(_ stage: Int, _ mode: Mode) -> String { order(schedule.passes(stage: stage, stages: 2, microBatches: 4, mode: mode)) }
    #expect(passes(0, .train) == "F0a F1a F0b F1b F2a B0b F3a B1b F2b B0a F3b B1a B2b B3b B2a B3a")
    #expect(passes(1, .train) == "F0a F1a F0b B0b F1b B1b F2a B0a F3a B1a F2b B2b F3b B3b B2a B3a")
    #expect(passes(0, .forward) == "F0a F1a F0b F1b F2a F3a F2b F3b")
  }

  /// Every micro-batch goes once through every chunk in each direction.
  @Test(arguments: 2...4, 2...4) func everyPassOccursOnce(p: Int, v: Int) {
    for m in [p, 2 * p, 5 * p] {
      for s in 0..<p {
        let passes = Schedule.interleaved(chunks: v).passes(stage: s, stages: p, microBatches: m, mode: .train)
        #expect(passes.count == 2 * m * v && Set(passes).count == passes.count)
      }
    }
  }

  /// The paper's bubble, (p − 1)/(v·m) of the work, where virtual stages are equal and messages free; the bound meets it.
  @Test(arguments: 0..<80) func equalStagesGiveThePapersBubble(seed: Int) {
    var g = SeededGenerator(seed: seed)
    let (p, v) = (Int.random(in: 2...6, using: &g), Int.random(in: 2...5, using: &g))
    let m = p * Int.random(in: 1...5, using: &g)
    let f = Int64.random(in: 1...50, using: &g)
    let b = Int64.random(in: f...90, using: &g)
    let times = [PipelineTimeline.StageTimes](repeating: .init(forward: f, backward: b, once: 0, sendForward: 0, sendBackward: 0), count: p * v)
    let schedule = Schedule.interleaved(chunks: v)
    let timeline = PipelineTimeline(times, schedule: schedule, microBatches: m, mode: .train)
    let work = Int64(m * v) * (f + b)
    #expect(timeline.end - work == Int64(p - 1) * (f + b))
    #expect(abs(Double(timeline.end - work) / Double(work) - Double(p - 1) / Double(v * m)) < 1e-12)
    let bounds = PipelineTimeline.bounds(stages: p, schedule: schedule, microBatches: m, mode: .train)
    #expect(bounds.map { $0.length(times) }.max() == timeline.end)
  }

  /// What a stage does once per step it does for all its chunks; a message from the last stage to the first takes its time too.
  @Test func chunksOfAStageEndTogether() {
    let (f, b) = (Int64(1), Int64(2))
    var times = [PipelineTimeline.StageTimes](repeating: .init(forward: f, backward: b, once: 0, sendForward: 0, sendBackward: 0), count: 4)
    func end() -> Int64 { PipelineTimeline(times, schedule: .interleaved(chunks: 2), microBatches: 2, mode: .train).end }
    // Two stages, two micro-batches: (2·2 + 1)·3, and stage 0 is the last to end.
    #expect(end() == 15)
    (times[0].once, times[2].once) = (10, 100)
    #expect(end() == 125)
    times[1].sendForward = 1000
    #expect(end() >= 1125)
  }

  /// In flight: min(m·v, 2(p−s−1) + (v−1)p + 1) passes of chunks, of which the time tells whose; counted in the orders themselves.
  @Test(arguments: 2...5, 2...4) func chunksInFlightAreCountedInTheOrder(p: Int, v: Int) {
    for m in [p, 2 * p, 3 * p, 6 * p] {
      for s in 0..<p {
        let schedule = Schedule.interleaved(chunks: v)
        let most = min(m * v, 2 * (p - s - 1) + (v - 1) * p + 1)
        for held in schedule.fullest(stage: s, stages: p, microBatches: m, mode: .train) { #expect(held.reduce(0, +) == most) }
        expectFullest(schedule, s, p, m)
      }
    }
  }
}
