// SPDX-License-Identifier: GPL-3.0-or-later
import Launches
import ModelGraph
import Planner
import Plans
import Quantities
import Report
import Strategies

extension LintReport {
  /// As many changes are printed.
  private static let mostChanges = 5

  func lines(_ style: TextStyle) -> [String] {
    let parts = [summary(style), findings(style), shortfall(style), optimumLines(style), changeLines(style)].filter { !$0.isEmpty }
    return Array(parts.joined(separator: [""]))
  }

  private func row(_ name: String, _ text: String, _ style: TextStyle) -> [String] {
    style.fit("  " + name.padding(to: 13) + text, hanging: 15)
  }

  // MARK: - The launch

  private func summary(_ style: TextStyle) -> [String] {
    guard let job else {
      let none = obstacle ?? launch.graphObstacle ?? "the launch does not say what model it trains; name it with --model"
      return [style.heading("\(file): \(launch.format.title)")] + row("step", "none: \(none)", style)
    }
    let request = job.request
    var lines = [
      style.heading("\(file): \(launch.format.title) on \(counted(request.cluster.deviceCount, "device")) of \(hardware.name)")
    ]
    lines += row(
      "model",
      "\(request.graph.name), \(rounded(Double(request.graph.parameterCount) / 1e9)) billion parameters"
        + (isModelGiven ? "" : ", as the launch describes it"), style)
    lines += row("job", jobText(job), style)
    // A script's axes split whatever its operators say, which no degrees name.
    let ofScript = launch.format == .torch ? planned?.decision.splitText : nil
    lines += row("split", ofScript ?? job.degrees.splitText, style)
    for assumption in job.assumptions { lines += row("assumed", assumption, style) }
    guard let planned else { return lines + row("step", "none: \(obstacle ?? "it is no plan")", style) }
    let prediction = planned.prediction
    if isIllegal { lines += row("priced", "without what is illegal, which the findings name", style) }
    let bubble = planned.decision.groups > 1 ? "   bubble \(percent(prediction.bubble))" : ""
    lines += row("step", "\(prediction.step)   \(rate(prediction))\(bubble)", style)
    let excess = "\(prediction.memory - prediction.memoryLimit) too much"
    let verdict =
      fits ? "fits" : mayFit ? "\(excess) without its offloading, which has no price: it may fit all the same" : "does not fit, \(excess)"
    lines += row("memory", "\(prediction.memory) of \(prediction.memoryLimit) on the fullest device: \(verdict)", style)
    return lines
  }

  private func jobText(_ job: LaunchJob) -> String {
    let request = job.request
    var parts = ["batch \(request.batch)"]
    if let sequence = request.sequence { parts.append("sequence \(sequence)") }
    if let count = planned?.decision.job.microBatches, count > 1 { parts.append("\(count) micro-batches") }
    return (parts + [request.precision.rawValue, request.optimizer.rawValue] + request.software.remarks).joined(separator: ", ")
  }

  private func rate(_ prediction: Prediction) -> String {
    guard let request = job?.request else { return "" }
    let samples = Double(request.batch) / prediction.step.value
    return request.sequence.map { "\(rounded(samples * Double($0))) tokens/s" } ?? "\(rounded(samples)) samples/s"
  }

  private func findings(_ style: TextStyle) -> [String] {
    if launch.findings.isEmpty { return ["Nothing in it is illegal, doubtful or left out of the price."] }
    var table = TextTable([("finding", .left), ("where", .left), ("what", .left)])
    table.hasRemarks = true
    for finding in launch.findings {
      let code: TextStyle.Code? = [.illegal: .red, .open: .red, .doubtful: .yellow][finding.severity] ?? .faint
      table.add(cells: [.init(finding.severity.rawValue, code), .init(finding.place), .init(finding.text)])
    }
    return [style.heading("Findings")] + table.lines(style)
  }

  // MARK: - What would be better

  private func shortfall(_ style: TextStyle) -> [String] {
    guard planned != nil, !fits else { return [] }
    var lines = [style.heading(mayFit ? "To make it fit without offloading" : "To make it fit")]
    guard !repairs.isEmpty || !otherJobs.isEmpty else {
      if !improvements.isEmpty { return [] }
      return lines + style.fit("  No change of one choice was found that makes it fit; try fewer sequences, or devices with more memory.", hanging: 2)
    }
    var table = TextTable([("step", .right), ("devices", .right), ("change", .left)])
    table.hasRemarks = true
    for repair in repairs {
      let mark = repair.isSayable ? "" : " (beyond what \(launch.format.phrase) says)"
      table.add("\(repair.planned.prediction.step)", "\(repair.degrees.devices)", repair.text + mark)
    }
    for repair in otherJobs { table.add("\(repair.step)\(repair.isProven ? "" : " or less")", "\(repair.devices)", "\(words(repair)) (another job)") }
    lines += table.lines(style)
    return lines
  }

  /// Another job in the launch's own words.
  func words(_ repair: Repair) -> String { launch.format.inOwnWords(repair.change) }

  /// How much longer the launch takes than the optimum.
  var distance: Double? {
    guard let planned, let optimum else { return nil }
    return planned.prediction.step / optimum.prediction.step - 1
  }

