// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Report
import Strategies

extension PlanReport {
  func lines(_ style: TextStyle) -> [String] {
    let sections = [
      summary(style), mesh(style), stages(style), operators(style), communication(style), memory(style), certificate(style), assumptions(style),
    ]
    return Array(sections.filter { !$0.isEmpty }.joined(separator: [""]))
  }

  private func summary(_ style: TextStyle) -> [String] {
    let job = decision.job
    let size = job.sequence.map { counted(job.batch, "sequence") + " of \($0)" } ?? counted(job.batch, "sample")
    let optimizer = job.mode == .train ? ", \(job.optimizer.rawValue)" : ""
    let rate = tokensPerSecond.map { "\(abbreviated($0)) tokens/s" } ?? "\(abbreviated(sequencesPerSecond)) samples/s"
    let share = prediction.memoryLimit > .zero ? " (\(percent(prediction.memory / prediction.memoryLimit)))" : ""
    let heading = style.heading("\(graph.name) on \(counted(decision.ranks, "device")) of \(plan.hardware.name)")
    return [
      heading + (plan.idleDevices > 0 ? "; idle: \(plan.idleText)" : ""),
      "  \(job.mode.rawValue)\(optimizer), \(job.precision.rawValue)\(job.software.remarks.map { ", " + $0 }.joined()), \(size) a step",
      "  step \(prediction.step), \(rate); at most \(prediction.memory) of \(prediction.memoryLimit) on a device\(share)",
    ]
  }

  private func mesh(_ style: TextStyle) -> [String] {
    var lines: [String] = []
    // Of neighbouring stages with one mesh the first speaks for all.
    var first = 0
    while first < decision.groups {
      let mesh = decision.mesh(ofGroup: first)
      let end = (first..<decision.groups).first { decision.mesh(ofGroup: $0) != mesh } ?? decision.groups
      let all = decision.groups > 1 ? " on each of \(decision.groups) stages" : ""
      lines.append(
        style.heading("Mesh \(mesh.map(String.init).joined(separator: " × "))")
          + (decision.stageMeshes.isEmpty ? all : " on \(end - first == 1 ? "stage" : "stages") \(span(first..<end))"))
      var table = TextTable([("axis", .right), ("devices", .right), ("over", .left)])
      for (axis, extent) in mesh.enumerated() {
        let levels = levels(ofAxis: axis, onGroup: first).map { "\($0.name) (\($0.factor))" }.joined(separator: ", then ")
        table.add("\(axis)", "\(extent)", levels.isEmpty ? "a single device" : levels)
      }
      lines += table.lines()
      first = end
    }
    lines += sharesLines
    for axis in graph.axes.indices where !decision.orders[axis].isNatural {
      let pairs = decision.orders[axis].pairs
      lines.append("  \(graph.axes[axis].name) in zig-zag order: part r of \(pairs) holds chunks r and \(2 * pairs - 1) - r of \(2 * pairs)")
    }
    return lines
  }

  private func stages(_ style: TextStyle) -> [String] {
    let job = decision.job
    let chunks = decision.schedule.chunks
    let perMicroBatch = job.batch / job.microBatches
    var lines = [
      style.heading("Stages"),
      "  \(decision.schedule.kind.rawValue)\(chunks > 1 ? ", \(chunks) chunks on each stage" : ""), "
        + "\(counted(job.microBatches, "micro-batch", plural: "micro-batches")) of \(perMicroBatch); "
        + "bubble \(percent(prediction.bubble)) of the stages' time",
    ]
    var table = TextTable([
      (chunks > 1 ? "stage.chunk" : "stage", .right), ("devices", .left), ("forward", .right), ("backward", .right), ("of it comm.", .right),
      ("grad. sync", .right), ("update", .right), ("holds", .left),
    ])
    for (index, stage) in prediction.stages.enumerated() {
      let devices = devices(ofStage: index)
      let nodes = Set(devices.map { cluster.nodeOfDevice[$0] }).sorted()
      let place = "\(span(devices)) (\(nodes.count == 1 ? "node" : "nodes") \(span(nodes[0]..<nodes[nodes.count - 1] + 1)))"
      let kinds = Set(devices.map { cluster.kindOfDevice[$0] }).sorted().map { cluster.kinds[$0].name }.joined(separator: " and ")
      table.add(
        name(ofStage: index), "\(kinds) \(place)", "\(stage.forward)", "\(stage.backward)", "\(stage.communication)",
        "\(stage.gradientSync)", "\(stage.update)", contents(ofStage: index))
    }
    lines += table.lines()
    lines.append("  Forward and backward of one micro-batch; gradient synchronisation and update once a step.")
    return lines
  }

