// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Planner
import Plans
import Quantities
import Report

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report", abstract: "Write a page that shows what a plan is and where its time and memory go.",
    discussion: """
      The page stands alone: it has no script and asks for nothing from a network. It shows the cluster with the mesh on it, the stages, each block's \
      operators by how they are split with the collectives between them, memory by part and over time, the pipeline's time line, where the step's \
      time goes, what single choices are worth, and the certificate; each picture is there in words and numbers too. Equal plans give equal bytes. \
      With --explain it also has, as `tpplan explain` does, the best plan with each other choice.
      """,
    examples: [
      "tpplan report plans/gpt2-dgx-a100-8.json -o report.html",
      "tpplan report plans/mlp-dgx-a100-4.json --explain -o report.html",
    ])

  @Argument(help: "A plan that `tpplan search` wrote; - is standard input.", completion: .json)
  var plan: String

  @Option(
    name: [.short, .customLong("output")], help: ArgumentHelp("Where the page goes; - is standard output.", valueName: "file"),
    completion: .file(extensions: ["html"]))
  var output = "report.html"

  @Flag(help: "Search the best plan with each other choice too, as tpplan explain does.")
  var explain = false

  @Option(
    parsing: .unconditional,
    help: ArgumentHelp(
      "With --explain, end the comparison after this time (default: 30s), and say which alternatives it was too short for.", valueName: "time"))
  var timeLimit: String?

  @Option(help: "How it is said where the page is.")
  var format: OutputFormat = .text

  func run() throws {
    var files = CommandFiles()
    files.reads(self.plan, as: "PLAN")
    files.writes(output, as: "--output")
    try files.check()
    if timeLimit != nil && !explain { throw UsageError("--time-limit is for --explain, which is not given") }
    let plan = try PlanFile.read(plan)
    try checkWritable(output)
    let searched = explain ? try SearchedAlternatives(plan, timeLimit: timeLimit ?? "30s") : nil
    let bytes = try ReportPage(plan, searched: searched, program: Verbs.program).bytes
    try atomicWrite(bytes, to: output)
    if output == "-" { return }
    switch format {
    case .text: try printLines(["\(output): \(plan.decision.graph.name) on \(plan.hardware.name), \((bytes.count + 1023) / 1024) KiB"])
    case .json: try JSON.object(JSON.Object([("output", .string(output)), ("bytes", .int(bytes.count))])).printLine()
    }
  }
}

extension SearchedAlternatives {
  /// Searches with each other choice, and shows on a terminal how far it is.
  fileprivate init(_ plan: Plan, timeLimit: String) throws {
    let seconds = try SearchOptions.seconds(timeLimit)
    let watch = ProgressWatch()
    defer { watch.end() }
    let found = try PlanAlternatives(plan, seconds: seconds, stop: watch.stop) { known, count in
      watch.show("comparing: \(known) of \(count) known (Ctrl-C: those known so far)")
    }
    let choices = try found.chosen.map { own in
      let others = Alternative.sortedByResult(found.alternatives.filter { $0.choice.dimension == own.dimension })
      return Choice(
        name: own.dimension.rawValue, own: own.value,
        others: try others.map { item in
          let prediction = try item.decision.map { try Planner.predict($0, on: plan.hardware.cluster(devices: $0.ranks)) }
          return Value(name: item.choice.value, prediction: prediction, plan: item.decision?.splitText ?? "", note: item.result.remark)
        })
    }
    self.init(choices: choices, remarks: Alternative.unfinishedLines(found.alternatives).map { $0.trimmingPrefix { $0 == " " } }.map(String.init))
  }
}

extension AlternativeResult {
  /// What a step beside the plan's does not say.
  fileprivate var remark: String {
    switch self {
    case .step(_, let isProven): isProven ? "" : "or less: not finished in the time given"
    case .atLeast(let time): obstacle + (time > .zero ? "; at least \(time)" : "")
    case .tooMuchMemory, .noCommonLayout, .impossible: obstacle
    }
  }
}
