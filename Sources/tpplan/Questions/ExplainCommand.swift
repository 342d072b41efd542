// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import ModelGraph
import Plans

/// `tpplan explain`: why a plan is as it is.
struct ExplainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain", abstract: "Show what every other choice would make of the whole step.",
    discussion: """
      Each alternative is searched with that one choice forced. Of the whole plan: devices, stages, mesh, schedule, micro-batches, ZeRO and recompute, all else \
      free. Of an operator, or each operator of a layer: its strategies, with everything around the operators as in the plan. Of a stage: a layer more or less.
      """,
    examples: [
      "tpplan explain plans/mlp-dgx-a100-4.json",
      "tpplan explain plans/gpt2-dgx-a100-8.json 'transformer.h.{i}.mlp.c_fc'",
    ])

  @Argument(help: "A plan; - is standard input.", completion: .json)
  var plan: String

  @Argument(
    help: "An operator, or the beginning of names with {i} or a copy's index; \"layer 3\", \"head\", \"stage 2\" (default: the whole plan).",
    completion: .operators)
  var name: String?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp("End the comparison after this time, for example 2m, and say which alternatives it was too short for.", valueName: "time"))
  var timeLimit = "30s"

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    let plan = try PlanFile.read(plan)
    let style = TextStyle.ofStandardOutput
    let seconds = try SearchOptions.seconds(timeLimit)
    let watch = ProgressWatch()
    defer { watch.end() }
    let start = ContinuousClock.now
    let progress: @Sendable (Int, Int) -> Void = { known, count in
      let passed = Int((ContinuousClock.now - start) / .seconds(1))
      watch.show("comparing, \(passed) s: \(known) of \(count) known (Ctrl-C: those known so far)")
    }
    func show(_ lines: [String], _ json: JSON) throws {
      watch.end()
      switch format {
      case .text: try printLines(lines)
      case .json: try json.printLine()
      }
    }
    guard let name else {
      let report = try PlanAlternatives(plan, seconds: seconds, stop: watch.stop, progress: progress)
      return try show(report.lines(style), report.json)
    }
    if let stage = Self.number(of: "stage", in: name) {
      let report = try StageAlternatives(plan, stage: stage, seconds: seconds, stop: watch.stop, progress: progress)
      return try show(report.lines(style), report.json)
    }
    if !plan.decision.graph.hasOperator(named: name),
      let report = try BlockReport(plan, name: name, seconds: seconds, stop: watch.stop, progress: progress)
    {
      return try show(report.lines(style), report.json)
    }
    if Self.number(of: "layer", in: name) != nil {
      let graph = plan.decision.graph
      let last = graph.segments.indices.filter { graph.holdsLayers($0) }.map { graph.copies(of: $0).upperBound - 1 }.max()
      throw UsageError("\(name): \(graph.name) has " + (last.map { "layers 0 to \($0)" } ?? "no layers that repeat"))
    }
    let report = try LayerReport(plan, layer: name, seconds: seconds, stop: watch.stop, progress: progress)
    try show(report.lines(style), report.json)
  }

  /// The number in `stage 2` or `stage:2`.
  static func number(of part: String, in name: String) -> Int? {
    guard name.hasPrefix(part), let mark = name.dropFirst(part.count).first, " :".contains(mark) else { return nil }
    return Int(name.dropFirst(part.count + 1))
  }
}
