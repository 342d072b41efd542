// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Strategies

/// A block's operators as boxes in the colour of their split, and what ranks exchange as rounded boxes on the edges between them.
struct GraphDrawing {
  let graph: OperatorGraph

  private static let (line, padding, stripe) = (15.0, 7.0, 7.0)

  /// What stands in a node's box.
  private func lines(_ node: OperatorGraph.Node) -> [(text: String, style: String)] {
    switch node {
    case .seam(let text): return [(text, "s quiet")]
    case .op(let name, let words, let zero, let time, let notes):
      let split = words.joined(separator: ", ") + (zero == .none ? "" : "; ZeRO \(zero.rawValue)") + (time > .zero ? "; \(time)" : "")
      // Of many notes the table of collectives has the rest.
      let shown = notes.prefix(2).flatMap { [$0.kind, "  \($0.size)"] } + (notes.count > 2 ? ["and \(notes.count - 2) more"] : [])
      return [(name, "t b"), (split, "s")] + shown.map { ($0, "s") }
    case .conversion(let exchanges): return exchanges.flatMap { $0.lines }.map { ($0, "s") }
    }
  }

  private func box(_ node: OperatorGraph.Node) -> LayeredLayout.Box {
    let lines = lines(node)
    let width = lines.map { Double($0.text.count) * ($0.style == "t b" ? 7.7 : 6.4) }.max() ?? 0
    var stripes = 0
    if case .op(_, let words, _, _, _) = node { stripes = words.count }
    return .init(width: width + 2 * Self.padding + 6 + Double(stripes) * Self.stripe, height: Double(lines.count) * Self.line + Self.padding + 3)
  }

  func picture(_ label: String) -> HTML {
    let layout = LayeredLayout(graph.nodes.map(box), edges: graph.edges.map { ($0.from, $0.to) })
    let margin = 6.0
    var drawing = Drawing(width: layout.width + 2 * margin, height: layout.height + 2 * margin)
    var edges = Path()
    for route in layout.routes {
      guard let first = route.first else { continue }
      edges.move(first.x + margin, first.y + margin)
      for (from, to) in zip(route, route.dropFirst()) {
        if from.x == to.x {
          edges.line(to.x + margin, to.y + margin)
        } else {
          edges.curve(from: (from.x + margin, from.y + margin), to: (to.x + margin, to.y + margin))
        }
      }
    }
    drawing.path(edges, "edges")
    for (number, node) in graph.nodes.enumerated() {
      let box = box(node)
      let (x, y) = (layout.centers[number].x + margin - box.width / 2, layout.centers[number].y + margin - box.height / 2)
      draw(node, box, x, y, into: &drawing)
    }
    return drawing.picture(label)
  }

  private func draw(_ node: OperatorGraph.Node, _ box: LayeredLayout.Box, _ x: Double, _ y: Double, into drawing: inout Drawing) {
    var left = x + Self.padding + 3
    switch node {
    case .seam: drawing.rectangle(x, y, box.width, box.height, "seam", round: box.height / 2)
    case .conversion:
      drawing.rectangle(x, y, box.width, box.height, "k-\(Hue.collective) conversion", round: 11)
    case .op(_, let words, _, _, _):
      drawing.rectangle(x, y, box.width, box.height, "k-\(Hue.ofStrategy(words))", round: 4)
      for word in words {
        drawing.rectangle(left - 4, y + 4, Self.stripe - 2, box.height - 8, "f-\(Hue.ofWord(word))", title: word)
        left += Self.stripe
      }
    }
    for (number, line) in lines(node).enumerated() {
      drawing.text(line.text, left, y + Self.padding + 9 + Double(number) * Self.line, line.style)
    }
  }
}