  private func operators(_ style: TextStyle) -> [String] {
    var lines = [
      style.heading("Operators"),
      "  Of one copy and one micro-batch, on the rank with the largest part. Layouts, one letter a mesh axis:",
      "  R replicated, Sd split on dimension d, P partial sum. State: weights, gradients, optimizer. Kept: for backward.",
    ]
    for (id, segment) in graph.segments.enumerated() {
      let prefix = segment.repeats > 1 ? graph.commonPrefix(of: id) : ""
      let name = prefix.isEmpty ? segment.name : String(prefix.dropLast())
      lines.append("  " + style.heading(name) + (segment.repeats > 1 ? ", \(segment.repeats) copies" : ""))
      var table = TextTable([
        ("operator", .left), ("strategy", .left), ("layouts", .left), ("compute", .right), ("comm.", .right), ("state", .right), ("kept", .right),
      ])
      for op in segment.operators {
        let part = prediction.operators[op]
        let strategy = strategies[op]
        let operands = strategy.operands.map(\.forward.notation).joined(separator: " ")
        // Collectives inside an operator are part of its own time; only the conversions around it come on top.
        table.add(
          graph.shortName(of: op), strategy.words(rules[op]).joined(separator: ","), "\(operands) -> \(strategy.result.notation)",
          text(part.forward + part.backward), text(part.communication), text(part.resident), text(part.kept))
      }
      lines += table.lines(indent: 4)
    }
    return lines
  }

  private func communication(_ style: TextStyle) -> [String] {
    if collectives.isEmpty { return [style.heading("Collectives"), "  none: no rank sends anything"] }
    var table = TextTable([
      ("collective", .left), ("axes", .left), ("bytes", .right), ("time", .right), ("calls", .right), ("all calls", .right), ("why", .left),
    ])
    for item in collectives {
      table.add(
        item.part.kind?.rawValue ?? "send", item.part.axes.map(String.init).joined(separator: ","), "\(item.part.bytes)", "\(item.part.time)",
        "\(item.callsPerStep)", "\(item.timePerStep)", item.reason)
    }
    return [style.heading("Collectives"), "  Bytes and time of one call; calls of one step, all copies, micro-batches and stages together."]
      + table.lines()
  }

  private func memory(_ style: TextStyle) -> [String] {
    var table = TextTable([
      ("stage", .right), ("weights", .right), ("gradients", .right), ("optimizer", .right), ("activations", .right), ("in flight", .right),
      ("transient", .right), ("total", .right), ("of limit", .right),
    ])
    for index in 0..<prediction.groups {
      let part = prediction.memory(ofGroup: index)
      let limit = prediction.memoryLimit(ofGroup: index)
      table.add(
        "\(index)", "\(part.weights)", "\(part.gradients)", "\(part.optimizerState)", "\(part.activations)", "\(part.microBatchesInFlight)",
        "\(part.transient)", "\(part.total)", limit > .zero ? percent(part.total / limit) : "")
    }
    let limits = Set(prediction.stages.map { $0.memoryLimit ?? prediction.memoryLimit }).sorted().map(\.description)
    let whose = decision.shares == nil ? "" : " of the kind that has least left"
    return [style.heading("Memory of a device") + "\(whose), \(limits.joined(separator: " or ")) at most"] + table.lines()
  }

  private func certificate(_ style: TextStyle) -> [String] {
    let certificate = plan.certificate
    let meaning =
      switch certificate.status {
      case .optimal: "no plan of the space below takes less time, within \(certificate.tolerance)"
      case .timeLimit: "the best plan found in the time given; a better one may exist"
      case .given: "the configuration was given; nothing was compared with it"
      }
    var lines = [style.heading("Certificate") + " \(certificate.status.rawValue)", "  \(meaning)"]
    if certificate.status == .given { return lines + ["  objective \(certificate.objective)"] }
    lines += [
      "  objective \(certificate.objective), lower bound \(certificate.lowerBound), gap \(percent(certificate.gap))",
      "  configurations: \(certificate.priced) priced, \(certificate.pruned) pruned by their bounds, \(certificate.infeasible) infeasible",
    ]
    for dimension in certificate.space { lines += wrapped("\(dimension.name): \(dimension.values)", indent: 2) }
    return lines
  }

  private func assumptions(_ style: TextStyle) -> [String] {
    plan.assumptions.isEmpty ? [] : [style.heading("Assumed")] + plan.assumptions.flatMap { wrapped($0, indent: 2) }
  }

  /// Nothing is an empty cell, so that what costs something stands out.
  private func text(_ time: Seconds) -> String { time == .zero ? "-" : "\(time)" }
  private func text(_ bytes: Bytes) -> String { bytes == .zero ? "-" : "\(bytes)" }
}

/// The text in lines of at most 100 columns, the later ones further in.
func wrapped(_ text: String, indent: Int, columns: Int = 100) -> [String] {
  var lines: [String] = []
  var line = String(repeating: " ", count: indent)
  var isStart = true
  for word in text.split(separator: " ") {
    if !isStart && line.count + 1 + word.count > columns {
      lines.append(line)
      line = String(repeating: " ", count: indent + 2)
      isStart = true
    }
    line += isStart ? String(word) : " \(word)"
    isStart = false
  }
  return lines + [line]
}
