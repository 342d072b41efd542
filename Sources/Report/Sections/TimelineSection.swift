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
        [(.blue, "forward"), (.orange, "backward")]
          + (drawing.isMerged ? [(.brown, "forward and backward in turn, too short to be drawn apart")] : [])
          + (job.mode == .train ? [(.green, "gradient sync and optimizer")] : [])
          + (decision.groups > 1 ? [(.grey, "waiting (bubble)")] : []))
      figure("One step; a row for each stage, from the first to the last.") { drawing.whole(label) }
      closeUps(drawing)
      if rows.count <= 12 { passesTable(rows, ends) } else { details("When stages work, in numbers") { passesTable(rows, ends) } }
    }
  }

  private var lead: String {
    if decision.groups == 1 { return "There is one stage, which never waits: its passes follow each other." }
    return
      "Stages wait for \(percent(prediction.bubble)) of their time until the last pass ends: at the beginning for the first micro-batch to reach them, "
      + "at the end for its gradients to come back, and where neighbours are slower."
  }

  /// Where passes are many: how the pipeline fills, and how it drains, in detail.
  @HTMLBuilder private func closeUps(_ drawing: TimelineDrawing) -> [HTML] {
    let rows = drawing.rows
    if rows.reduce(0, { $0 + $1.count }) > rows.count, rows.count <= 32 {
      let most = 2 * decision.groups * decision.schedule.chunks + 6
      if rows[0].count > most + 4 {
        // Until the last stage has carried out its first passes, and from where it begins its last ones.
        let start = rows.compactMap { $0.dropFirst(min($0.count - 1, decision.groups + 3)).first?.start }.max() ?? prediction.step
        let end = rows.compactMap { $0.dropLast(min($0.count - 1, decision.groups + 3)).last?.end }.min() ?? .zero
        details("How it fills: the first \(start)", isOpen: decision.groups > 1 && decision.groups <= 16) {
          drawing.closeUp(from: .zero, to: start, "The beginning of the step, micro-batches numbered")
        }
        details("How it drains: the last \(prediction.step - end)") {
          drawing.closeUp(from: end, to: prediction.step, "The end of the step, micro-batches numbered")
        }
      } else {
        details("All passes, micro-batches numbered", isOpen: rows.count > 1 && rows.count <= 16) {
          drawing.closeUp(from: .zero, to: prediction.step, "The step, micro-batches numbered")
        }
      }
    }
  }

  private func passesTable(_ rows: [[PredictedStep.TimedPass]], _ ends: [Seconds]) -> HTML {
    var table = DataTable(
      "When stages work",
      [
        .text("stage"), .number("passes"), .number("first begins"), .number("first backward begins"), .number("last pass ends"), .number("ready"),
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
