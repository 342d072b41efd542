// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension ReportFigures {
  /// What one step is of.
  var jobText: String {
    let optimizer = job.mode == .train ? " with \(job.optimizer.rawValue)" : ""
    let mode = job.mode == .train ? "Training" : "Forward passes"
    return "\(mode)\(optimizer) in \(job.precision.rawValue), \(decision.batchText(grouped)) a step" + job.software.remarks.map { ", " + $0 }.joined()
      + "."
  }

  var summarySection: HTML {
    section("summary", "In short") {
      tag("dl", ["class": "cards", "style": "grid-template-columns:repeat(auto-fit,minmax(155px,1fr))"]) {
        card("Step", "\(prediction.step)", decision.rateText(step: prediction.step))
        if let utilisation = report.utilisation {
          card("Work of a device", text(utilisation.rate), "\(roughly(utilisation.share)) of its peak; nothing counted for what is computed again")
        }
        card(
          "Memory of the fullest device", "\(prediction.memory)", "of \(prediction.memoryLimit), \(roughly(memoryShare))",
          bar: Bar(parts: [.init(hue: memoryShare > 1 ? .red : .teal, share: min(1, memoryShare), text: "used")], height: 8))
        card("Split", decision.meshText.replacing(" x ", with: " × "), splitText)
        card(
          "Waiting", decision.groups > 1 ? roughly(waiting) : "none",
          decision.groups > 1
            ? "of the step, the mean of the stages; \(roughly(prediction.bubble)) of the time until their last pass ends (bubble)"
            : "there is one stage")
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

  /// The mean over the stages of the share of the step in which they wait.
  private var waiting: Double { times.reduce(0) { $0 + share($1.waiting) } / Double(max(1, times.count)) }

  /// `32-way data × 4-way tensor and sequence × 8 stages (12 chunks each), ZeRO 1, no recompute, micro-batches of 32`.
  private var splitText: String {
    let mesh = decision.mesh(ofGroup: busiest)
    var degrees = mesh.indices.filter { mesh[$0] > 1 }.map { axis in
      let kinds = report.kindsOfParallelism(onAxis: axis, ofGroup: busiest)
      return "\(mesh[axis])-way \(kinds.isEmpty ? "replicas" : enumerated(kinds))"
    }
    if decision.groups > 1 {
      degrees.append(
        counted(decision.groups, "pipeline stage") + (decision.schedule.chunks > 1 ? " (\(decision.schedule.chunks) chunks each)" : ""))
    }
    var parts = [degrees.isEmpty ? "one device" : degrees.joined(separator: " × ")]
    if job.mode == .train {
      parts.append("ZeRO \(decision.zeroText(withNone: true) ?? "0")")
      parts.append(decision.recomputeText.map { "recompute \($0)" } ?? "no recompute")
    }
    let size = job.batch / job.microBatches
    let together = decision.ranks(ofGroup: 0).count > 1 ? " on all replicas together" : ""
    parts.append(
      job.microBatches > 1
        ? "\(many(job.microBatches, "micro-batch", plural: "micro-batches")) of \(grouped(size))\(together)" : "the batch as a whole")
    return parts.joined(separator: ", ")
  }

  private func text(_ rate: FLOPRate) -> String { rate.value < 1e12 ? "\(abbreviated(rate.value / 1e9)) GFLOP/s" : "\(rate)" }

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
    let pieces: [String?] = [model, pipeline, axes, timeText, slowestCollective, messages, memoryText, recomputeSentence]
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
    return "The layers are cut into \(decision.groups) stages\(chunks), through which \(microBatches) go under the schedule "
      + "\(decision.schedule.kind.rawValue); a stage waits for others for \(roughly(waiting)) of the step, on average."
  }

  private var axes: String? {
    let mesh = decision.mesh(ofGroup: busiest)
    let parts = mesh.indices.filter { mesh[$0] > 1 }.map { axis -> String in
      let levels = report.levels(ofAxis: axis, onGroup: busiest).map(\.name).joined(separator: " and ")
      let words = report.words(onAxis: axis, ofGroup: busiest)
      return "axis \(axis), \(mesh[axis]) devices over \(levels), splits " + (words.isEmpty ? "nothing" : words.joined(separator: ", "))
    }
    if parts.isEmpty { return nil }
    let whose = decision.groups > 1 ? "The devices of \(name(ofGroup: busiest))" : "The devices"
    return "\(whose) are a mesh of \(mesh.map(String.init).joined(separator: " × ")): \(parts.joined(separator: "; "))."
  }

  private var timeText: String {
    let time = times[busiest]
    let parts = StageTime.parts.filter { time.whole > .zero && time[keyPath: $0.value] / time.whole >= 0.001 }.map {
      "\($0.name) \(roughly(time[keyPath: $0.value] / time.whole))"
    }
    let whose = decision.groups > 1 ? "On \(name(ofGroup: busiest)), which waits least, the" : "The"
    return "\(whose) step's time goes into: \(parts.joined(separator: ", "))."
  }

  private var slowestCollective: String? {
    guard let row = collectiveRows.first(where: { !$0.item.part.travelsBesides }), row.time > .zero else { return nil }
    let part = row.item.part
    let kind = part.name(in: decision)
    let whose = decision.groups > 1 ? "a device of stage \(row.group)" : "a device"
    return
      "The collective that takes most of \(whose): \(kind) of \(part.bytes), \(grouped(row.calls)) times \(part.time) a step, \(row.time) or \(roughly(share(row.time))) of it (\(row.item.plainReason))."
  }

  private var messages: String? {
    let rows = collectiveRows.filter { $0.item.part.cause == .boundary }
    let ofGroups = (0..<decision.groups).map { group in rows.reduce(Seconds.zero) { $0 + $1.item.part.time * $1.callsOfGroups[group] } }
    guard let most = ofGroups.max(), most > .zero else { return nil }
    return
      "Messages to other stages are under way for \(most) of the step from a device at most, \(roughly(share(most))), while it computes; what is waited for them is part of the waiting."
  }

  private var memoryText: String {
    let part = prediction.memory(ofGroup: prediction.fullest)
    let parts = MemoryShare.parts.filter { part.total > .zero && part[keyPath: $0.value] / part.total >= 0.001 }.map {
      "\($0.name) \(roughly(part[keyPath: $0.value] / part.total))"
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
