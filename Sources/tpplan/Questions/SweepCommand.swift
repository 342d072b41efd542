// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation
import Hardware
import Planner
import Plans
import Quantities
import Report
import Strategies

/// `tpplan sweep`: the best plan along a range of one number, and where it changes.
struct SweepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sweep", abstract: "Show how the best plan changes with a number of the hardware or the job.",
    discussion: """
      Of a number of the hardware file the points at which the best plan changes are found to 0.01 %; of the batch, the sequence and the devices each value is searched.
      """,
    examples: [
      """
      tpplan sweep models/gpt2.json hardware/dgx-a100.json --devices 8 \\
        --vary nvlink.bandwidth_GBps=50..900
      """,
      """
      tpplan sweep models/gpt2.json hardware/dgx-a100.json --devices 8 \\
        --vary batch=64..512
      """,
    ])

  @OptionGroup var options: SearchOptions

  @Option(
    help: ArgumentHelp(
      "WHAT=LOW..HIGH, or WHAT=A,B,C.",
      discussion:
        "WHAT is a number of the hardware file (nvlink.bandwidth_GBps of a level, a100-80.memory_GiB of a kind of device), or batch, seq or devices, whose range "
        + "is gone through by doubling."))
  var vary: String

  @Option(parsing: .unconditional, help: "Points of a range at which is searched whatever is found.")
  var points = 5

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    let variation = try Variation(vary, points: points)
    if options.workload.batch == .max { throw UsageError("--batch max compares batches itself; sweep takes one batch, or --vary batch=…") }
    switch variation.subject {
    case .job(let quantity): try sweepJob(quantity, variation)
    case .hardware(let name): try sweepHardware(name, variation)
    }
  }

  // MARK: - Hardware

  private func sweepHardware(_ name: String, _ variation: Variation) throws {
    var (request, context) = try options.request()
    (request.reversed, request.larger) = (nil, nil)
    guard context.hardware.number(name) != nil else {
      throw UsageError("--vary \(vary): \(HardwareError.noSuchNumber(file: context.hardware.name, name: name, known: context.hardware.numberNames))")
    }
    let devices = request.cluster.deviceCount
    let watch = SearchWatch(limit: request.timeLimit)
    defer { watch.end() }
    let sweep = try Sweep(points: variation.values, monitor: watch.monitor) { [request, hardware = context.hardware] value in
      var request = request
      request.cluster = try hardware.setting(name, to: value).cluster(devices: devices)
      return request
    }
    watch.end()
    let title =
      "\(request.graph.name) on \(counted(devices, "device")) of \(context.hardware.name), \(name) from \(figure(variation.values[0])) to \(figure(variation.values[variation.values.count - 1]))"
    switch format {
    case .text:
      var lines = [title + " (the file says \(figure(context.hardware.number(name) ?? 0)))"]
      var table = TextTable([("from", .right), ("to", .right), ("step", .left), ("memory", .right), ("plan", .left)])
      table.hasRemarks = true
      var last: String?
      for interval in sweep.intervals {
        let planned = interval.plan.map { sweep.plans[$0] }
        let split = planned?.decision.splitText
        // Plans may differ in what these words do not say.
        let words = split.map { $0 == last ? $0 + " (operators split otherwise)" : $0 }
        last = split
        let steps = interval.steps.map { $0.low == $0.high ? "\($0.low)" : "\($0.low) to \($0.high)" } ?? "nothing fits"
        table.add(
          figure(interval.low), figure(interval.high), steps, planned.map { "\($0.prediction.memory)" } ?? "", words ?? "")
      }
      lines += table.lines(TextStyle.ofStandardOutput)
      lines += TextStyle.ofStandardOutput.fit(
        "  \(counted(sweep.searches, "search", plural: "searches")), \(sweep.isComplete ? "all to the end: each plan is the best of its interval" : "cut short: plans may not be the best (--time-limit)")"
      )
      try printLines(lines)
    case .json:
      let intervals = sweep.intervals.map { interval -> JSON in
        var object = JSON.Object([("from", .double(interval.low)), ("to", .double(interval.high))])
        if let plan = interval.plan, let steps = interval.steps {
          object["step_seconds_from"] = .double(steps.low.value)
          object["step_seconds_to"] = .double(steps.high.value)
          object["memory_bytes_per_device"] = .double(sweep.plans[plan].prediction.memory.value)
          object["plan"] = .string(sweep.plans[plan].decision.splitText)
        }
        return .object(object)
      }
      try
        ([
          "vary": .string(name), "intervals": .array(intervals), "flips": .array(sweep.intervals.dropFirst().map { .double($0.low) }),
          "searches": .int(sweep.searches),
          "is_complete": .bool(sweep.isComplete),
        ] as JSON).printLine()
    }
  }

  // MARK: - The job

  private func sweepJob(_ quantity: Variation.Quantity, _ variation: Variation) throws {
    let watch = SearchWatch(limit: try options.timeLimit.map(SearchOptions.seconds))
    defer { watch.end() }
    let seconds = try options.timeLimit.map(SearchOptions.seconds)
    let deadline = seconds.map { ContinuousClock.now + .seconds($0) }
    let values = variation.values.map { Int($0.rounded()) }
    var rows: [(value: Int, outcome: PlanOutcome, count: Double)] = []
    var unit = ""
    for (number, value) in values.enumerated() where !watch.stop.isReached {
      var options = options
      switch quantity {
      case .batch: options.workload.job.step.batch = .sequences(value)
      case .seq: options.workload.job.step.seq = value
      case .devices: options.workload.job.step.devices = value
      }
      let (request, _) = try options.request()
      unit = request.sequence == nil ? "samples" : "tokens"
      // What is left of the time is shared out evenly, so that every value has some.
      let share = deadline.map { max(.zero, $0 - .now) / (values.count - number) }
      let monitor = share.map { watch.monitor(for: $0) } ?? watch.monitor
      rows.append((value, try Planner.search(request, monitor), Double(request.batch * (request.sequence ?? 1))))
    }
    watch.end()
    let isComplete = rows.count == values.count && rows.allSatisfy { $0.outcome.isProven }
    switch format {
    case .text:
      var table = TextTable([
        (quantity.rawValue, .right), ("step", .right), ("\(unit)/s", .right),
        ("memory", .right), ("", .left), ("plan", .left),
      ])
      table.hasRemarks = true
      var last: PlanShape?
      for row in rows {
        guard case .planned(let planned) = row.outcome else {
          table.add("\(row.value)", "", "", "", "", shortfall(row.outcome))
          continue
        }
        let shape = PlanShape(planned.decision)
        let mark = last == nil || last == shape ? "" : "changes"
        last = shape
        table.add(
          "\(row.value)", "\(planned.prediction.step)", abbreviated(row.count / planned.prediction.step.value), "\(planned.prediction.memory)", mark,
          planned.decision.splitText + (planned.certificate.status == .optimal ? "" : " (not proven)"))
      }
      var lines = table.lines(indent: 0, TextStyle.ofStandardOutput)
      let missing = values.dropFirst(rows.count).map(String.init)
      if !missing.isEmpty { lines.append("  not searched: \(missing.joined(separator: ", ")) (the time ended)") }
      if !isComplete { lines.append("  cut short: plans that are not proven may not be the best (--time-limit)") }
      try printLines(lines)
    case .json:
      let all = rows.map { row -> JSON in
        var object = JSON.Object([("value", .int(row.value))])
        if case .planned(let planned) = row.outcome {
          object["step_seconds"] = .double(planned.prediction.step.value)
          object["\(unit)_per_second"] = .double(row.count / planned.prediction.step.value)
          object["memory_bytes_per_device"] = .double(planned.prediction.memory.value)
          object["status"] = .string(planned.certificate.status.rawValue)
          object["plan"] = .string(planned.decision.splitText)
        } else {
          if case .infeasible = row.outcome { object["status"] = "infeasible" } else { object["status"] = "time_limit" }
        }
        return .object(object)
      }
      try (["vary": .string(quantity.rawValue), "rows": .array(all), "is_complete": .bool(isComplete)] as JSON).printLine()
    }
  }

  private func shortfall(_ outcome: PlanOutcome) -> String {
    switch outcome {
    case .infeasible(let infeasible): infeasible.memory.map { "nothing fits: at least \($0.least) of \($0.limit)" } ?? "no plan"
    case .timeLimit, .planned: "no plan in time"
    }
  }
}

extension PlanOutcome {
  /// Whether more time would tell no more.
  fileprivate var isProven: Bool {
    switch self {
    case .planned(let planned): planned.certificate.status == .optimal
    case .infeasible: true
    case .timeLimit: false
    }
  }
}
