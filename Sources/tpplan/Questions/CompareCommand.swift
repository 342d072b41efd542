// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation
import Hardware
import Planner
import Plans
import Quantities
import Strategies

/// `tpplan compare`: the best plan beside those that people choose without a search.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Compare the best plan with the obvious ones.",
    discussion: """
      Example: tpplan compare models/gpt2.json hardware/dgx-a100.json --devices 8 --batch 64
      The obvious ones are data parallelism, FSDP, tensor parallelism, a pipeline and Megatron's rule, each with the best of its micro-batches.
      """)

  @OptionGroup var options: SearchOptions

  @Flag(name: .customLong("run"), help: "Run all of them on this machine, in turn, and print what they take.")
  var runsAll = false

  @Option(parsing: .unconditional, help: "With --run: steps of each.")
  var steps = 5

  @Option(help: "text or json.")
  var format: OutputFormat = .text

  func validate() throws {
    if steps < 3 { throw ValidationError("--steps \(steps): at least 3, since the first two warm up") }
  }

  func run() throws {
    if options.workload.batch == .max { throw UsageError("--batch max compares batches; compare takes one") }
    let (request, context) = try options.request()
    let watch = SearchWatch(limit: request.timeLimit)
    defer { watch.end() }
    let outcome = try Planner.search(request, watch.monitor)
    guard case .planned(let best) = outcome else {
      watch.end()
      note("tpplan: no plan was found, so there is nothing to compare; `tpplan search` says why")
      throw ExitCode(Failure.nothingFits)
    }
    var bare = request
    (bare.reversed, bare.larger) = (nil, nil)
    bare.constraints = []
    let known = try KnownPlan.Rule.allCases.map { try KnownPlan($0, for: bare) }
    watch.end()
    let measured = runsAll ? try measure([best] + known.compactMap(\.planned), context) : []
    var comparison = Comparison(best: best, known: known, error: PredictionError(context.hardware))
    comparison.measured = measured
    switch format {
    case .text:
      let title =
        "\(request.graph.name) on \(counted(request.cluster.deviceCount, "device")) of \(context.hardware.name), batch \(request.batch)"
        + (request.sequence.map { ", sequence \($0)" } ?? "")
      try printLines(([title] + comparison.lines(TextStyle.ofStandardOutput)))
    case .json: try comparison.json.printLine()
    }
  }

  /// The median step of each plan, run one after the other.
  private func measure(_ plans: [PlanOutcome.Planned], _ context: PlanContext) throws -> [Seconds] {
    let folder = FileManager.default.temporaryDirectory.appending(path: "tpplan-compare-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try plans.enumerated().map { number, planned in
      let file = folder.appending(path: "\(number).json").path
      try PlanFile.write(context.plan(planned), to: file)
      let process = Process()
      process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
      process.arguments = ["run", file, "--steps", "\(steps)", "--format", "json"]
      let output = Pipe()
      process.standardOutput = output
      try process.run()
      let bytes = try output.fileHandleForReading.readToEnd() ?? Data()
      process.waitUntilExit()
      guard process.terminationStatus == 0 else {
        throw Failure(code: process.terminationStatus, "running \(planned.decision.splitText) ended with exit code \(process.terminationStatus)")
      }
      let object = try Document(file: "run", parsing: Array(bytes)).root
      guard case .object(let members) = object.value, case .double(let seconds)? = members["median_step_seconds"] else {
        throw Failure(code: Failure.internal, "a run printed no median_step_seconds")
      }
      return Seconds(seconds)
    }
  }
}

/// How far predicted steps lie from measured ones.
struct PredictionError {
  /// As a part of a step.
  let share: Double
  let source: String

  /// Of a machine that `calibrate` measured, 95 % of the plans in Benchmarks/local/results.md; of others the mean error of Megatron's, vTrain's and Ultra-Scale's measured
  /// steps (Documentation/accuracy.md).
  init(_ hardware: HardwareFile) {
    (share, source) = hardware.calibration != nil ? (0.053, "95 % of plans on a calibrated machine") : (0.08, "mean of published measurements")
  }
}

/// The optimum beside known plans.
struct Comparison {
  let best: PlanOutcome.Planned
  let known: [KnownPlan]
  let error: PredictionError
  /// Of the best, then of the known plans that there are; empty where nothing was run.
  var measured: [Seconds] = []

  private typealias Row = (name: String, planned: PlanOutcome.Planned?, obstacle: String, measured: Seconds?)

  private var rows: [Row] {
    var rest = measured[...]
    let first: Row = ("the best", best, "", rest.popFirst())
    return [first] + known.map { ($0.rule.rawValue, $0.planned, $0.obstacle ?? "", $0.planned == nil ? nil : rest.popFirst()) }
  }

  /// The fastest of the known plans.
  private var nearest: (name: String, ratio: Double)? {
    known.compactMap { plan in plan.planned.map { (plan.rule.rawValue, $0.prediction.step / best.prediction.step) } }.min { $0.1 < $1.1 }
  }

  func lines(_ style: TextStyle) -> [String] {
    var table = TextTable([
      ("", .left), ("step", .right), ("of the best", .right), ("memory", .right), ("measured", .right), ("of the best", .right), ("plan", .left),
    ])
    table.hasRemarks = true
    for row in rows {
      guard let planned = row.planned else {
        table.add(row.name, "-", "", "", "", "", row.obstacle)
        continue
      }
      table.add(
        row.name, "\(planned.prediction.step)", "\(rounded(planned.prediction.step / best.prediction.step))", "\(planned.prediction.memory)",
        row.measured.map { "\($0)" } ?? "", row.measured.flatMap { own in measured.first.map { "\(rounded(own / $0))" } } ?? "",
        planned.decision.splitText)
    }
    var lines = table.lines(style)
    if best.certificate.status != .optimal { lines.append("  The best is the best found in the time, not proven (--time-limit).") }
    if let nearest {
      lines.append(
        nearest.ratio - 1 <= error.share
          ? "  \(nearest.name) is \(percent(nearest.ratio - 1)) slower, which is less than predictions are off (\(percent(error.share)): \(error.source)): it may be as good"
          : "  the nearest, \(nearest.name), is \(percent(nearest.ratio - 1)) slower; predictions are off by \(percent(error.share)) (\(error.source))"
      )
    } else {
      lines.append("  None of the others fits.")
    }
    return lines
  }

  var json: JSON {
    let all = rows.map { row -> JSON in
      var object = JSON.Object([("name", .string(row.name))])
      if let planned = row.planned {
        object["step_seconds"] = .double(planned.prediction.step.value)
        object["memory_bytes_per_device"] = .double(planned.prediction.memory.value)
        object["plan"] = .string(planned.decision.splitText)
        object["measured_step_seconds"] = row.measured.map { .double($0.value) }
      } else {
        object["obstacle"] = .string(row.obstacle)
      }
      return .object(object)
    }
    return [
      "plans": .array(all), "status": .string(best.certificate.status.rawValue), "prediction_error": .double(error.share),
      "nearest": nearest.map { .string($0.name) } ?? .null, "is_within_error": .bool(nearest.map { $0.ratio - 1 <= error.share } ?? false),
    ]
  }
}
