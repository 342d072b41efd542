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

/// `tpplan compare`: the best plan beside those that people choose without a search.
struct CompareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Compare the best plan with the obvious ones.",
    discussion: """
      The obvious ones are data parallelism, FSDP, tensor parallelism, a pipeline and Megatron's rule, each with the best of its micro-batches.
      """,
    examples: ["tpplan compare models/gpt2.json hardware/dgx-a100.json --devices 8 --batch 64"])

  @OptionGroup var options: SearchOptions

  @Flag(name: .customLong("run"), help: "Run all of them on this machine, in turn, and print what they take.")
  var runsAll = false

  @Option(parsing: .unconditional, help: "With --run: steps of each.")
  var steps = 5

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func validate() throws {
    if steps < 3 { throw ValidationError("--steps \(steps): at least 3, since the first two warm up") }
  }

  func run() throws {
    if runsAll { try Verbs.requireExecution() }
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
  private func measure(_ plans: [PlanOutcome.Planned], _ context: PlanContext) throws -> [Comparison.Measured] {
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
      var shares: [Double] = []
      if case .array(let values)? = members["step_core_share"] {
        // The first two steps warm up.
        shares = values.dropFirst(2).compactMap { if case .double(let share) = $0 { share } else { nil } }
      }
      return Comparison.Measured(step: Seconds(seconds), coreShare: shares.sorted().dropFirst(shares.count / 2).first)
    }
  }
}
