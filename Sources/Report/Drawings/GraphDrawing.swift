// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies

/// A block's operators as boxes in the colour of their split, and what ranks exchange as rounded boxes on the arrows between them.
struct GraphDrawing {
  let graph: OperatorGraph
  private let boxes: [LayeredLayout.Box]
  private let layout: LayeredLayout
  /// Of the operator that takes longest.
  private let longest: Seconds

  private static let (line, padding, stripe, margin) = (15.0, 7.0, 7.0, 8.0)
  private static let (small, bold) = (6.7, 8.3)
  /// Paper is filled with pieces of about this height.
  private static let piece = 300.0

  init(_ graph: OperatorGraph) {
    self.graph = graph
    boxes = graph.nodes.map(Self.box)
    layout = LayeredLayout(boxes, edges: graph.edges.map { ($0.from, $0.to) })
    longest = graph.nodes.map { if case .op(_, _, _, let time, _) = $0 { time } else { .zero } }.max() ?? .zero
  }

  /// What stands in a node's box.
  private static func lines(_ node: OperatorGraph.Node) -> [(text: String, style: String)] {
    switch node {
    case .seam(let text): return [(text, "s quiet")]
    case .op(let name, let words, let zero, _, let notes):
      let split = words.joined(separator: ", ") + (zero == .none ? "" : ", ZeRO \(zero.rawValue)")
      // Of many notes the table below has the rest.
      let shown = notes.prefix(2).flatMap(\.lines) + (notes.count > 2 ? ["and \(notes.count - 2) more"] : [])
      return [(name, "t b"), (split, "s")] + shown.map { ($0, "s") }
    case .conversion(let exchanges): return OperatorGraph.lines(exchanges).map { ($0, "s") }
    }
  }

  private static func box(_ node: OperatorGraph.Node) -> LayeredLayout.Box {
    let lines = lines(node)
    var width = lines.map { Double($0.text.count) * ($0.style == "t b" ? bold : small) }.max() ?? 0
    var (stripes, bar) = (0, 0.0)
    if case .op(let name, let words, _, let time, _) = node {
      (stripes, bar) = (words.count, time > .zero ? 6 : 0)
      width = max(width, Double(name.count) * bold + (time > .zero ? 14 + Double("\(time)".count) * small : 0))
    }
    return .init(width: width + 2 * padding + 6 + Double(stripes) * stripe, height: Double(lines.count) * line + padding + 3 + bar)
  }

  /// The picture in pieces under each other, none of which cuts a box, so that paper can have its pages end between them.
  func picture(_ label: String) -> HTML {
    let height = layout.height + 2 * Self.margin
    var starts = [0.0]
    for cut in layout.cuts.map({ $0 + Self.margin }) where cut - starts[starts.count - 1] >= Self.piece && height - cut > Self.piece / 2 {
      starts.append(cut)
    }
    return tag("div", ["role": "img", "aria-label": label, "class": "pieces"]) {
      for (start, end) in zip(starts, starts.dropFirst() + [height]) { piece(from: start, to: end) }
    }
  }

  private func piece(from start: Double, to end: Double) -> HTML {
    var drawing = Drawing(width: layout.width + 2 * Self.margin, height: end - start)
    let up = Self.margin - start
    // Each line has a clear rim, so that where lines cross it is seen which goes on.
    for route in layout.routes {
      guard let first = route.first, let last = route.last, first.y + up < end - start + 1, last.y + up > -1 else { continue }
      let path = path(route, up)
      drawing.path(path, "rim")
      drawing.path(path, "edges")
      var head = Path()
      head.move(last.x + Self.margin - 4, last.y + up - 7)
      head.line(last.x + Self.margin + 4, last.y + up - 7)
      head.line(last.x + Self.margin, last.y + up)
      head.close()
      drawing.path(head, "head")
    }
    for (number, node) in graph.nodes.enumerated() {
      let box = boxes[number]
      let (x, y) = (layout.centers[number].x + Self.margin - box.width / 2, layout.centers[number].y + up - box.height / 2)
      if y > 0 && y < end - start { draw(node, box, x, y, into: &drawing) }
    }
    return drawing.part
  }

  private func path(_ route: [LayeredLayout.Point], _ up: Double) -> Path {
    var path = Path()
    path.move(route[0].x + Self.margin, route[0].y + up)
    for (from, to) in zip(route, route.dropFirst()) {
      let (start, end) = ((x: from.x + Self.margin, y: from.y + up), (x: to.x + Self.margin, y: to.y + up))
      if from.x == to.x { path.line(end.x, end.y) } else { path.curve(from: start, to: end) }
    }
    return path
  }

  private func draw(_ node: OperatorGraph.Node, _ box: LayeredLayout.Box, _ x: Double, _ y: Double, into drawing: inout Drawing) {
    var left = x + Self.padding + 3
    var (bar, right) = (0.0, "")
    switch node {
    case .seam: drawing.rectangle(x, y, box.width, box.height, "seam", round: box.height / 2)
    case .conversion: drawing.rectangle(x, y, box.width, box.height, "k-\(Hue.collective) conversion", round: 11)
    case .op(_, let words, _, let time, _):
      drawing.rectangle(x, y, box.width, box.height, "k-\(Hue.ofStrategy(words))", round: 4)
      for word in words {
        drawing.rectangle(left - 4, y + 4, Self.stripe - 2, box.height - 8, "f-\(Hue.ofWord(word))", title: word)
        left += Self.stripe
      }
      if time > .zero {
        (bar, right) = (6, "\(time)")
        let whole = x + box.width - Self.padding - left
        drawing.rectangle(left, y + Self.padding + 14, whole, 3, "track")
        drawing.rectangle(left, y + Self.padding + 14, whole * (longest > .zero ? time / longest : 0), 3, "f-\(Hue.computing)")
      }
    }
    for (number, line) in Self.lines(node).enumerated() {
      drawing.text(line.text, left, y + Self.padding + 9 + Double(number) * Self.line + (number > 0 ? bar : 0), line.style)
    }
    if !right.isEmpty { drawing.text(right, x + box.width - Self.padding, y + Self.padding + 9, "s", anchor: .end) }
  }
}
