// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Plans
import Quantities
import Strategies

extension ReportFigures {
  var timelineSection: HTML {
    let rows = (0..<decision.groups).map(step.passes(ofGroup:))
    let ends = (0..<decision.groups).map { group in
      (rows[group].last?.end ?? .zero) + times[group].gradientSync + times[group].update
    }
    let drawing = TimelineDrawing(rows: rows, ends: ends.map { min($0, prediction.step) }, step: prediction.step)
    let label = "Time line of the step: \(counted(decision.groups, "row")) of \(counted(rows.reduce(0) { $0 + $1.count }, "pass", plural: "passes"))."
    return section("timeline", "Time line", lead: lead) {
      legend(
        swatches: [("bg-forward", "forward")] + (job.mode == .train ? [("bg-backward", "backward")] : [])
          + (drawing.isMerged ? [("turns", "forward and backward in turn")] : [])
          + (job.mode == .train ? [("bg-sync", "gradient sync and optimizer")] : [])
          + (decision.groups > 1 ? [("waits", "waiting")] : [])
          + (drawing.hasDone ? [("done", "waiting at the end")] : []))
      figure(decision.groups > 1 ? "One step; a row for each stage, from the first to the last." : "One step.") { drawing.whole(label) }
      closeUps(drawing)
      if rows.count <= 12 { passesTable(rows, ends) } else { details("When stages work, in numbers") { passesTable(rows, ends) } }
    }
  }

  private var lead: String {
    if decision.groups == 1 { return "There is one stage, which never waits: its passes follow each other." }
    let waiting = times.reduce(Seconds.zero) { $0 + $1.waiting } / Double(times.count)
    return "Stages wait for \(prediction.step > .zero ? roughly(waiting / prediction.step) : "0 %") of the step, on average: "
      + "at the beginning for the first micro-batch to reach them, where neighbours are slower, and at the end for gradients to come back and for the stage that is ready last."
  }

  /// Where passes are many: how the pipeline fills, one round of what it does then, and how it drains.
  @HTMLBuilder private func closeUps(_ drawing: TimelineDrawing) -> [HTML] {
    let (rows, chunks) = (drawing.rows, decision.schedule.chunks)
    let isOpen = rows.count > 1 && rows.count <= 16
    if rows.allSatisfy({ $0.count > 1 }), rows.count <= 32 {
      if rows[0].count > 2 * decision.groups * chunks + 10 {
        let windows = TimelineWindows(rows, schedule: decision.schedule)
        details("How it fills: the first \(windows.fill.length)", isOpen: isOpen) {
          closeUp(drawing, windows.fill, fillText(rows[0]))
        }
        if let steady = windows.steady {
          details("One round in between: \(steady.length)", isOpen: isOpen) {
            closeUp(drawing, steady, steadyText(steady))
          }
        }
        details("How it drains: the last \(windows.drain.length) of the passes", isOpen: isOpen) {
          closeUp(drawing, windows.drain, "Until the last pass has ended.")
        }
      } else {
        details("All passes, one by one", isOpen: isOpen) {
          closeUp(drawing, .init(start: .zero, end: prediction.step), "The whole step.")
        }
      }
    }
  }

  private func closeUp(_ drawing: TimelineDrawing, _ window: TimelineWindows.Window, _ text: String) -> HTML {
    let numbers =
      decision.schedule.chunks > 1
      ? "Numbers are chunk : micro-batch; shades change with the chunk."
      : "Numbers are micro-batches; shades change with them."
    return figure("\(text) \(numbers)") { drawing.closeUp(window, hasChunks: decision.schedule.chunks > 1, text) }
  }

  private func fillText(_ first: [PredictedStep.TimedPass]) -> String {
    guard job.mode == .train, decision.schedule.kind != .gpipe, decision.groups > 1 else {
      return "Until the last stage has carried out its first passes."
    }
    return
      "Until the first gradients have come back to stage 0, after \(counted(first.prefix { $0.pass.isForward }.count, "forward pass", plural: "forward passes"))."
  }

  private func steadyText(_ round: TimelineWindows.Window) -> String {
    let turns = "In the middle of the step, from \(round.start) on: each forward pass is followed by a backward pass"
    return decision.schedule.chunks > 1
      ? "\(turns); after \(decision.groups) micro-batches the next chunk has its turn, and after all \(decision.schedule.chunks) chunks the next \(decision.groups) micro-batches."
      : "\(turns)."
  }

  private func passesTable(_ rows: [[PredictedStep.TimedPass]], _ ends: [Seconds]) -> HTML {
    var table = DataTable(
      "When stages work",
      [
        .text("stage"), .number("passes"), .number("first begins"), .number("first backward begins"), .number("last pass ends"),
        .number("update ends"),
        .number("waits"),
      ])
    for (group, row) in rows.enumerated() {
      table.add([
        "\(group)", "\(row.count)", "\(row.first?.start ?? .zero)", row.first { !$0.pass.isForward }.map { "\($0.start)" } ?? "–",
        "\(row.last?.end ?? .zero)", "\(ends[group])", times[group].waiting == .zero ? "–" : "\(times[group].waiting)",
      ])
    }
    return table.html
  }
}
