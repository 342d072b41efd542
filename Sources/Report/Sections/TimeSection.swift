// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension ReportFigures {
  var timeSection: HTML {
    section(
      "time", "Where the step's time goes",
      lead: "A step takes \(prediction.step) on every device. Computing and collectives are of all micro-batches, forward and backward."
    ) {
      legend(StageTime.parts.map { ($0.hue, $0.name) })
      timeTable
      tag("h3") { "By operator, on \(name(ofGroup: busiest))" }
      tag("p") {
        "Forward and backward of all copies and micro-batches, with the collectives inside an operator; conversions between layouts are under "
        tag("a", ["href": "#collectives"]) { "collectives" }
        "."
      }
      operatorsTable
    }
  }

  private var timeTable: HTML {
    var table = DataTable(
      "Time of a step by stage",
      [.text("stage"), .text("the step")] + StageTime.parts.map { .number($0.name) })
    var first = 0
    while first < times.count {
      let time = times[first]
      // Of many stages equal neighbours are one row.
      let end = times.count > 8 ? (first..<times.count).first { times[$0] != time } ?? times.count : first + 1
      let name = end - first == 1 ? name(ofGroup: first) : "stages \(span(first..<end))"
      first = end
      let whole = max(time.whole, prediction.step)
      let parts = StageTime.parts.map { part in
        Bar.Part(
          hue: part.hue, share: whole > .zero ? time[keyPath: part.value] / whole : 0, text: "\(part.name) \(time[keyPath: part.value])",
          isHatched: part.hue == .grey)
      }
      let numbers = StageTime.parts.map { part -> [HTML] in
        let value = time[keyPath: part.value]
        return [.text(value == .zero ? "–" : "\(value)"), tag("small") { value == .zero || whole == .zero ? "" : " \(roughly(value / whole))" }]
      }
      table.add(cells: [[.text(name)], [Bar(parts: parts).html(nil)]] + numbers)
    }
    return table.html
  }

  /// An operator of one unique block, on the devices of a stage.
  private struct OperatorTime {
    let op: OperatorID
    let copies: Int
    let time: Seconds
  }

  private func operatorTimes(ofGroup group: Int) -> [OperatorTime] {
    var copies = [Int](repeating: 0, count: graph.operators.count)
    for stage in decision.stages.indices where decision.group(ofStage: stage) == group {
      for unit in decision.stages[stage].units { for op in graph.segments[unit.segment].operators { copies[op] += unit.copies.count } }
    }
    let all = graph.operators.indices.filter { copies[$0] > 0 }.map { op in
      let part = prediction.operators[op]
      return OperatorTime(op: op, copies: copies[op], time: (part.forward + part.backward) * (copies[op] * job.microBatches))
    }
    return all.enumerated().sorted { ($1.element.time, $0.offset) < ($0.element.time, $1.offset) }.map(\.element)
  }

  private var operatorsTable: HTML {
    let all = operatorTimes(ofGroup: busiest).filter { $0.time > .zero }
    let most = 14
    let shown = all.count <= most + 1 ? all[...] : all.prefix(most)
    let rest = all.dropFirst(shown.count).reduce(Seconds.zero) { $0 + $1.time }
    let longest = all.first?.time ?? .zero
    var table = DataTable(
      "Operators that take most of a step",
      [.text("operator"), .text("share"), .text("split"), .number("copies"), .number("one call"), .number("a step"), .number("of the step")])
    for item in shown {
      let part = prediction.operators[item.op]
      let words = report.strategies[item.op].words(report.rules[item.op]).joined(separator: ",")
      let hue = report.hue(of: item.op)
      table.add(cells: [
        [.text(graph.operators[item.op].name)],
        [Bar(parts: [.init(hue: hue, share: longest > .zero ? item.time / longest : 0, text: "\(item.time)")], height: 12).html(nil)],
        [chip(words, hue)], [.text("\(item.copies)")], [.text("\(part.forward + part.backward)")], [.text("\(item.time)")],
        [.text(prediction.step > .zero ? roughly(item.time / prediction.step) : "")],
      ])
    }
    if rest > .zero {
      table.add([
        "\(all.count - shown.count) others", "", "", "", "", "\(rest)", prediction.step > .zero ? roughly(rest / prediction.step) : "",
      ])
    }
    return table.html
  }

  /// A strategy's words on the colour that stands for it.
  func chip(_ text: String, _ hue: Hue) -> HTML { tag("span", ["class": "chip bg-\(hue)"]) { text } }
}
