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
    let copies = graph.segments[graph.segmentOfOperator[op]].repeats
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
      var (time, difference, note) = cells(item.result)
      if item.strategy.assignment == chosen.assignment { note += "; the plan's strategy, the others free" }
      table.add(cells: [
        .init(item.strategy.words(rule).joined(separator: ","), .cyan), .init(split(item.strategy)), .init(layouts(item.strategy)), .init(time),
        .init(difference, difference.isEmpty ? nil : difference.hasPrefix("+") ? .red : .green), .init(note),
      ])
    }
    lines += table.lines(style)
    let unfinished = alternatives.count { !$0.result.isFinal }
    if unfinished > 0 {
      lines.append(
        "  \(unfinished) of \(counted(alternatives.count, "alternative")) \(unfinished == 1 ? "is" : "are") not known exactly: the time ended (--time-limit)"
      )
    }
    return lines.flatMap { style.fit($0) }
  }

  private func cells(_ result: Result) -> (step: String, difference: String, note: String) {
    switch result {
    case .step(let time, let isProven): ("\(time)", signed(time - step), isProven ? signedPercent(time) : signedPercent(time) + ", or less")
    case .atLeast(let time): (time > .zero ? "≥ \(time)" : "", "", "not finished in the time given")
    case .tooMuchMemory(let least, let limit): ("-", "", "does not fit: \(least) of \(limit), \(least - limit) too much")
    case .noCommonLayout: ("-", "", "no layout in common with its neighbours")
    }
  }

  private func signed(_ time: Seconds) -> String { time < .zero ? "\(time)" : "+\(time)" }
  private func signedPercent(_ time: Seconds) -> String {
    guard step > .zero else { return "" }
    let fraction = (time - step) / step
    return (fraction < 0 ? "" : "+") + percent(fraction)
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
          guard case .object(var object) = json(item.strategy) else { return json(item.strategy) }
          for (key, value) in members(item.result) { object[key] = value }
          return .object(object)
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

  private func members(_ result: Result) -> [(String, JSON)] {
    switch result {
    case .step(let time, let isProven):
      [
        ("result", .string(isProven ? "optimal" : "time_limit")), ("step_seconds", .double(time.value)),
        ("difference_seconds", .double((time - step).value)),
      ]
    case .atLeast(let time): [("result", "time_limit"), ("lower_bound_seconds", .double(time.value))]
    case .tooMuchMemory(let least, let limit):
      [("result", "too_much_memory"), ("least_memory_bytes", .double(least.value)), ("memory_limit_bytes", .double(limit.value))]
    case .noCommonLayout: [("result", "no_common_layout")]
    }
  }
}
