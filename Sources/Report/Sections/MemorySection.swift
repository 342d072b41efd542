// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Plans
import Quantities
import Strategies

/// What fills a device, as it is drawn.
enum MemoryShare {
  static let parts: [(name: String, hue: Hue, value: KeyPath<Prediction.MemoryPart, Bytes> & Sendable)] = [
    ("weights", .weights, \.weights), ("gradients", .gradients, \.gradients), ("optimizer state", .optimizerState, \.optimizerState),
    ("activations", .activations, \.activations), ("transient", .scratch, \.transient),
  ]

  /// What of a program's tensors comes and goes. All but the first is part of what is transient.
  static let passing: [(name: String, hue: Hue, parts: [MemoryTimeline.Part])] = [
    ("activations", .activations, [.activations]), ("computed again", .recomputed, [.recomputed]),
    ("gradients of activations", .activationGradients, [.gradients]), ("results on their way", .scratch, [.results]),
    ("gathered weights, gradients on their way", .gathered, [.gathered]), ("inputs", .grey, [.inputs]),
  ]

  /// What of a prediction no tensor accounts for.
  static let rest = (name: "scratch memory and room", hue: Hue.ochre)
}

extension MemoryTimeline.Sample {
  func bytes(_ parts: [MemoryTimeline.Part]) -> Bytes { parts.reduce(.zero) { $0 + self[$1] } }
}

extension ReportFigures {
  var memorySection: HTML {
    let limits = Set((0..<decision.groups).map(prediction.memoryLimit(ofGroup:))).sorted().map(\.description).joined(separator: " or ")
    return section(
      "memory", "Memory",
      lead:
        "A plan may use \(limits) of a device. Activations are what forward passes keep for backward passes that are to come, at the instant at which a device holds most. Transient is what the block that runs then needs besides: what it computes again, gradients of activations, results on their way, gathered weights, scratch memory of kernels."
        + (decision.schedule.chunks > 1 ? " A pass that is held is one of a micro-batch through a chunk." : "")
    ) {
      legend(memoryLegend)
      memoryTable
      tag("h3") { "Through the step" }
      tag("p") {
        "The tensors of one rank's program, from the instruction that writes each until it is freed, on the weights, gradients and optimizer state that stay. What is transient is drawn by its parts. Scratch memory of kernels is in the predicted peak alone, and so is room for operands and results of the largest operator that need not all be there at once: tensors take less than what is predicted."
      }
      for memory in memories { overTime(memory) }
    }
  }

  /// A device's memory at its peak by what fills it, in the colours of the pictures over time: what is transient by its parts.
  private func fillings(ofGroup group: Int) -> [(name: String, hue: Hue, bytes: Bytes)] {
    let part = prediction.memory(ofGroup: group)
    var found = MemoryShare.parts.dropLast().map { (name: $0.name, hue: $0.hue, bytes: part[keyPath: $0.value]) }
    var left = part.transient
    for item in MemoryShare.passing.dropFirst() {
      let bytes = min(left, peaks[group].bytes(item.parts))
      found.append((item.name, item.hue, bytes))
      left = left - bytes
    }
    return found + [(MemoryShare.rest.name, MemoryShare.rest.hue, left)]
  }

  private var memoryLegend: [(hue: Hue, text: String)] {
    let all = (0..<decision.groups).map(fillings(ofGroup:))
    let stays = MemoryShare.parts.count - 1
    return all[0].indices.filter { index in all.contains { $0[index].bytes > .zero } }.map { index in
      (all[0][index].hue, (index < stays ? "" : "transient: ") + all[0][index].name)
    }
  }

  private var memoryTable: HTML {
    var table = DataTable(
      "Memory of a device at its peak, by stage",
      [.text("stage"), .text("of the limit")] + MemoryShare.parts.map { .number($0.name) }
        + [
          .number(decision.schedule.chunks > 1 ? "passes held" : "micro-batches in flight"), .number("total"),
          .number("of the limit"),
        ])
    for run in alike({
      (prediction.memory(ofGroup: $0), prediction.memoryLimit(ofGroup: $0)) == (prediction.memory(ofGroup: $1), prediction.memoryLimit(ofGroup: $1))
    }) {
      let part = prediction.memory(ofGroup: run.lowerBound)
      let limit = prediction.memoryLimit(ofGroup: run.lowerBound)
      let whole = max(part.total, limit)
      let bar = Bar(
        parts: fillings(ofGroup: run.lowerBound).map { item in
          .init(hue: item.hue, share: whole > .zero ? item.bytes / whole : 0, text: "\(item.name) \(item.bytes)")
        }, limit: whole > .zero ? limit / whole * 0.998 : nil)
      let values = MemoryShare.parts.map { item -> [HTML] in
        [.text(part[keyPath: item.value] == .zero ? "–" : "\(part[keyPath: item.value])")]
      }
      table.add(
        cells: [[.text(name(ofGroups: run))], [bar.html(nil)]] + values + [
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
    let shown = MemoryShare.passing.filter { part in envelope.contains { $0.bytes(part.parts) > .zero } }
    let layers: [MemoryDrawing.Layer] =
      [("weights", .weights, part.weights), ("gradients", .gradients, part.gradients), ("optimizer state", .optimizerState, part.optimizerState)]
      .compactMap {
        (name: String, hue: Hue, bytes: Bytes) in
        bytes == .zero ? nil : .init(name: name, hue: hue, values: constant(bytes))
      } + shown.map { part in .init(name: part.name, hue: part.hue, values: envelope.map { $0.bytes(part.parts) }) }
    let peak = memory.timeline.peak
    let resident = part.weights + part.gradients + part.optimizerState
    let drawing = MemoryDrawing(
      layers: layers, limit: prediction.memoryLimit(ofGroup: memory.group), end: prediction.step, peak: (peak.time, resident + peak.total))
    let atPeak = shown.filter { peak.bytes($0.parts) > .zero }.map { "\($0.name) \(peak.bytes($0.parts))" }
    let text =
      "At most \(resident + peak.total) in tensors, at \(peak.time) of the step: \((["what stays \(resident)"] + atPeak).joined(separator: ", ")). Predicted with scratch memory: \(part.total)."
    let fullest = decision.groups > 1 && memory.group == prediction.fullest ? ", the fullest" : ""
    var table = DataTable(
      "Tensors of rank \(memory.rank) at some instants of the step",
      [.text("time"), .number("what stays")] + shown.map { .number($0.name) } + [.number("together")])
    func row(_ time: String, _ sample: MemoryTimeline.Sample, style: String? = nil) {
      table.add([time, "\(resident)"] + shown.map { "\(sample.bytes($0.parts))" } + ["\(resident + sample.total)"], style: style)
    }
    let rows = 10
    var hasPeak = false
    for number in 0...rows {
      let time = prediction.step * (Double(number) / Double(rows))
      if !hasPeak, peak.time < time {
        row("\(peak.time), the peak", peak, style: "own")
        hasPeak = true
      }
      if let sample = memory.timeline.samples.last(where: { $0.time <= time }) { row("\(time)", sample) }
    }
    return tag("div", ["class": "over-time"]) {
      if decision.groups > 1 { tag("h4") { "Stage \(memory.group)\(fullest), rank \(memory.rank)" } }
      figure(text) {
        legend(layers.map { ($0.hue, $0.name) })
        drawing.picture(text)
      }
      details("The same in numbers") { table.html }
    }
  }
}
