// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities

/// The passes of all stages over time: a row for each stage.
struct TimelineDrawing {
  let rows: [[PredictedStep.TimedPass]]
  /// When each stage has nothing left to do, gradients and updates included.
  let ends: [Seconds]
  let step: Seconds
  private let pieces: [[Piece]]

  /// What is drawn as one box.
  private struct Piece {
    enum Kind: Int, CaseIterable {
      case waiting, mixed, evenForward, oddForward, evenBackward, oddBackward, once

      var style: String {
        switch self {
        case .waiting: "s-grey wait"
        case .mixed: "f-brown"
        case .evenForward: "f-blue"
        case .oddForward: "f-blue pale"
        case .evenBackward: "f-orange"
        case .oddBackward: "f-orange pale"
        case .once: "f-green"
        }
      }
    }

    var kind: Kind
    var start: Seconds
    var end: Seconds
  }

  private static let width = 1000.0
  /// What a picture may hold.
  private static let most = 5000
  /// Boxes narrower than the first would be a blur: neighbours with no more waiting between them than the second are drawn as one. The first pair under
  /// which there are not too many boxes counts.
  private static let thresholds: [(narrow: Double, hardly: Double)] = [(4, 1), (8, 1), (16, 2), (.infinity, 4)]

  init(rows: [[PredictedStep.TimedPass]], ends: [Seconds], step: Seconds) {
    (self.rows, self.ends, self.step) = (rows, ends, step)
    var pieces: [[Piece]] = []
    for threshold in Self.thresholds where pieces.isEmpty || pieces.reduce(0, { $0 + $1.count }) > Self.most {
      let unit = step / Self.width
      pieces = zip(rows, ends).map { Self.pieces($0, end: $1, step: step, narrow: unit * threshold.narrow, hardly: unit * threshold.hardly) }
    }
    self.pieces = pieces
  }

  private static func pieces(
    _ row: [PredictedStep.TimedPass], end: Seconds, step: Seconds, narrow: Seconds, hardly: Seconds
  ) -> [Piece] {
    var pieces: [Piece] = []
    var now = Seconds.zero
    var index = 0
    while index < row.count {
      let pass = row[index]
      if pass.start - now > hardly { pieces.append(Piece(kind: .waiting, start: now, end: pass.start)) }
      var last = index
      if pass.end - pass.start < narrow {
        while last + 1 < row.count, row[last + 1].start - row[last].end <= hardly, row[last + 1].end - row[last + 1].start < narrow { last += 1 }
      }
      let run = row[index...last]
      let isOdd = last == index && pass.pass.microBatch % 2 == 1
      let kind: Piece.Kind =
        if run.allSatisfy(\.pass.isForward) {
          isOdd ? .oddForward : .evenForward
        } else if run.allSatisfy({ !$0.pass.isForward }) {
          isOdd ? .oddBackward : .evenBackward
        } else { .mixed }
      pieces.append(Piece(kind: kind, start: pass.start, end: row[last].end))
      now = row[last].end
      index = last + 1
    }
    if end > now { pieces.append(Piece(kind: .once, start: now, end: end)) }
    if step - max(now, end) > hardly { pieces.append(Piece(kind: .waiting, start: max(now, end), end: step)) }
    return pieces
  }

  private var rowHeight: Double { rows.count <= 16 ? 22 : rows.count <= 40 ? 14 : 8 }

  /// Whether passes were too many to be drawn one by one.
  var isMerged: Bool { pieces.contains { row in row.contains { $0.kind == .mixed } } }

  /// The whole step, as wide as the page.
  func whole(_ label: String) -> HTML {
    // One outline for all boxes of a kind, so that thousands of them stay small.
    var outlines = Piece.Kind.allCases.map { _ in Path() }
    let scale = step > .zero ? Self.width / step.value : 0
    for (number, row) in pieces.enumerated() {
      for piece in row {
        outlines[piece.kind.rawValue].box(
          piece.start.value * scale, Double(number) * rowHeight, (piece.end - piece.start).value * scale, rowHeight - 3)
      }
    }
    var drawing = Drawing(width: Self.width, height: Double(rows.count) * rowHeight)
    for kind in Piece.Kind.allCases { drawing.path(outlines[kind.rawValue], kind.style) }
    return tag("div", ["class": "rows"]) {
      tag("div", ["class": "row-names", "aria-hidden": "true"]) {
        for number in rows.indices {
          tag("span", ["style": "height:\(rowHeight.short)px"]) { rowHeight >= 14 || number % 5 == 0 ? "\(number)" : "" }
        }
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
    // Of many passes the table and the numbers in the boxes have to do.
    let isTold = shown.count <= 600
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
          title: !isTold ? nil : "\(kind) of micro-batch \(pass.pass.microBatch)\(chunk): \(pass.start) to \(pass.end)")
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
