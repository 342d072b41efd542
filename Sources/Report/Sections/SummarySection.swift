// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension ReportFigures {
  /// What one step is of.
  var jobText: String {
    let size = job.sequence.map { counted(job.batch, "sequence") + " of \($0)" } ?? counted(job.batch, "sample")
    let optimizer = job.mode == .train ? " with \(job.optimizer.rawValue)" : ""
    let mode = job.mode == .train ? "Training" : "Forward passes"
    return "\(mode)\(optimizer) in \(job.precision.rawValue), \(size) a step" + job.software.remarks.map { ", " + $0 }.joined() + "."
  }

  var summarySection: HTML {
    section("summary", "In short") {
      tag("dl", ["class": "cards"]) {
        card("Step", "\(prediction.step)", rateText)
        card(
          "Memory of the fullest device", "\(prediction.memory)", "of \(prediction.memoryLimit), \(percent(memoryShare))",
          bar: Bar(parts: [.init(hue: memoryShare > 1 ? .red : .teal, share: min(1, memoryShare), text: "used")], height: 8))
        card(
          "Split", decision.meshText.replacing(" x ", with: " × "),
          decision.groups > 1 ? decision.pipelineText : "one stage")
        card(
          "Waiting", decision.groups > 1 ? percent(prediction.bubble) : "none",
          decision.groups > 1 ? "of the stages' time (bubble)" : "there is one stage")
        card("Proof", proof.short, proof.long)
      }
      tag("ul", ["class": "facts"]) { for sentence in sentences { tag("li") { sentence } } }
    }
  }

  private func card(_ name: String, _ value: String, _ remark: String, bar: Bar? = nil) -> HTML {
    tag("div", ["class": "card"]) {
      tag("dt") { name }
      tag("dd") {
        tag("strong") { value }
        if let bar { bar.html(nil) }
        tag("span") { remark }
      }
    }
  }

  private var memoryShare: Double { prediction.memoryLimit > .zero ? prediction.memory / prediction.memoryLimit : 0 }

  private var rateText: String {
    report.tokensPerSecond.map { "\(abbreviated($0)) tokens/s" } ?? "\(abbreviated(report.sequencesPerSecond)) samples/s"
  }

  private var proof: (short: String, long: String) {
    let certificate = plan.certificate
    return switch certificate.status {
    case .optimal: ("optimal", "no plan of the searched space is faster")
    case .timeLimit: ("gap \(percent(certificate.gap))", "no plan of the searched space takes less than \(certificate.lowerBound)")
    case .given: ("none", "the configuration was given, not searched")
    }
  }

  // MARK: - In words

  private var sentences: [String] {
    let pieces: [String?] = [model, pipeline, axes, timeText, slowestCollective, memoryText, recomputeSentence]
    return pieces.compactMap { $0 }
  }

  private var model: String {
    let kinds = Set((0..<decision.ranks).map { cluster.kind(of: $0).name }).sorted().joined(separator: " and ")
    let nodes = cluster.nodeCount
    return "\(graph.name) has \(abbreviated(Double(graph.parameterCount))) parameters. "
      + "\(counted(decision.ranks, "device")) (\(kinds)) on \(counted(nodes, "node")) work on it"
      + (plan.idleDevices > 0 ? "; \(plan.idleText) stay idle." : ".")
  }

  private var pipeline: String {
    let microBatches = counted(job.microBatches, "micro-batch", plural: "micro-batches")
    if decision.groups == 1 {
      return "Every device has a part of every layer: there is one stage, and the batch goes through in \(microBatches)."
    }
    let chunks = decision.schedule.chunks > 1 ? " of \(decision.schedule.chunks) chunks each" : ""
    return "The layers are cut into \(decision.groups) stages\(chunks), through which \(microBatches) go in the order "
      + "\(decision.schedule.kind.rawValue); stages wait for each other for \(percent(prediction.bubble)) of their time."
  }

  private var axes: String? {
    let mesh = decision.mesh(ofGroup: busiest)
    let parts = mesh.indices.filter { mesh[$0] > 1 }.map { axis -> String in
      let levels = report.levels(ofAxis: axis, onGroup: busiest).map(\.name).joined(separator: " and ")
      let words = report.words(onAxis: axis, ofGroup: busiest)
      return "\(mesh[axis]) over \(levels) split " + (words.isEmpty ? "nothing" : words.prefix(4).joined(separator: ", "))
    }
    if parts.isEmpty { return nil }
    let whose = decision.groups > 1 ? "The devices of \(name(ofGroup: busiest))" : "The devices"
    return "\(whose) are a mesh of \(mesh.map(String.init).joined(separator: " × ")): \(parts.joined(separator: "; "))."
  }

  private var timeText: String {
    let time = times[busiest]
    let parts = StageTime.parts.filter { time.whole > .zero && time[keyPath: $0.value] / time.whole >= 0.001 }.map {
      "\(roughly(time[keyPath: $0.value] / time.whole)) \($0.name)"
    }
    let whose = decision.groups > 1 ? "On \(name(ofGroup: busiest)), which waits least, the" : "The"
    return "\(whose) step's time goes into: \(parts.joined(separator: ", "))."
  }

  private var slowestCollective: String? {
    guard let first = collectiveRows.first, first.time > .zero else { return nil }
    let part = first.item.part
    let kind = part.kind?.rawValue ?? "send"
    return
      "What takes longest of all that is sent: \(kind) of \(part.bytes), \(part.time) a call, \(first.calls) calls a step (\(first.item.reason))."
  }

  private var memoryText: String {
    let part = prediction.memory(ofGroup: prediction.fullest)
    let parts = MemoryShare.parts.filter { part.total > .zero && part[keyPath: $0.value] / part.total >= 0.001 }.map {
      "\(roughly(part[keyPath: $0.value] / part.total)) \($0.name)"
    }
    let whose = decision.groups > 1 ? "A device of \(name(ofGroup: prediction.fullest)), the fullest," : "A device"
    let fits = prediction.memory <= prediction.memoryLimit ? "" : " It does not fit."
    let peak = memories.first { $0.group == prediction.fullest }?.timeline.peak
    let passing = MemoryShare.passing.dropFirst().compactMap { item in
      peak.map { $0.bytes(item.parts) }.flatMap { part.total > .zero && $0 / part.total >= 0.01 ? "\(item.name) \($0)" : nil }
    }
    let transient =
      passing.isEmpty ? "" : " Transient is what is there while one block runs, here \(passing.joined(separator: ", ")), and scratch memory."
    return "\(whose) holds \(part.total) at its peak: \(parts.joined(separator: ", ")).\(transient)\(fits)"
  }

  private var recomputeSentence: String? {
    guard job.mode == .train else { return nil }
    return decision.recomputeText.map { "To save memory, backward computes again what forward has computed (recompute \($0))." }
  }
}
