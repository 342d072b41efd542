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
      case waiting, done, mixed, evenForward, oddForward, evenBackward, oddBackward, once

      var style: String {
        switch self {
        case .waiting: "s-grey wait"
        case .done: "s-grey done"
        case .mixed: "f-backward"
        case .evenForward: "f-forward"
        case .oddForward: "f-later-forward"
        case .evenBackward: "f-backward"
        case .oddBackward: "f-later-backward"
        case .once: "f-sync"
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
    // Passes take turns between these two alone.
    let (firstBackward, lastForward) = (row.firstIndex { !$0.pass.isForward }, row.lastIndex(where: \.pass.isForward))
    var now = Seconds.zero
    var index = 0
    while index < row.count {
      let pass = row[index]
      if pass.start - now > hardly { pieces.append(Piece(kind: .waiting, start: now, end: pass.start)) }
      var last = index
      if pass.end - pass.start < narrow {
        while last + 1 < row.count, last + 1 != firstBackward, last != lastForward, row[last + 1].start - row[last].end <= hardly,
          row[last + 1].end - row[last + 1].start < narrow
        { last += 1 }
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
    if step - max(now, end) > hardly { pieces.append(Piece(kind: .done, start: max(now, end), end: step)) }
    return pieces
  }

  private var rowHeight: Double { rows.count <= 16 ? 22 : rows.count <= 40 ? 14 : 8 }

  /// Whether passes were too many to be drawn one by one.
  var isMerged: Bool { pieces.contains { row in row.contains { $0.kind == .mixed } } }

  /// Whether a stage has nothing left to do before the step ends.
  var hasDone: Bool { pieces.contains { row in row.contains { $0.kind == .done } } }

  /// The whole step, as wide as the page.
  func whole(_ label: String) -> HTML {
    // One outline for all boxes of a kind, so that thousands of them stay small.
    var outlines = Piece.Kind.allCases.map { _ in Path() }
    // What is done in turn has stripes.
    var turns = Path()
    let scale = step > .zero ? Self.width / step.value : 0
    let high = rowHeight - 3
    for (number, row) in pieces.enumerated() {
      let y = Double(number) * rowHeight
      for piece in row {
        let (x, wide) = (piece.start.value * scale, (piece.end - piece.start).value * scale)
        outlines[piece.kind.rawValue].box(x, y, wide, high)
        if piece.kind == .mixed {
          turns.move(x, y + high / 2)
          turns.line(x + wide, y + high / 2)
        }
      }
    }
    var drawing = Drawing(width: Self.width, height: Double(rows.count) * rowHeight)
    for kind in Piece.Kind.allCases {
      drawing.path(outlines[kind.rawValue], kind.style)
      if kind == .mixed { drawing.path(turns, "s-forward turns", thickness: high) }
    }
    return tag("div", ["class": "rows"]) {
      if rows.count > 1 {
        tag("div", ["class": "row-names", "aria-hidden": "true"]) {
          for number in rows.indices {
            tag("span", ["style": "height:\(rowHeight.short)px"]) { rowHeight >= 14 || number % 5 == 0 ? "stage \(number)" : "" }
          }
        }
      }
      tag("div", ["class": "row-boxes"]) {
        drawing.stretched(label)
        TimeAxis(to: step).html
      }
    }
  }
}
