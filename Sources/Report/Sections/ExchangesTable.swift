// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension ReportFigures {
  /// What a block's graph shows besides its operators: where each operator's inputs come from, and what ranks exchange for it.
  func exchangesTable(ofSegment segment: SegmentID) -> HTML {
    let columns: [(heading: String, text: (OperatorID) -> String)] = [
      ("inputs from", inputs), ("on their way", { exchanges(for: $0, [.forward]) }),
      ("on the way of their gradients back", { exchanges(for: $0, [.backward]) }), ("inside", { exchanges(for: $0, [.interior]) }),
      ("of weights and their gradients", { exchanges(for: $0, [.gradient, .updated, .weights, .parts, .tied]) }),
      ("to another stage", { exchanges(for: $0, [.boundary]) }),
    ]
    let operators = graph.segments[segment].operators
    let shown = columns.filter { column in operators.contains { !column.text($0).isEmpty } }
    var table = DataTable(
      "What comes from where, and what ranks exchange: collective, mesh axes, bytes and time of one call; a tensor that several operators read is at the first",
      [.text("operator")] + shown.map { .text($0.heading) })
    for op in operators {
      let cells = shown.map { $0.text(op) }
      table.add([graph.shortName(of: op)] + cells.map { $0.isEmpty ? "–" : $0 })
    }
    return details("The graph in words") { table.html }
  }

  private func inputs(of op: OperatorID) -> String {
    let names = graph.operators[op].operands.filter { !graph.tensors[$0].isParameter }.map { tensor -> String in
      if let producer = graph.producer[tensor] { return graph.shortName(of: producer) }
      return graph.segments[graph.segmentOfOperator[op]].entries.contains(tensor) ? "the layer before" : graph.shortName(ofTensor: tensor)
    }
    return names.joined(separator: ", ")
  }

  /// Equal ones together, with their number.
  private func exchanges(for op: OperatorID, _ causes: [Prediction.CollectivePart.Cause]) -> String {
    let all = prediction.collectives.filter { $0.op == op && causes.contains($0.cause) }
    let repeats = graph.segments[graph.segmentOfOperator[op]].repeats
    /// What comes in from another block does so at the first copy only, and mostly as from the copy before.
    func isAtStart(_ part: Prediction.CollectivePart) -> Bool {
      [.forward, .backward].contains(part.cause) && graph.producer[part.tensor] == nil && part.copies == 1 && repeats > 2
    }
    func isLike(_ a: Prediction.CollectivePart, _ b: Prediction.CollectivePart) -> Bool {
      a.kind == b.kind && a.axes == b.axes && a.bytes == b.bytes && a.time == b.time
    }
    var lines: [(part: Prediction.CollectivePart, calls: Int)] = []
    for part in all where !isAtStart(part) || !all.contains(where: { !isAtStart($0) && $0.tensor == part.tensor && isLike($0, part) }) {
      if let known = lines.firstIndex(where: { isLike($0.part, part) && isAtStart($0.part) == isAtStart(part) }) {
        lines[known].calls += part.calls
      } else {
        lines.append((part, part.calls))
      }
    }
    return lines.map { line in
      let axes =
        line.part.axes.isEmpty
        ? "" : " over \(line.part.axes.count == 1 ? "axis" : "axes") \(line.part.axes.map(String.init).joined(separator: ", "))"
      return (line.calls > 1 ? "\(line.calls) × " : "") + "\(line.part.kind?.rawValue ?? "send")\(axes), \(line.part.bytes), \(line.part.time)"
        + (isAtStart(line.part) ? " (at the first layer only)" : "")
    }.joined(separator: "; ")
  }
}
