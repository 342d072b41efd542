// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension ReportFigures {
  /// What a step's time goes into on any stage.
  private var timeParts: [StageTime.Part] {
    StageTime.parts.filter { part in times.contains { $0[keyPath: part.value] > .zero } }
  }

  var timeSection: HTML {
    section("time", "Where the step's time goes", lead: timeLead) {
      legend(swatches: timeParts.map { ($0.look.swatch($0.hue), $0.name) })
      timeTable
      tag("h3") { "By operator, on \(name(ofGroup: busiest))" }
      tag("p") {
        "Forward and backward of all copies and micro-batches, with the collectives inside an operator and what backward computes again; conversions between layouts are under "
        tag("a", ["href": "#collectives"]) { "collectives" }
        ". In names, {i} stands for the number of a layer, {j} for one within it, such as an expert's. What an operator splits: data, the batch; sequence, the positions; column, what a product's results are made of, and row, what it sums over; heads, those of attention; vocab, the vocabulary; expert, the experts."
      }
      operatorsTable
    }
  }

  private var timeLead: String {
    let meanings: [(value: KeyPath<StageTime, Seconds> & Sendable, text: String)] = [
      (\.computingOnce, "Computing is of all micro-batches, forward and backward."),
      (\.recomputing, "Computing again is what backward carries out a second time, to save memory."),
      (\.heldUp, "Held up by the host is what passes take longer than their operators, where kernels are handed over more slowly than they run."),
      (\.ofActivations, "Collectives are of activations and their gradients."),
      (\.ofParameters, "Gradient sync is all that is exchanged of gradients and weights, in passes or after them."),
      (\.waitingBefore, "Waiting is for other stages and their messages."),
      (\.waitingAtEnd, "Waiting at the end is for the stage that is ready last."),
    ]
    return
      (["A step takes \(prediction.step) on every device; shares are of it."]
      + meanings.filter { item in times.contains { $0[keyPath: item.value] > .zero } }.map(\.text)).joined(separator: " ")
  }

  private var timeTable: HTML {
    let shown = timeParts
    var table = DataTable("Time of a step by stage", [.text("stage"), .text("the step")] + shown.map { .number($0.name) })
    for run in alike({ times[$0] == times[$1] }) {
      let time = times[run.lowerBound]
      let whole = max(time.whole, prediction.step)
      let parts = shown.map { part in
        Bar.Part(
          hue: part.hue, share: whole > .zero ? time[keyPath: part.value] / whole : 0, text: "\(part.name) \(time[keyPath: part.value])",
          look: part.look)
      }
      let numbers = shown.map { part -> [HTML] in
        let value = time[keyPath: part.value]
        return [.text(value == .zero ? "–" : "\(value)"), tag("small") { value == .zero || whole == .zero ? "" : " \(roughly(value / whole))" }]
      }
      table.add(cells: [[.text(name(ofGroups: run))], [Bar(parts: parts).html(nil)]] + numbers)
    }
    return table.html
  }

  /// An operator of one unique block, on the devices of a stage.
  private struct OperatorTime {
    let op: OperatorID
    let copies: Int
    let time: Seconds
    /// Of `time`, its forward pass in the backward pass.
    let again: Seconds
  }

  private var operatorTimes: [OperatorTime] {
    var copies = [Int](repeating: 0, count: graph.operators.count)
    for stage in decision.stages.indices where decision.group(ofStage: stage) == busiest {
      for unit in decision.stages[stage].units { for op in graph.segments[unit.segment].operators { copies[op] += unit.copies.count } }
    }
    let all = graph.operators.indices.filter { copies[$0] > 0 }.map { op in
      let part = operatorsOfBusiest[op]
      let repeats = job.mode == .train && decision.recompute[graph.segmentOfOperator[op]].repeats(report.rules[op])
      let calls = copies[op] * job.microBatches
      return OperatorTime(op: op, copies: copies[op], time: (part.forward + part.backward) * calls, again: repeats ? part.forward * calls : .zero)
    }
    return all.enumerated().sorted { ($1.element.time, $0.offset) < ($0.element.time, $1.offset) }.map(\.element)
  }

  private var operatorsTable: HTML {
    let all = operatorTimes.filter { $0.time > .zero }
    let most = 14
    let shown = all.count <= most + 1 ? all[...] : all.prefix(most)
    let rest = all.dropFirst(shown.count).reduce(Seconds.zero) { $0 + $1.time }
    let repeats = all.contains { $0.again > .zero }
    var table = DataTable(
      "Operators that take most of a step",
      [
        .text("operator"), .text("of the step"), .text("split"), .number("copies"), .number("one call"), .number("a step"),
      ] + (repeats ? [.number("of it again")] : []) + [.number("of the step")])
    for item in shown {
      let part = operatorsOfBusiest[item.op]
      let words = report.strategies[item.op].words(report.rules[item.op]).joined(separator: ",")
      let hue = report.hue(of: item.op)
      table.add(
        cells: [
          [.text(graph.operators[item.op].name)],
          [Bar(parts: [.init(hue: hue, share: share(item.time), text: "\(item.time)")], height: 12).html(nil)],
          [chip(words, hue)], [.text("\(item.copies)")], [.text("\(part.forward + part.backward)")], [.text("\(item.time)")],
        ] + (repeats ? [[.text(item.again == .zero ? "–" : "\(item.again)")]] : []) + [[.text(roughly(share(item.time)))]])
    }
    if rest > .zero {
      let again = all.dropFirst(shown.count).reduce(Seconds.zero) { $0 + $1.again }
      table.add(
        ["\(all.count - shown.count) others", "", "", "", "", "\(rest)"] + (repeats ? [again == .zero ? "–" : "\(again)"] : []) + [
          roughly(share(rest))
        ])
    }
    return table.html
  }

  /// Of the step.
  func share(_ time: Seconds) -> Double { prediction.step > .zero ? time / prediction.step : 0 }

  /// A strategy's words on the colour that stands for it.
  func chip(_ text: String, _ hue: Hue) -> HTML { tag("span", ["class": "chip bg-\(hue)"]) { text } }
}
