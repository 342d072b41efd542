// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension ReportFigures {
  /// Segments that are drawn alike, and lie on meshes of one shape.
  private struct Block {
    var segments: [SegmentID]
    let graph: OperatorGraph
    let mesh: [Int]
    let recompute: Recompute
  }

  private var blocks: [Block] {
    var blocks: [Block] = []
    for segment in graph.segments.indices {
      let drawn = OperatorGraph(report, segment: segment)
      let (mesh, recompute) = (decision.mesh(ofSegment: segment), decision.recompute[segment])
      if let known = blocks.firstIndex(where: { $0.graph == drawn && $0.mesh == mesh && $0.recompute == recompute }) {
        blocks[known].segments.append(segment)
      } else {
        blocks.append(Block(segments: [segment], graph: drawn, mesh: mesh, recompute: recompute))
      }
    }
    return blocks
  }

  var layersSection: HTML {
    section(
      "layers", "Layers",
      lead:
        "The operators of each block that occurs, once. The colour of an operator is what it splits; its stripes are the mesh's axes, outermost first. Rounded boxes are collectives on the way of a tensor (fwd) and of its gradient back (bwd): kind, bytes and time of one call."
    ) {
      legend(Hue.strategies)
      let blocks = blocks
      // The heaviest block is open: what is repeated most.
      let heaviest = blocks.indices.max { time(blocks[$0]) < time(blocks[$1]) }
      for (number, block) in blocks.enumerated() {
        details(name(of: block), isOpen: number == heaviest) {
          if block.recompute != .none { tag("p") { "Backward does again: \(block.recompute.rawValue)." } }
          figure("Operators of \(name(of: block)).") {
            scrollable("Graph of \(name(of: block))", style: "graph") {
              GraphDrawing(graph: block.graph).picture("Operators of \(name(of: block)); the table below says the same.")
            }
          }
          table(of: block)
        }
      }
    }
  }

  private func time(_ block: Block) -> Seconds {
    block.segments.reduce(.zero) { sum, segment in
      sum + graph.segments[segment].operators.reduce(.zero) { $0 + prediction.operators[$1].forward + prediction.operators[$1].backward }
        * graph.segments[segment].repeats
    }
  }

  private func name(of block: Block) -> String {
    let parts = block.segments.map { segment -> String in
      let name = graph.nameOfLayers(segment)
      return graph.holdsLayers(segment) ? "\(name) \(span(graph.copies(of: segment)))" : name
    }
    return parts.joined(separator: ", ")
  }

  private func table(of block: Block) -> HTML {
    let segment = block.segments[0]
    var table = DataTable(
      "Operators of \(name(of: block)): of one copy and one micro-batch, on the rank with the largest part",
      [
        .text("operator"), .text("split"), .text("operands"), .text("result"), .number("forward"), .number("backward"), .number("conversions"),
        .number("state"), .number("kept"),
      ])
    func text(_ time: Seconds) -> String { time == .zero ? "–" : "\(time)" }
    func text(_ bytes: Bytes) -> String { bytes == .zero ? "–" : "\(bytes)" }
    for op in graph.segments[segment].operators {
      let (part, strategy) = (prediction.operators[op], report.strategies[op])
      let zero = decision.zero[op] == .none ? "" : " ZeRO \(decision.zero[op].rawValue)"
      table.add(cells: [
        [.text(graph.shortName(of: op))], [chip(strategy.words(report.rules[op]).joined(separator: ","), report.hue(of: op)), .text(zero)],
        [tag("code") { strategy.operands.map(\.forward.notation).joined(separator: " ") }], [tag("code") { strategy.result.notation }],
        [.text(text(part.forward))], [.text(text(part.backward))], [.text(text(part.communication))], [.text(text(part.resident))],
        [.text(text(part.kept))],
      ])
    }
    return tag("div") {
      table.html
      exchangesTable(ofSegment: segment)
      tag("p", ["class": "note"]) {
        "Layouts have a letter for each mesh axis: R replicated, Sd split on dimension d, P a partial sum. Conversions: collectives that bring operands into these layouts, those inside the operator included. State: weights, gradients, optimizer. Kept: for backward."
      }
    }
  }
}
