// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities
import Strategies

extension ReportFigures {
  var stagesSection: HTML {
    let perMicroBatch = job.batch / job.microBatches
    let pipeline =
      decision.groups > 1
      ? "\(decision.pipelineText); \(many(job.microBatches, "micro-batch", plural: "micro-batches")) of \(grouped(perMicroBatch)). "
      : "One stage; \(many(job.microBatches, "micro-batch", plural: "micro-batches")) of \(grouped(perMicroBatch)). "
    return section(
      "stages", "Stages",
      lead: pipeline + "Forward and backward are of one micro-batch, gradient synchronisation and update of a whole step."
    ) {
      if decision.groups > 1 { if decision.schedule.chunks > 1 { grid } else { strip } }
      legend([(.forward, "forward"), (.backward, "backward")])
      stageTables
      if let shares = decision.shares {
        tag("p") {
          "Ranks along mesh axis \(shares.axis) have unequal numbers of samples of a micro-batch: \(shares.samples.map(String.init).joined(separator: ", "))."
        }
      }
      for axis in graph.axes.indices where !decision.orders[axis].isNatural {
        let pairs = decision.orders[axis].pairs
        tag("p") {
          "\(graph.axes[axis].name) stands in zig-zag order: part r of \(pairs) holds chunks r and \(2 * pairs - 1) - r of \(2 * pairs), so that causal attention is shared out evenly."
        }
      }
    }
  }

  /// The model from its first to its last layer, as wide as each part takes long, in the colour of the stage that holds it.
  private var strip: HTML {
    let whole = prediction.stages.reduce(Seconds.zero) { $0 + $1.forward + $1.backward }
    let parts = prediction.stages.indices.map { index -> Bar.Part in
      let stage = prediction.stages[index]
      return Bar.Part(
        hue: hue(ofGroup: decision.group(ofStage: index)), share: whole > .zero ? (stage.forward + stage.backward) / whole : 0,
        text: "\(decision.name(ofStage: index)): \(report.contents(ofStage: index)), \(stage.forward + stage.backward)",
        label: "\(index)")
    }
    return figure("The model from its first to its last layer, each stage as wide as it takes long, with its number.") {
      Bar(parts: parts, height: 26).html("The model in \(prediction.stages.count) stages; the table below says which.")
    }
  }

  /// The model from its first to its last layer, row by row: what each chunk of each stage holds.
  private var grid: HTML {
    let (groups, chunks) = (decision.groups, decision.schedule.chunks)
    var table = DataTable(
      "What each chunk holds: the model goes along the rows, through all stages once for each chunk; layers have their numbers",
      [.text("")] + (0..<groups).map { .text("stage \($0)") })
    for chunk in 0..<chunks {
      table.add(
        cells: [[.text("chunk \(chunk)")]] + (0..<groups).map { [chip(layers(ofStage: chunk * groups + $0), hue(ofGroup: $0))] }, style: "parts")
    }
    return table.html
  }

  /// `embedding, 0`, `3–5`: layers by number alone, what is not repeated by name.
  private func layers(ofStage stage: Int) -> String {
    decision.stages[stage].units.map { unit in
      let first = graph.copies(of: unit.segment).lowerBound
      return graph.holdsLayers(unit.segment)
        ? span(first + unit.copies.lowerBound..<first + unit.copies.upperBound) : graph.nameOfLayers(unit.segment)
    }.joined(separator: ", ")
  }

  /// Successive virtual stages that take and hold equally much.
  private var runs: [Range<Int>] {
    let collectives = StageTime.collectivesOfStages(decision, prediction)
    var runs: [Range<Int>] = []
    for index in prediction.stages.indices {
      func layers(_ stage: Int) -> [Int] { decision.stages[stage].units.flatMap { [$0.segment, $0.copies.count] } }
      func takes(_ stage: Int) -> [Seconds] {
        let part = prediction.stages[stage]
        return [part.forward, part.backward, collectives[stage].ofActivations, collectives[stage].ofWeights, part.gradientSync, part.update]
      }
      if let last = runs.last, takes(last.lowerBound) == takes(index), layers(last.lowerBound) == layers(index) {
        runs[runs.count - 1] = last.lowerBound..<index + 1
      } else {
        runs.append(index..<index + 1)
      }
    }
    return runs
  }

