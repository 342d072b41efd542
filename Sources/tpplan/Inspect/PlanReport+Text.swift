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
    return sections.filter { !$0.isEmpty }.joined(separator: [""]).flatMap { style.fit($0) }
  }

  private func summary(_ style: TextStyle) -> [String] {
    let job = decision.job
    let optimizer = job.mode == .train ? ", \(job.optimizer.rawValue)" : ""
    let share = prediction.memoryLimit > .zero ? " (\(percent(prediction.memory / prediction.memoryLimit)))" : ""
    let heading = style.heading("\(graph.name) on \(counted(decision.ranks, "device")) of \(plan.hardware.name)")
    return [
      heading + (plan.idleDevices > 0 ? "; idle: \(plan.idleText)" : ""),
      "  \(job.mode.rawValue)\(optimizer), \(job.precision.rawValue)\(job.software.remarks.map { ", " + $0 }.joined()), \(decision.batchText) a step",
      "  step \(prediction.step), \(decision.rateText(step: prediction.step)); at most \(prediction.memory) of \(prediction.memoryLimit) on a device\(share)",
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
      lines += table.lines(style)
      first = end
    }
    lines += sharesLines(style)
    for axis in graph.axes.indices where !decision.orders[axis].isNatural {
      let pairs = decision.orders[axis].pairs
      lines.append("  \(graph.axes[axis].name) in zig-zag order: part r of \(pairs) holds chunks r and \(2 * pairs - 1) - r of \(2 * pairs)")
    }
    return lines
  }

  private func stages(_ style: TextStyle) -> [String] {
    let job = decision.job
    let chunks = decision.schedule.chunks
    let together = job.microBatches > 1 && decision.ranks(ofGroup: 0).count > 1 ? " on all replicas together" : ""
    var lines = [
      style.heading("Stages"),
      "  \(decision.schedule.kind.rawValue)\(chunks > 1 ? ", \(chunks) chunks on each stage" : ""), "
        + "\(counted(job.microBatches, "micro-batch", plural: "micro-batches")) of \(job.batch / job.microBatches)\(together); "
        + "bubble \(percent(prediction.bubble)) of the stages' time",
    ]
    var places = TextTable([("stage", .right), ("devices", .left), ("of", .left), ("on", .left)])
    for group in 0..<decision.groups {
      let devices = decision.ranks(ofGroup: group)
      let nodes = Set(devices.map { cluster.nodeOfDevice[$0] }).sorted()
      let kinds = Set(devices.map { cluster.kindOfDevice[$0] }).sorted().map { cluster.kinds[$0].name }.joined(separator: " and ")
      places.add("\(group)", span(devices), kinds, "\(nodes.count == 1 ? "node" : "nodes") \(span(nodes[0]..<nodes[nodes.count - 1] + 1))")
    }
    lines += places.lines(style) + [""]
    var table = TextTable([
      (chunks > 1 ? "stage.chunk" : "stage", .right), ("forward", .right), ("backward", .right), ("of it comm.", .right), ("grad. sync", .right),
      ("update", .right), ("holds", .left),
    ])
    for (index, stage) in prediction.stages.enumerated() {
      table.add(
        decision.name(ofStage: index), "\(stage.forward)", "\(stage.backward)", "\(stage.communication)",
        "\(stage.gradientSync)",
        "\(stage.update)",
        contents(ofStage: index))
    }
    lines += table.lines(style)
    lines.append("  Forward and backward of one micro-batch; gradient synchronisation and update once a step.")
    if prediction.stages.indices.contains(where: isHeldUp) {
      lines += style.fit(
        "  Passes take longer than their operators where the host hands kernels over more slowly than the devices run them.", hanging: 2)
    }
    return lines
  }

  private func operators(_ style: TextStyle) -> [String] {
    var lines = [
      style.heading("Operators"),
      "  Of one copy and one micro-batch, on the rank with the largest part\(ofSlowestKind). Layouts, one letter a mesh axis: "
        + "R replicated, Sd split on dimension d, P partial sum. State: weights, gradients, optimizer. Kept: for backward.",
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
        table.add(cells: [
          .init(graph.shortName(of: op)), .init(strategy.words(rules[op]).joined(separator: ","), code(of: op)),
          .init("\(operands) -> \(strategy.result.notation)"), cell(part.forward + part.backward), cell(part.communication), cell(part.resident),
          cell(part.kept),
        ])
      }
      lines += table.lines(indent: 4, style)
    }
    return lines
  }

  /// Whether the host holds the passes of a virtual stage up notably.
  private func isHeldUp(_ stage: Int) -> Bool {
    let (part, heldUp) = (prediction.stages[stage], step.parts[decision.group(ofStage: stage)].heldUp)
    let time = decision.stages[stage].units.reduce(Seconds.zero) { $0 + heldUp[$1.segment] * $1.copies.count }
    return time > (part.forward + part.backward) * 0.02
  }

  private func communication(_ style: TextStyle) -> [String] {
    if collectives.isEmpty { return [style.heading("Collectives"), "  none: no rank sends anything"] }
    var table = TextTable([
      ("collective", .left), ("axes", .left), ("bytes", .right), ("time", .right), ("calls", .right), ("all calls", .right), ("why", .left),
    ])
    table.hasRemarks = true
    for item in collectives {
      table.add(cells: [
        .init(item.part.kind?.rawValue ?? "send", item.part.kind.code), .init(item.part.axes.map(String.init).joined(separator: ",")),
        .init("\(item.part.bytes)"), .init("\(item.part.time)"), .init("\(item.callsPerStep)"), .init("\(item.timePerStep)"), .init(item.reason),
      ])
    }
    return [style.heading("Collectives"), "  Bytes and time of one call; calls of one step, all copies, micro-batches and stages together."]
      + table.lines(style)
  }

  private func memory(_ style: TextStyle) -> [String] {
    let hasChunks = decision.schedule.chunks > 1
    var table = TextTable([
      ("stage", .right), ("weights", .right), ("gradients", .right), ("optimizer", .right), ("activa\u{AD}tions", .right),
      (hasChunks ? "passes held" : "in flight", .right),
      ("transient", .right), ("total", .right), ("of limit", .right),
    ])
    for index in 0..<prediction.groups {
      let part = prediction.memory(ofGroup: index)
      let limit = prediction.memoryLimit(ofGroup: index)
      let share = limit > .zero ? part.total / limit : 0
      let full: TextStyle.Code = share > 1 ? .red : share > 0.9 ? .yellow : .green
      table.add(cells: [
        .init("\(index)"), .init("\(part.weights)"), .init("\(part.gradients)"), .init("\(part.optimizerState)"), .init("\(part.activations)"),
        .init("\(part.microBatchesInFlight)"), .init("\(part.transient)"), .init("\(part.total)", .bold),
        .init(limit > .zero ? percent(share) : "", full),
      ])
    }
    let limits = Set(prediction.stages.map { $0.memoryLimit ?? prediction.memoryLimit }).sorted().map(\.description)
    let whose = decision.shares == nil ? "" : " of the kind that has least left"
    let meaning = "  Passes held: forward passes, each of a micro-batch through a chunk, whose backward pass is to come."
    return [style.heading("Memory of a device") + "\(whose), \(limits.joined(separator: " or ")) at most"] + table.lines(style)
      + (hasChunks ? [meaning] : [])
  }

  private func certificate(_ style: TextStyle) -> [String] {
    let certificate = plan.certificate
    let meaning =
      switch certificate.status {
      case .optimal: "no plan of the space below takes less time, within \(certificate.tolerance)"
      case .timeLimit: "the best plan found in the time given; a better one may exist"
      case .given: "the configuration was given; nothing was compared with it"
      }
    var lines = [style.heading("Certificate") + " " + style.apply(certificate.status.code, certificate.status.rawValue), "  \(meaning)"]
    if certificate.status == .given { return lines + ["  objective \(certificate.objective)"] }
    lines += [
      "  objective \(certificate.objective), lower bound \(certificate.lowerBound), gap \(percent(certificate.gap))",
      "  configurations: \(certificate.priced) priced, \(certificate.pruned) pruned by their bounds, \(certificate.infeasible) infeasible",
    ]
    for dimension in certificate.space { lines += wrapped("\(dimension.name): \(dimension.values)", indent: 2, columns: style.columns ?? 100) }
    return lines
  }

  private func assumptions(_ style: TextStyle) -> [String] {
    plan.assumptions.isEmpty ? [] : [style.heading("Assumed")] + plan.assumptions.flatMap { wrapped($0, indent: 2, columns: style.columns ?? 100) }
  }

  /// Nothing is a dash, so that what costs something stands out.
  private func cell(_ time: Seconds) -> TextTable.Cell { time == .zero ? .init("-", .faint) : .init("\(time)") }
  private func cell(_ bytes: Bytes) -> TextTable.Cell { bytes == .zero ? .init("-", .faint) : .init("\(bytes)") }

  /// The colour of an operator's strategy: the report's, as near as a terminal has it.
  private func code(of op: OperatorID) -> TextStyle.Code? {
    switch hue(of: op) {
    case .blue: .blue
    case .purple, .pink: .magenta
    case .orange, .ochre, .brown: .yellow
    case .teal: .cyan
    case .green: .green
    case .red: .red
    case .grey: .faint
    default: nil
    }
  }
}

extension CollectiveKind? {
  fileprivate var code: TextStyle.Code {
    switch self {
    case .allReduce: .red
    case .allGather: .blue
    case .reduceScatter: .cyan
    case .allToAll: .magenta
    case nil: .yellow
    }
  }
}

extension Certificate.Status {
  fileprivate var code: TextStyle.Code {
    switch self {
    case .optimal: .green
    case .timeLimit: .yellow
    case .given: .faint
    }
  }
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
