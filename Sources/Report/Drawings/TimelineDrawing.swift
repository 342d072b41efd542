// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities

/// The passes of all stages over time: a row for each stage.
struct TimelineDrawing {
  let rows: [[PredictedStep.TimedPass]]
  /// When each stage has nothing left to do, gradients and updates included.
  let ends: [Seconds]
  let step: Seconds

  /// Boxes narrower than this would be a blur: neighbours with hardly any waiting between them are drawn as one.
  private static let narrow = 4.0
  private static let hardly = 1.0
  private static let width = 1000.0

  private var rowHeight: Double { rows.count <= 16 ? 22 : rows.count <= 40 ? 14 : 8 }

  /// One outline for all boxes of a kind, so that thousands of passes stay small.
  private struct Outlines {
    var forward = [Path(), Path()]
    var backward = [Path(), Path()]
    var mixed = Path()
    var once = Path()
    var waiting = Path()
  }

  private func add(_ row: [PredictedStep.TimedPass], end: Seconds, at y: Double, to outlines: inout Outlines) {
    let scale = step > .zero ? Self.width / step.value : 0
    let height = rowHeight - 3
    func box(_ path: inout Path, _ start: Seconds, _ end: Seconds) {
      path.box(start.value * scale, y, (end - start).value * scale, height)
    }
    var now = Seconds.zero
    var index = 0
    while index < row.count {
      let pass = row[index]
      if (pass.start - now).value * scale > Self.hardly { box(&outlines.waiting, now, pass.start) }
      var last = index
      if (pass.end - pass.start).value * scale < Self.narrow {
        while last + 1 < row.count, (row[last + 1].start - row[last].end).value * scale <= Self.hardly,
          (row[last + 1].end - row[last + 1].start).value * scale < Self.narrow
        { last += 1 }
      }
      if last > index {
        let isForward = row[index...last].allSatisfy(\.pass.isForward)
        let isBackward = row[index...last].allSatisfy { !$0.pass.isForward }
        if isForward {
          box(&outlines.forward[0], pass.start, row[last].end)
        } else if isBackward {
          box(&outlines.backward[0], pass.start, row[last].end)
        } else {
          box(&outlines.mixed, pass.start, row[last].end)
        }
      } else if pass.pass.isForward {
        box(&outlines.forward[pass.pass.microBatch % 2], pass.start, pass.end)
      } else {
        box(&outlines.backward[pass.pass.microBatch % 2], pass.start, pass.end)
      }
      now = row[last].end
      index = last + 1
    }
    if (end - now).value * scale > 0.2 { box(&outlines.once, now, end) }
    if (step - max(now, end)).value * scale > Self.hardly { box(&outlines.waiting, max(now, end), step) }
  }

  /// Whether passes were too many to be drawn one by one.
  var isMerged: Bool { rows.contains { row in row.contains { step > .zero && ($0.end - $0.start) / step * Self.width < Self.narrow } } }

  /// The whole step, as wide as the page.
  func whole(_ label: String) -> HTML {
    var outlines = Outlines()
    for (number, row) in rows.enumerated() { add(row, end: ends[number], at: Double(number) * rowHeight, to: &outlines) }
    var drawing = Drawing(width: Self.width, height: Double(rows.count) * rowHeight)
    drawing.path(outlines.waiting, "s-grey wait")
    drawing.path(outlines.mixed, "f-brown")
    drawing.path(outlines.forward[0], "f-blue")
    drawing.path(outlines.forward[1], "f-blue pale")
    drawing.path(outlines.backward[0], "f-orange")
    drawing.path(outlines.backward[1], "f-orange pale")
    drawing.path(outlines.once, "f-green")
    return tag("div", ["class": "rows"]) {
      tag("div", ["class": "row-names", "aria-hidden": "true"]) {
        for number in rows.indices { tag("span", ["style": "height:\(rowHeight.short)px"]) { rowHeight >= 14 || number % 5 == 0 ? "\(number)" : "" } }
      }
      tag("div", ["class": "row-boxes"]) {
        drawing.stretched(label)
        tag("div", ["class": "axis", "aria-hidden": "true"]) { for share in [0.0, 0.25, 0.5, 0.75, 1] { tag("span") { "\(step * share)" } } }
      }
    }
  }

  /// A part of the step with the numbers of micro-batches, at a scale at which they can be read.
  func closeUp(from start: Seconds, to end: Seconds, _ label: String) -> HTML {
    let shown = rows.flatMap { $0.filter { $0.end > start && $0.start < end } }
    let shortest = shown.map { ($0.end - $0.start).value }.filter { $0 > 0 }.min() ?? 1
    let width = min(4000, max(700, 18 * (end - start).value / shortest))
    let (left, row) = (34.0, 22.0)
    let scale = width / (end - start).value
    var drawing = Drawing(width: left + width + 4, height: Double(rows.count) * row + 20)
    for (number, passes) in rows.enumerated() {
      let y = Double(number) * row
      drawing.text("\(number)", left - 8, y + 14, "s", anchor: .end)
      drawing.rectangle(left, y, width, row - 3, "s-grey wait")
      for pass in passes where pass.end > start && pass.start < end {
        let (from, to) = (max(pass.start, start), min(pass.end, end))
        let (x, wide) = (left + (from - start).value * scale, (to - from).value * scale)
        let kind = pass.pass.isForward ? "forward" : "backward"
        let chunk = pass.pass.chunk > 0 ? ", chunk \(pass.pass.chunk)" : ""
        drawing.rectangle(
          x, y, wide, row - 3, pass.pass.isForward ? "f-blue edge" : "f-orange edge",
          title: "\(kind) of micro-batch \(pass.pass.microBatch)\(chunk): \(pass.start) to \(pass.end)")
        let text = "\(pass.pass.microBatch)"
        if wide >= Double(text.count) * 7 + 3 { drawing.text(text, x + wide / 2, y + 14, "s ink", anchor: .middle) }
      }
      if ends[number] > (passes.last?.end ?? .zero), let last = passes.last, ends[number] > start, last.end < end {
        let (from, to) = (max(last.end, start), min(ends[number], end))
        drawing.rectangle(
          left + (from - start).value * scale, y, (to - from).value * scale, row - 3, "f-green edge", title: "gradient sync and optimizer")
      }
    }
    let bottom = Double(rows.count) * row + 14
    for share in [0.0, 0.25, 0.5, 0.75, 1] {
      drawing.text(
        "\(start + (end - start) * share)", left + width * share, bottom, "s", anchor: share == 0 ? .start : share == 1 ? .end : .middle)
    }
    return scrollable(label) { drawing.picture(label) }
  }
}
