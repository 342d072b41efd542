// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Plans
import Report

struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect", abstract: "Show what a plan does, layer by layer, and why.",
    discussion: """
      Without an option: the mesh and its devices, the stages, every operator's strategy and layouts, every collective with its reason, \
      memory per device, and what is proven. --layer shows what the strategies cost that an operator does not have; --rank the program of \
      one rank. On a terminal it is coloured, unless NO_COLOR is set, and as wide as that; elsewhere it is plain and has 80 columns. COLUMNS says \
      otherwise.
      """,
    examples: [
      "tpplan inspect plans/gpt2-dgx-a100-8.json",
      """
      tpplan inspect plans/gpt2-dgx-a100-8.json \\
        --layer 'transformer.h.{i}.mlp.c_fc'
      """,
      "tpplan inspect plans/gpt2-dgx-a100-8.json --rank 3",
    ])

  @Argument(help: "A plan that `tpplan search` wrote; - is standard input.", completion: .json)
  var plan: String

  @Option(
    help: ArgumentHelp(
      "Compare every strategy of this operator: its name as printed, or with a copy's index in place of {i}.", valueName: "operator"),
    completion: .operators)
  var layer: String?

  @Option(parsing: .unconditional, help: "Print the program of this rank.")
  var rank: Int?

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "With --layer: end the comparison after this time, for example 2m, and say which strategies it was too short for (default: 30s).",
      valueName: "time"))
  var timeLimit: String?

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func validate() throws {
    if layer != nil && rank != nil { throw ValidationError("--layer and --rank ask for different things; give one of them") }
    if timeLimit != nil && layer == nil { throw ValidationError("--time-limit is for the comparison that --layer asks for") }
  }

  func run() throws {
    let plan = try PlanFile.read(plan)
    let style = TextStyle.ofStandardOutput
    if let layer {
      let seconds = try timeLimit.map(SearchOptions.seconds) ?? LayerReport.usualSeconds
      let watch = ProgressWatch()
      let start = ContinuousClock.now
      let report = try LayerReport(plan, layer: layer, seconds: seconds, stop: watch.stop) { known, count in
        let passed = Int((ContinuousClock.now - start) / .seconds(1))
        watch.show("comparing strategies, \(passed) s: \(known) of \(count) known (Ctrl-C: those known so far)")
      }
      watch.end()
      try emit(text: report.lines(style), json: report.json)
    } else if let rank {
      let report = try ProgramReport(plan, option: rank)
      try emit(text: report.lines(style), json: report.json)
    } else {
      let report = try PlanReport(plan)
      try emit(text: report.lines(style), json: report.json)
    }
  }

  private func emit(text: @autoclosure () -> [String], json: @autoclosure () -> JSON) throws {
    switch format {
    case .text: try printLines(text())
    case .json: try json().printLine()
    }
  }
}
