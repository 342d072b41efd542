// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Plans
import Quantities
import Strategies

/// What fills a device, as it is drawn.
enum MemoryShare {
  static let parts: [(name: String, hue: Hue, value: KeyPath<Prediction.MemoryPart, Bytes> & Sendable)] = [
    ("weights", .blue, \.weights), ("gradients", .orange, \.gradients), ("optimizer state", .green, \.optimizerState),
    ("activations", .purple, \.activations), ("transient", .ochre, \.transient),
  ]
}

extension ReportFigures {
  var memorySection: HTML {
    let limits = Set((0..<decision.groups).map(prediction.memoryLimit(ofGroup:))).sorted().map(\.description).joined(separator: " or ")
    return section(
      "memory", "Memory",
      lead:
        "A plan may use \(limits) of a device. Activations are what is kept for backward at the instant at which most is; transient is what the operator that runs then needs besides."
    ) {
      legend(MemoryShare.parts.map { ($0.hue, $0.name) })
      memoryTable
      tag("h3") { "Through the step" }
      tag("p") {
        "The tensors of the rank's program, from the instruction that writes each until it is freed, on the weights, gradients and optimizer state that stay. Scratch memory of kernels is not in it: the predicted peak counts it as transient."
      }
      for memory in memories { overTime(memory) }
    }
  }

  private var memoryTable: HTML {
    var table = DataTable(
      "Memory of a device at its peak, by stage",
      [.text("stage"), .text("of the limit")] + MemoryShare.parts.map { .number($0.name) }
        + [
          .number(decision.schedule.chunks > 1 ? "passes held (micro-batch × chunk)" : "micro-batches in flight"), .number("total"),
          .number("of the limit"),
        ])
    for group in 0..<decision.groups {
      let part = prediction.memory(ofGroup: group)
      let limit = prediction.memoryLimit(ofGroup: group)
      let whole = max(part.total, limit)
      let bar = Bar(
        parts: MemoryShare.parts.map { item in
          .init(
            hue: item.hue, share: whole > .zero ? part[keyPath: item.value] / whole : 0, text: "\(item.name) \(part[keyPath: item.value])")
        }, limit: whole > .zero ? limit / whole * 0.998 : nil)
      let values = MemoryShare.parts.map { item -> [HTML] in
        [.text(part[keyPath: item.value] == .zero ? "–" : "\(part[keyPath: item.value])")]
      }
      table.add(
        cells: [[.text(name(ofGroup: group))], [bar.html(nil)]] + values + [
          [.text("\(part.microBatchesInFlight)")], [tag("strong") { "\(part.total)" }],
          [.text(limit > .zero ? roughly(part.total / limit) : "")],
        ])
    }
    return table.html
  }

  private static let columns = 250

  private func overTime(_ memory: StageMemory) -> HTML {
    let part = prediction.memory(ofGroup: memory.group)
    let envelope = memory.timeline.envelope(until: prediction.step, count: Self.columns)
    func constant(_ bytes: Bytes) -> [Bytes] { envelope.map { _ in bytes } }
    var layers: [MemoryDrawing.Layer] = [
      .init(name: "weights", hue: .blue, values: constant(part.weights)), .init(name: "gradients", hue: .orange, values: constant(part.gradients)),
      .init(name: "optimizer state", hue: .green, values: constant(part.optimizerState)),
    ]
    let parts: [(String, Hue, [MemoryTimeline.Part])] = [
      ("activations", .purple, [.activations, .inputs]), ("gradients of activations", .pink, [.gradients]),
      ("weights and gradients for a while", .teal, [.gathered]),
    ]
    let shown = parts.filter { part in envelope.contains { sample in part.2.contains { sample[$0] > .zero } } }
    layers += shown.map { part in
      .init(name: part.0, hue: part.1, values: envelope.map { sample in part.2.reduce(.zero) { $0 + sample[$1] } })
    }
    let peak = memory.timeline.peak
    let resident = part.weights + part.gradients + part.optimizerState
    let drawing = MemoryDrawing(layers: layers, limit: prediction.memoryLimit(ofGroup: memory.group), end: prediction.step)
    let stage = decision.groups > 1 ? "Rank \(memory.rank), of stage \(memory.group)" : "Rank \(memory.rank)"
    let text =
      "\(stage): at most \(resident + peak.total) in tensors, at \(peak.time) of the step; predicted with scratch memory \(part.total). The dashed line is the limit."
    var table = DataTable(
      "Tensors through the step, \(stage.lowercased())",
      [.text("time"), .number("what stays")] + shown.map { .number($0.0) } + [.number("together")])
    let rows = 10
    for row in 0...rows {
      let sample = envelope[min(Self.columns - 1, row * Self.columns / rows)]
      table.add(
        ["\(prediction.step * (Double(row) / Double(rows)))", "\(resident)"]
          + shown.map { part in "\(part.2.reduce(Bytes.zero) { $0 + sample[$1] })" } + ["\(resident + sample.total)"])
    }
    return tag("div", ["class": "over-time"]) {
      figure(text) {
        legend(layers.map { ($0.hue, $0.name) })
        drawing.picture(text)
      }
      details("The same in numbers") { table.html }
    }
  }
}
