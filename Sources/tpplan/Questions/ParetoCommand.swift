// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Planner
import Plans
import Quantities
import Report

/// `tpplan pareto`: step time against memory against devices.
struct ParetoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pareto", abstract: "Show the plans that trade step time, memory and devices best.",
    discussion: """
      Each plan is the fastest on its devices in its memory. No plan of the list has as few devices and as little memory as another and is slower.
      """,
    examples: ["tpplan pareto models/gpt2.json hardware/dgx-a100.json --devices 8 --batch 64"])

  @OptionGroup var options: SearchOptions

  @Option(help: "Numbers of devices to compare, for example 4,8,16 (default: 1, 2, 4, … up to all).")
  var compareDevices: String?

  @Option(parsing: .unconditional, help: "Plans for each number of devices, at most.")
  var points = 5

  @Option(parsing: .unconditional, help: "Each further plan has at most this part of the memory of the one before.")
  var memoryShare = 0.8

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    guard 1...100 ~= points else { throw UsageError("--points \(points): expected 1 to 100") }
    guard memoryShare > 0, memoryShare < 1 else { throw UsageError("--memory-share \(memoryShare): expected a number between 0 and 1") }
    if options.workload.batch == .max { throw UsageError("--batch max compares batches; the front is that of one batch") }
    let (request, context) = try options.request()
    let all = request.cluster.deviceCount
    let devices =
      try compareDevices.map {
        try SearchOptions.numbers($0, separator: ",", option: "--compare-devices", example: "4,8,16").sorted()
      } ?? (0..<63).map { 1 << $0 }.prefix { $0 < all } + [all]
    if let most = devices.last, most > all { throw UsageError("--compare-devices \(most): there are \(all); say more with --devices") }
    let watch = SearchWatch(limit: request.timeLimit)
    defer { watch.end() }
    let frontier = try Frontier(devices: devices, share: memoryShare, most: points, monitor: watch.monitor) { count in
      var request = request
      (request.reversed, request.larger) = (nil, nil)
      request.cluster = try context.hardware.cluster(devices: count)
      return request
    }
    watch.end()
    let tokens = Double(request.batch * (request.sequence ?? 1))
    switch format {
    case .text:
      let title =
        "\(request.graph.name) on up to \(counted(all, "device")) of \(context.hardware.name), batch \(request.batch)"
        + (request.sequence.map { ", sequence \($0)" } ?? "")
      var table = TextTable([
        ("devices", .right), ("memory", .right), ("step", .right), (request.sequence == nil ? "samples/s" : "tokens/s", .right),
        ("per device", .right), ("plan", .left),
      ])
      table.hasRemarks = true
      for point in frontier.points {
        let rate = tokens / point.step.value
        table.add(
          "\(point.devices)", "\(point.memory)", "\(point.step)", abbreviated(rate), abbreviated(rate / Double(point.devices)),
          point.planned.decision.splitText)
      }
      var lines = table.lines(TextStyle.ofStandardOutput)
      for (count, memory) in frontier.tooSmall {
        lines.append("  on \(counted(count, "device")) nothing fits" + (memory.map { ": at least \($0.least) of \($0.limit)" } ?? ""))
      }
      if !frontier.isComplete { lines.append("  cut short: plans may not be the best (--time-limit)") }
      try printLines([title] + lines)
    case .json:
      let points = frontier.points.map { point -> JSON in
        [
          "devices": .int(point.devices), "memory_bytes_per_device": .double(point.memory.value), "step_seconds": .double(point.step.value),
          (request.sequence == nil ? "samples_per_second" : "tokens_per_second"): .double(tokens / point.step.value),
          "plan": .string(point.planned.decision.splitText),
        ]
      }
      let tooSmall = frontier.tooSmall.map { count, memory -> JSON in
        ["devices": .int(count), "least_memory_bytes": memory.map { .double($0.least.value) } ?? .null]
      }
      try (["points": .array(points), "too_small": .array(tooSmall), "is_complete": .bool(frontier.isComplete)] as JSON).printLine()
    }
    if frontier.points.isEmpty { throw ExitCode(Failure.nothingFits) }
  }
}
