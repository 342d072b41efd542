// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities
import Strategies

extension ReportFigures {
  var stagesSection: HTML {
    let perMicroBatch = job.batch / job.microBatches
    let pipeline =
      decision.groups > 1
      ? "\(decision.pipelineText); \(counted(job.microBatches, "micro-batch", plural: "micro-batches")) of \(perMicroBatch). "
      : "One stage; \(counted(job.microBatches, "micro-batch", plural: "micro-batches")) of \(perMicroBatch). "
    return section(
      "stages", "Stages",
      lead: pipeline + "Forward and backward are of one micro-batch, gradient synchronisation and update of a whole step."
    ) {
      legend([(.blue, "forward"), (.orange, "backward")])
      stagesTable
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

  private var stagesTable: HTML {
    let chunks = decision.schedule.chunks
    var table = DataTable(
      "What each \(chunks > 1 ? "chunk" : "stage") holds and takes",
      [
        .text(chunks > 1 ? "stage.chunk" : "stage"), .text("forward and backward"), .text("holds"), .text("devices"), .number("forward"),
        .number("backward"), .number("of it collectives"), .number("gradient sync"), .number("update"),
      ])
    let longest = prediction.stages.map { $0.forward + $0.backward }.max() ?? .zero
    for (index, stage) in prediction.stages.enumerated() {
      let devices = report.devices(ofStage: index)
      let nodes = Set(devices.map { cluster.nodeOfDevice[$0] }).sorted()
      let kinds = Set(devices.map { cluster.kindOfDevice[$0] }).sorted().map { cluster.kinds[$0].name }.joined(separator: " and ")
      let place = "\(kinds) \(span(devices)), \(nodes.count == 1 ? "node" : "nodes") \(span(nodes[0]..<nodes[nodes.count - 1] + 1))"
      let bar = Bar(
        parts: [
          .init(hue: .blue, share: longest > .zero ? stage.forward / longest : 0, text: "forward \(stage.forward)"),
          .init(hue: .orange, share: longest > .zero ? stage.backward / longest : 0, text: "backward \(stage.backward)"),
        ])
      table.add(cells: [
        [
          tag("span", ["class": "dot bg-\(hue(ofGroup: decision.group(ofStage: index)))", "aria-hidden": "true"]), .text(report.name(ofStage: index)),
        ],
        [bar.html(nil)], [.text(report.contents(ofStage: index))], [.text(place)], [.text("\(stage.forward)")], [.text("\(stage.backward)")],
        [.text("\(stage.communication)")], [.text("\(stage.gradientSync)")], [.text("\(stage.update)")],
      ])
    }
    return table.html
  }
}
