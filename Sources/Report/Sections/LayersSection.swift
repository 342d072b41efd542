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
        "The operators of each block that occurs, once, in the order in which they are carried out. An operator's stripes are what it splits on each axis of the mesh, outermost first; its box has the colour of what it splits besides the batch. Its bar is its forward and backward time beside the block's longest. Rounded boxes are collectives on the way of a tensor (fwd) and of its gradient back (bwd), with bytes and time of one call; each micro-batch has them."
    ) {
      let blocks = blocks
      legend(Hue.strategies.filter { entry in blocks.contains { occurs(entry.hue, in: $0.graph) } })
      // The heaviest block is open: what is repeated most.
      let heaviest = blocks.indices.max { time(blocks[$0]) < time(blocks[$1]) }
      for (number, block) in blocks.enumerated() {
        details(name(of: block), isOpen: number == heaviest) {
          if block.recompute != .none { tag("p") { "Backward does again: \(block.recompute.rawValue)." } }
          figure("Operators of \(name(of: block)).") {
            scrollable("Graph of \(name(of: block))", style: "graph") {
              GraphDrawing(block.graph).picture("Operators of \(name(of: block)); the tables below say the same.")
            }
            flow(block.graph)
          }
          table(of: block)
        }
      }
    }
  }

  private func occurs(_ hue: Hue, in graph: OperatorGraph) -> Bool {
    graph.nodes.contains {
      guard case .op(_, let words, _, _, _) = $0 else { return false }
      return Hue.ofStrategy(words) == hue || words.map(Hue.ofWord).contains(hue)
    }
  }

  /// The graph as a list, for pages that are too narrow for the picture.
  private func flow(_ drawn: OperatorGraph) -> HTML {
    tag("ol", ["class": "flow"]) {
      for (number, node) in drawn.nodes.enumerated() {
        if case .op(let name, let words, let zero, let time, _) = node {
          tag("li") {
            tag("strong") { name }
            " "
            chip(words.joined(separator: ","), Hue.ofStrategy(words))
            (zero == .none ? "" : " ZeRO \(zero.rawValue)") + (time > .zero ? " \(time)" : "")
            tag("ul") {
              let inputs = drawn.inputs(ofNode: number)
              if !inputs.isEmpty { tag("li") { "from \(inputs.joined(separator: ", "))" } }
              for text in drawn.exchanged(atNode: number) { tag("li") { text } }
            }
          }
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
      "Operators of \(name(of: block)): of one copy and one micro-batch, on the rank with the largest part\(report.ofSlowestKind)",
      [
        .text("operator"), .text("split"), .text("inputs from"), .text("operands"), .text("result"), .number("forward"), .number("backward"),
        .number("conversions"),
        .number("state"), .number("kept"),
      ])
    func text(_ time: Seconds) -> String { time == .zero ? "–" : "\(time)" }
    func text(_ bytes: Bytes) -> String { bytes == .zero ? "–" : "\(bytes)" }
    let places = block.graph.nodes.indices.filter { if case .op = block.graph.nodes[$0] { true } else { false } }
    for (op, node) in zip(graph.segments[segment].operators, places) {
      let (part, strategy) = (prediction.operators[op], report.strategies[op])
      let zero = decision.zero[op] == .none ? "" : " ZeRO \(decision.zero[op].rawValue)"
      table.add(cells: [
        [.text(graph.shortName(of: op))], [chip(strategy.words(report.rules[op]).joined(separator: ","), report.hue(of: op)), .text(zero)],
        [.text(block.graph.inputs(ofNode: node).joined(separator: ", "))],
        [tag("code") { strategy.operands.map(\.forward.notation).joined(separator: " ") }], [tag("code") { strategy.result.notation }],
        [.text(text(part.forward))], [.text(text(part.backward))], [.text(text(part.communication))], [.text(text(part.resident))],
        [.text(text(part.kept))],
      ])
    }
    return tag("div") {
      table.html
      exchangeTable(of: block)
      tag("p", ["class": "note"]) {
        "Layouts have a letter for each mesh axis: R replicated, Sd split on dimension d, P a partial sum. Conversions: collectives that bring operands into these layouts, those inside the operator included. State: weights, gradients, optimizer. Kept: for backward."
      }
    }
  }

  /// What stands on the graph's arrows and in its boxes, call by call.
  @HTMLBuilder private func exchangeTable(of block: Block) -> [HTML] {
    var table = DataTable(
      "What ranks exchange in \(name(of: block)), bytes and time of one call",
      [
        .text("operator"), .text("for"), .text("collective"), .text("over"), .number("bytes"), .number("time"), .text("how often"),
      ])
    let _ = addExchanges(of: block.graph, to: &table)
    if !table.isEmpty { table.html }
  }

  private func addExchanges(of drawn: OperatorGraph, to table: inout DataTable) {
    func add(_ name: String, _ purpose: String, _ calls: OperatorGraph.Calls, _ often: String) {
      table.add([
        name, purpose, calls.kind, calls.axes + calls.links, "\(calls.bytes)", "\(calls.time)",
        (calls.count > 1 ? "\(calls.count) × " : "") + often,
      ])
    }
    for (number, node) in drawn.nodes.enumerated() {
      guard case .op(let name, _, _, _, let notes) = node else { continue }
      for exchange in drawn.exchanges(toNode: number) {
        add(
          name, exchange.isForward ? "what it reads" : "gradient of what it reads", exchange.calls,
          "a micro-batch" + (exchange.isAtStart ? ", at the first layer only" : ""))
      }
      for note in notes { add(name, note.purpose, note.calls, note.isOnce ? "a step" : "a micro-batch") }
    }
  }
}
