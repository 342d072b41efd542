// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies
import Testing

@testable import Planner
@testable import Report

@Suite struct TimelineWindowsTests {
  /// The passes of a pipeline in which forward takes 1 s and backward 2 s, and no message takes any time.
  private func rows(_ schedule: Schedule, stages: Int, microBatches: Int) -> [[PredictedStep.TimedPass]] {
    let orders = (0..<stages).map { schedule.passes(stage: $0, stages: stages, microBatches: microBatches, mode: .train) }
    var (ends, free, next) = ([Place: Double](), [Double](repeating: 0, count: stages), [Int](repeating: 0, count: stages))
    var rows = [[PredictedStep.TimedPass]](repeating: [], count: stages)
    let last = stages * schedule.chunks - 1
    while let stage = (0..<stages).first(where: { next[$0] < orders[$0].count && isReady(orders[$0][next[$0]], $0) }) {
      let pass = orders[stage][next[stage]]
      let place = Place(pass.isForward, pass.microBatch, pass.chunk * stages + stage)
      let start = max(free[stage], before(place).flatMap { ends[$0] } ?? 0)
      free[stage] = start + (pass.isForward ? 1 : 2)
      ends[place] = free[stage]
      rows[stage].append(.init(pass: pass, start: Seconds(start), end: Seconds(free[stage])))
      next[stage] += 1
    }
    func isReady(_ pass: Pass, _ stage: Int) -> Bool {
      before(Place(pass.isForward, pass.microBatch, pass.chunk * stages + stage)).map { ends[$0] != nil } ?? true
    }
    func before(_ place: Place) -> Place? {
      if place.isForward { return place.part == 0 ? nil : Place(true, place.microBatch, place.part - 1) }
      return place.part == last ? Place(true, place.microBatch, last) : Place(false, place.microBatch, place.part + 1)
    }
    return rows
  }

  private struct Place: Hashable {
    let (isForward, microBatch, part): (Bool, Int, Int)
    init(_ isForward: Bool, _ microBatch: Int, _ part: Int) { (self.isForward, self.microBatch, self.part) = (isForward, microBatch, part) }
  }

  @Test(
    "A pipeline fills until gradients have reached the first stage, and drains from its last forward pass to the last pass; a round lies between",
    arguments: [Schedule.oneForwardOneBackward, .interleaved(chunks: 3)], [2, 4])
  func inTurn(schedule: Schedule, stages: Int) throws {
    let rows = rows(schedule, stages: stages, microBatches: 16 * stages)
    #expect(rows.allSatisfy { $0.count == 32 * stages * schedule.chunks })
    let windows = TimelineWindows(rows, schedule: schedule)
    let back = try #require(rows[0].first { !$0.pass.isForward })
    #expect(windows.fill.start == .zero && windows.fill.end >= back.end && windows.fill.end <= back.end + Seconds(4))
    #expect(windows.drain.start == rows[0].last { $0.pass.isForward }?.start && windows.drain.end == rows.compactMap(\.last?.end).max())
    let steady = try #require(windows.steady)
    #expect(steady.start > windows.fill.end && steady.end < windows.drain.start)
    let round = rows[0].filter { $0.start >= steady.start && $0.end <= steady.end }
    #expect(round.count == 2 * stages && round.filter(\.pass.isForward).count == stages)
    // Interleaved, a round goes forward through one chunk.
    #expect(Set(round.filter(\.pass.isForward).map(\.pass.chunk)).count == 1)
  }

  @Test("Where all passes forward come before all passes back, there is no round between")
  func gpipe() {
    let rows = rows(.gpipe, stages: 4, microBatches: 32)
    let windows = TimelineWindows(rows, schedule: .gpipe)
    #expect(windows.steady == nil && windows.fill.end < windows.drain.start)
    #expect(windows.drain.end == rows.compactMap(\.last?.end).max())
  }

  @Test("Too short a step has no round between either")
  func short() {
    let rows = rows(.oneForwardOneBackward, stages: 4, microBatches: 4)
    #expect(TimelineWindows(rows, schedule: .oneForwardOneBackward).steady == nil)
  }

  @Test("Passes that are too many to be told apart are in turn between the first backward and the last forward pass alone", arguments: [1, 4])
  func turns(chunks: Int) {
    let rows = rows(chunks == 1 ? .oneForwardOneBackward : .interleaved(chunks: chunks), stages: 4, microBatches: 256)
    let ends = rows.map { $0.last?.end ?? .zero }
    let step = ends.max() ?? .zero
    let drawing = TimelineDrawing(rows: rows, ends: ends, step: step)
    #expect(drawing.isMerged)
    let turns = drawing.whole("").markup.firstMatch(of: /<path d="([^"]*)" class="s-forward turns"/)?.1 ?? ""
    var found = 0
    for match in turns.matches(of: /M([\d.]+) ([\d.]+)L([\d.]+)/) {
      guard let start = Double(match.1), let y = Double(match.2), let end = Double(match.3) else { continue }
      let row = rows[Int(y / 22)]
      let back = row.first { !$0.pass.isForward }?.start ?? .zero
      let forward = row.last(where: \.pass.isForward)?.end ?? .zero
      #expect(start >= back / step * 1000 - 0.1 && end <= forward / step * 1000 + 0.1)
      found += 1
    }
    #expect(found >= 4)
  }

  @Test(
    "An axis has round values inside its range",
    arguments: [
      (0, 15.7, ["0", "5 s", "10 s", "15 s"]), (0, 1.03, ["0", "0.2 s", "0.4 s", "0.6 s", "0.8 s", "1.0 s"]),
      (7.13, 7.33, ["7.15 s", "7.20 s", "7.25 s", "7.30 s"]),
      (0, 0.0008, ["0", "200 µs", "400 µs", "600 µs", "800 µs"]), (0, 0, ["0"]),
    ] as [(Double, Double, [String])])
  func axis(start: Double, end: Double, texts: [String]) {
    let ticks = TimeAxis(from: Seconds(start), to: Seconds(end), most: 6).ticks
    #expect(ticks.map(\.text) == texts && ticks.allSatisfy { $0.place >= -1e-9 && $0.place <= 1 + 1e-9 })
  }
}
