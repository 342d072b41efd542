// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities
import Strategies

extension TimelineDrawing {
  /// Passes of one direction through one chunk with no gap between.
  private struct Run {
    var passes: [PredictedStep.TimedPass]

    var start: Seconds { passes[0].start }
    var end: Seconds { passes[passes.count - 1].end }

    /// `3:0–7`, chunk and micro-batches.
    func text(hasChunks: Bool) -> String {
      let batches = passes.map(\.pass.microBatch)
      let text = batches.count == 1 ? "\(batches[0])" : "\(batches[0])–\(batches[batches.count - 1])"
      return hasChunks ? "\(passes[0].pass.chunk):\(text)" : text
    }
  }

  private static let digit = 6.4
  /// Above these, boxes have no titles of their own: what they say is in the numbers and the table.
  private static let mostTitles = 600

  /// A part of the step at a scale at which passes can be told apart, with the numbers of their micro-batches, and of the chunks where stages have several:
  /// in each box, or where boxes follow each other through one chunk, once for all of them. Shades change with the chunk, or else with the micro-batch.
  func closeUp(_ window: TimelineWindows.Window, hasChunks: Bool, _ label: String) -> HTML {
    let shown = rows.map { $0.filter { $0.end > window.start && $0.start < window.end } }
    let runs = shown.map(Self.runs)
    let count = shown.reduce(0) { $0 + $1.count }
    let (left, row) = (rows.count > 1 ? 58.0 : 4, 22.0)
    // As wide as a wide page, unless boxes would be a blur.
    let width = min(4000, max(1030, 5 * Double(shown.map(\.count).max() ?? 0)))
    let scale = width / window.length.value
    func x(_ time: Seconds) -> Double { left + (min(max(time, window.start), window.end) - window.start).value * scale }
    var drawing = Drawing(width: left + width + 4, height: Double(rows.count) * row + 20)
    for (number, runs) in runs.enumerated() {
      let y = Double(number) * row
      if rows.count > 1 { drawing.text("stage \(number)", left - 8, y + 14, "s", anchor: .end) }
      drawing.rectangle(left, y, width, row - 3, "s-grey wait")
      for run in runs {
        // Each by itself, or where one of them has no room, all together.
        let hasRoom = run.passes.allSatisfy { pass in
          x(pass.end) - x(pass.start) >= Double(Run(passes: [pass]).text(hasChunks: hasChunks).count) * Self.digit + 2
        }
        for pass in run.passes {
          let wide = x(pass.end) - x(pass.start)
          let hue = Self.hue(pass.pass, hasChunks: hasChunks)
          let text = Run(passes: [pass]).text(hasChunks: hasChunks)
          drawing.rectangle(
            x(pass.start), y, wide, row - 3, "f-\(hue) edge",
            title: count > Self.mostTitles ? nil : Self.words(pass, hasChunks))
          if hasRoom { drawing.text(text, x(pass.start) + wide / 2, y + 14, "s i-\(hue)", anchor: .middle) }
        }
        let (wide, text) = (x(run.end) - x(run.start), run.text(hasChunks: hasChunks))
        if !hasRoom && wide >= Double(text.count) * Self.digit + 4 {
          drawing.text(text, x(run.start) + wide / 2, y + 14, "s b i-\(Self.hue(run.passes[0].pass, hasChunks: hasChunks))", anchor: .middle)
        }
      }
      let last = rows[number].last?.end ?? .zero
      if ends[number] > last, ends[number] > window.start, last < window.end {
        drawing.rectangle(x(last), y, x(ends[number]) - x(last), row - 3, "f-sync edge", title: "gradient sync and optimizer")
      }
    }
    let bottom = Double(rows.count) * row + 14
    for tick in TimeAxis(from: window.start, to: window.end, most: max(6, Int(width / 130))).ticks {
      let place = left + width * tick.place
      drawing.line(place, bottom - 14, place, bottom - 10, "edges")
      drawing.text(tick.text, place, bottom, "s", anchor: tick.place < 0.02 ? .start : tick.place > 0.97 ? .end : .middle)
    }
    return scrollable(label) { drawing.picture(label) }
  }

  private static func runs(_ passes: [PredictedStep.TimedPass]) -> [Run] {
    var runs: [Run] = []
    for pass in passes {
      if let last = runs.last?.passes.last, last.pass.isForward == pass.pass.isForward, last.pass.chunk == pass.pass.chunk,
        last.pass.microBatch + 1 == pass.pass.microBatch, pass.start - last.end < (pass.end - pass.start) / 2
      {
        runs[runs.count - 1].passes.append(pass)
      } else {
        runs.append(Run(passes: [pass]))
      }
    }
    return runs
  }

  private static func hue(_ pass: Pass, hasChunks: Bool) -> Hue {
    let isLater = (hasChunks ? pass.chunk : pass.microBatch) % 2 == 1
    return pass.isForward ? (isLater ? .laterForward : .forward) : isLater ? .laterBackward : .backward
  }

  private static func words(_ pass: PredictedStep.TimedPass, _ hasChunks: Bool) -> String {
    let kind = pass.pass.isForward ? "forward" : "backward"
    return "\(kind) of micro-batch \(pass.pass.microBatch)\(hasChunks ? ", chunk \(pass.pass.chunk)" : ""): \(pass.start) to \(pass.end)"
  }
}
