// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Plans
import Quantities
import Report
import Strategies

extension LayerReport {
  private var step: Seconds { plan.prediction.step }

  func lines(_ style: TextStyle) -> [String] {
    let graph = plan.decision.graph
    let part = plan.prediction.operators[op]
    var lines = [
      style.heading(graph.operators[op].name) + (copies > 1 ? ", \(copies) copies" : ""),
      "  strategy  \(chosen.words(rule).joined(separator: ",")), which splits \(split(chosen))",
      "  layouts   \(layouts(chosen))",
      "  time      forward \(part.forward), backward \(part.backward), conversions around it \(part.communication)",
      "  memory    state \(part.resident), kept for backward \(part.kept)",
      "",
      style.heading("Alternatives") + " to a step of \(step)",
      "  Everything around the operators as in the plan; the other operators as suits each alternative best.",
    ]
    if alternatives.isEmpty { return (lines + ["  none: the operator has no other strategy on this mesh"]).flatMap { style.fit($0) } }
    var table = TextTable([
      ("strategy", .left), ("splits", .left), ("layouts", .left), ("step", .right), ("difference", .right), ("", .left),
    ])
    for item in alternatives {
      var (time, difference, note) = item.result.cells(beside: step)
      if item.choice.assignment == chosen.assignment { note += "; the plan's strategy, the others free" }
      table.add(cells: [
        .init(item.choice.words(rule).joined(separator: ","), .cyan), .init(split(item.choice)), .init(layouts(item.choice)), .init(time),
        .init(difference, difference.isEmpty ? nil : difference.hasPrefix("+") ? .red : .green), .init(note),
      ])
    }
    lines += table.lines(style) + Alternative.unfinishedLines(alternatives)
    return lines.flatMap { style.fit($0) }
  }

  var json: JSON {
    let part = plan.prediction.operators[op]
    return [
      "operator": .string(plan.decision.graph.operators[op].name), "step_seconds": .double(step.value), "chosen": json(chosen),
      "predicted": [
        "forward_seconds": .double(part.forward.value), "backward_seconds": .double(part.backward.value),
        "communication_seconds": .double(part.communication.value), "resident_bytes": .double(part.resident.value),
        "kept_bytes": .double(part.kept.value),
      ],
      "alternatives": .array(
        alternatives.map { item in
          json(item.choice).adding(.object(JSON.Object(item.result.members(beside: step))))
        }),
    ]
  }

  private func json(_ strategy: Strategy) -> JSON {
    [
      "strategy": .string(strategy.words(rule).joined(separator: ",")),
      "assignment": .array(strategy.assignment.map { axis in axis.map { .string(rule.iteration[$0].name) } ?? .null }),
      "operands": .array(strategy.operands.map { .string($0.forward.notation) }), "result": .string(strategy.result.notation),
    ]
  }
}