  @HTMLBuilder private var stageTables: [HTML] {
    let each = prediction.stages.indices.map { $0..<$0 + 1 }
    let runs = runs
    if each.count > 8 && runs.count < each.count {
      table("What each part of the model takes; equal neighbours are one row", runs)
      details("All \(each.count) \(decision.schedule.chunks > 1 ? "chunks" : "stages") by themselves", isLong: true) {
        table("What each holds and takes", each)
      }
    } else {
      table("What each \(decision.schedule.chunks > 1 ? "chunk" : "stage") holds and takes", each)
    }
  }

  private func table(_ caption: String, _ rows: [Range<Int>]) -> HTML {
    let collectives = StageTime.collectivesOfStages(decision, prediction)
    let hasWeights = collectives.contains { $0.ofWeights > .zero }
    var table = DataTable(
      caption,
      [
        .text(decision.schedule.chunks > 1 ? "stage.chunk" : "stage"), .text("forward and backward"), .text("holds"), .text("devices"),
        .number("forward"), .number("backward"), .number("of it collectives"),
      ] + (hasWeights ? [.number("of it gradient sync")] : []) + [
        .number(hasWeights ? "gradient sync after the passes" : "gradient sync"), .number("update"),
      ])
    let longest = prediction.stages.map { $0.forward + $0.backward }.max() ?? .zero
    for run in rows {
      let (first, last) = (run.lowerBound, run.upperBound - 1)
      let stage = prediction.stages[first]
      let bar = Bar(
        parts: [
          .init(hue: .forward, share: longest > .zero ? stage.forward / longest : 0, text: "forward \(stage.forward)"),
          .init(hue: .backward, share: longest > .zero ? stage.backward / longest : 0, text: "backward \(stage.backward)"),
        ], height: 14)
      let name = run.count == 1 ? decision.name(ofStage: first) : "\(decision.name(ofStage: first)) to \(decision.name(ofStage: last))"
      let dot = tag("span", ["class": "dot bg-\(hue(ofGroup: decision.group(ofStage: first)))", "aria-hidden": "true"])
      let holds = run.count == 1 ? report.contents(ofStage: first) : contents(ofStages: run)
      table.add(
        cells: [
          (run.count == 1 ? [dot] : []) + [.text(name)], [bar.html(nil)], [.text(holds)], [.text(devices(ofStages: run))],
          [.text("\(stage.forward)")], [.text("\(stage.backward)")], [.text("\(collectives[first].ofActivations)")],
        ] + (hasWeights ? [[.text("\(collectives[first].ofWeights)")]] : []) + [
          [.text("\(stage.gradientSync)")], [.text("\(stage.update)")],
        ])
    }
    return table.html
  }

  /// `block 2–10 in 3 equal parts`.
  private func contents(ofStages run: Range<Int>) -> String {
    let units = run.flatMap { decision.stages[$0].units }
    let (first, last) = (units[0], units[units.count - 1])
    guard units.count == run.count, units.allSatisfy({ $0.segment == first.segment }), graph.holdsLayers(first.segment) else {
      return "\(report.contents(ofStage: run.lowerBound)) to \(report.contents(ofStage: run.upperBound - 1)), \(run.count) alike"
    }
    let start = graph.copies(of: first.segment).lowerBound
    let layers = start + first.copies.lowerBound..<start + last.copies.upperBound
    return "\(graph.nameOfLayers(first.segment)) \(span(layers)) in \(run.count) equal parts"
  }

  private func devices(ofStages run: Range<Int>) -> String {
    let groups = Set(run.map(decision.group(ofStage:))).sorted()
    if groups.count > 1 { return groups.count == decision.groups ? "those of all stages in turn" : "those of \(groups.count) stages in turn" }
    let devices = decision.ranks(ofGroup: groups[0])
    let nodes = Set(devices.map { cluster.nodeOfDevice[$0] }).sorted()
    let kinds = Set(devices.map { cluster.kindOfDevice[$0] }).sorted().map { cluster.kinds[$0].name }.joined(separator: " and ")
    return "\(kinds) \(span(devices)), \(nodes.count == 1 ? "node" : "nodes") \(span(nodes[0]..<nodes[nodes.count - 1] + 1))"
  }
}