  private func optimumLines(_ style: TextStyle) -> [String] {
    guard planned != nil else { return [] }
    let title = style.heading("The optimum of the same job and devices")
    guard let optimum else {
      guard let leastMemory, let limit = planned?.prediction.memoryLimit else { return [title, "  was not found in the time (--time-limit)"] }
      let none = mayFit ? "Without offloading there is none" : "There is none"
      return [title] + style.fit("  \(none): the least of any plan is \(leastMemory) on its fullest device, which has \(limit).", hanging: 2)
    }
    let bound = gap.map { ": at most \(percent($0)) from the best possible" } ?? ""
    let proof = isProven ? "proven to be the fastest that fits" : "not proven\(bound) (--time-limit)"
    var lines = [title] + row("step", "\(optimum.prediction.step)   \(rate(optimum.prediction))   \(proof)", style)
    lines += row("memory", "\(optimum.prediction.memory) of \(optimum.prediction.memoryLimit)", style)
    lines += row("plan", optimum.decision.splitText, style)
    lines += row("kept", "\(kernelText(optimum.decision.job.software)): as the launch has them", style)
    guard let distance else { return lines }
    let error = PredictionError(hardware)
    if !fits {
      lines += row("the launch", mayFit ? "may fit, and what offloading costs has no price" : "does not fit", style)
    } else if distance <= 0 {
      lines += row("the launch", isProven ? "is as fast" : "is as fast as the best plan that was found", style)
    } else {
      let within = distance <= error.share
      lines += row(
        "the launch",
        "takes \(percent(distance)) longer, "
          + (within
            ? "which is less than predictions are off (\(percent(error.share)): \(error.source)): it may be as good"
            : "and predictions are off by \(percent(error.share)) (\(error.source))"),
        style)
    }
    return lines
  }

  /// What the search leaves as the launch has it: other kernels are among the changes.
  private func kernelText(_ software: Software) -> String {
    let overlap = software.overlap == .weights ? "weights' messages behind products" : "no messages behind products"
    return
      "\(software.attention.rawValue) attention, \(software.crossEntropy.rawValue) cross-entropy, gradients \(software.gradients.rawValue), \(overlap)"
  }

  private func changeLines(_ style: TextStyle) -> [String] {
    guard let planned, let job else { return [] }
    let step = planned.prediction.step
    let title = style.heading("The smallest change that helps most")
    guard let best = improvements.first else {
      let none = fits ? "  No single change makes it faster." : "  No single change on these devices makes it fit."
      return [title, none + (hasAllChanges ? "" : " Not all were priced in the time (--time-limit).")] + elsewhere(step, style)
    }
    var lines = [title] + style.fit("  \(best.text)", hanging: 4)
    lines += row("step", gain(best, step), style)
    let split = best.degrees.splitText
    if split != job.degrees.splitText { lines += row("split", split, style) }
    if improvements.count > 1 { lines += ["", "  Others, each by itself"] + table(improvements.dropFirst(), step, style) }
    lines += elsewhere(step, style)
    if !hasAllChanges { lines.append("  Not all changes were priced in the time (--time-limit).") }
    return lines
  }

  private func table(_ changes: some Sequence<LaunchChange>, _ step: Seconds, _ style: TextStyle) -> [String] {
    var table = TextTable([("step", .right), ("difference", .right), ("memory", .right), ("change", .left)])
    table.hasRemarks = true
    for change in changes.prefix(Self.mostChanges) {
      let prediction = change.planned.prediction
      table.add("\(prediction.step)", fits ? percent(prediction.step / step - 1) : "", "\(prediction.memory)", change.text)
    }
    return table.lines(style)
  }

  /// What the launch's format has no setting for.
  private func elsewhere(_ step: Seconds, _ style: TextStyle) -> [String] {
    if improvementsElsewhere.isEmpty { return [] }
    return ["", "  Beyond what \(launch.format.phrase) says, as options of tpplan estimate"] + table(improvementsElsewhere, step, style)
  }

  private func gain(_ change: LaunchChange, _ step: Seconds) -> String {
    let prediction = change.planned.prediction
    let memory = ", \(prediction.memory) of \(prediction.memoryLimit)"
    if !fits { return "\(prediction.step)\(memory): fits" }
    let error = PredictionError(hardware)
    let gain = 1 - prediction.step / step
    return "\(prediction.step), \(percent(gain)) less\(memory)" + (gain <= error.share ? "; predictions are off by \(percent(error.share))" : "")
  }
}

extension MegatronDegrees {
  /// `tensor 8, sequence parallel, pipeline 16 of 2 chunks, data 8, ZeRO 1, recompute full, micro-batches of 1`.
  var splitText: String {
    var parts = ["tensor \(tensor)"]
    if isSequenceParallel { parts.append("sequence parallel") }
    let cut = stageLayers.flatMap { layers in pipeline > 1 && layers.contains { $0 != layers[0] } ? " of \(layers.oneByOne) layers" : nil }
    parts.append("pipeline \(pipeline)" + (chunks > 1 ? " of \(chunks) chunks" : "") + (cut ?? ""))
    if pipeline > 1, schedule == .gpipe { parts.append("gpipe") }
    parts.append("data \(data)")
    if context > 1 { parts.append("context \(context)" + (contextWay.map { " by \($0.rawValue)" } ?? "")) }
    if expert > 1 { parts.append("expert \(expert)") }
    if zero != .none { parts.append("ZeRO \(zero.rawValue)") }
    if recompute != .none {
      parts.append("recompute \(recompute.rawValue)" + (recomputedLayers.map { " in \(counted($0, "layer")) of each stage" } ?? ""))
    }
    if let microBatchSize { parts.append("micro-batches of \(microBatchSize)") }
    return parts.joined(separator: ", ")
  }
}

extension String {
  fileprivate func padding(to width: Int) -> String { self + String(repeating: " ", count: max(1, width - count)) }
}
