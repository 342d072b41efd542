// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities
import Strategies

/// The parts of a pipeline's step that are worth a closer look: where it fills, one round of its steady state, and where it drains.
struct TimelineWindows {
  struct Window {
    var start: Seconds
    var end: Seconds

    var length: Seconds { end - start }
  }

  let fill: Window
  /// Nil where forward and backward passes do not take turns for long enough.
  private(set) var steady: Window?
  let drain: Window

  /// - Parameter rows: the passes of each stage, in order; none is empty.
  init(_ rows: [[PredictedStep.TimedPass]], schedule: Schedule) {
    let stages = rows.count
    let last = rows.compactMap(\.last?.end).max() ?? .zero
    guard schedule.kind != .gpipe, let first = rows.first, let back = first.firstIndex(where: { !$0.pass.isForward }),
      let forward = first.lastIndex(where: \.pass.isForward), back < forward
    else {
      // All passes forward, and all passes back: until the last stage has carried out its first ones, and from where it begins its last ones.
      let few = stages + 3
      fill = Window(start: .zero, end: rows.compactMap { $0.dropFirst(min($0.count - 1, few)).first?.start }.max() ?? last)
      drain = Window(start: rows.compactMap { $0.dropLast(min($0.count - 1, few)).last?.end }.min() ?? .zero, end: last)
      return
    }
    // The first gradients reach the first stage at last; from there on passes take turns, until it has nothing left to send forward.
    fill = Window(start: .zero, end: first[min(back + 2, first.count - 1)].end)
    drain = Window(start: first[forward].start, end: last)
    let middle = (back + forward) / 2
    // Interleaved, a round is what goes through one chunk before the next one's turn.
    let start = (middle..<forward).first { first[$0].pass.isForward && (schedule.chunks == 1 || first[$0].pass.microBatch % stages == 0) }
    guard let start, start + 2 * stages < forward else { return }
    let round = Window(start: first[start].start, end: first[start + 2 * stages - 1].end)
    if round.start > fill.end && round.end < drain.start { steady = round }
  }
}
