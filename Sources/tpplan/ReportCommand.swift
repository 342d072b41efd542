// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Plans
import Report

struct ReportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "report", abstract: "Write a page that shows what a plan is and where its time and memory go.",
    discussion: """
      The page stands alone: it has no script and asks for nothing from a network. It shows the cluster with the mesh on it, the stages, each block's \
      operators by how they are split with the collectives between them, memory by part and over time, the pipeline's time line, where the step's \
      time goes, what single choices are worth, and the certificate; each picture is there in words and numbers too. Equal plans give equal bytes.
      """,
    examples: ["tpplan report plans/gpt2-dgx-a100-8.json -o report.html"])

  @Argument(help: "A plan that `tpplan search` wrote; - is standard input.", completion: .json)
  var plan: String

  @Option(
    name: [.short, .customLong("output")], help: ArgumentHelp("Where the page goes; - is standard output.", valueName: "file"),
    completion: .file(extensions: ["html"]))
  var output = "report.html"

  @Option(help: "How it is said where the page is.")
  var format: OutputFormat = .text

  func run() throws {
    var files = CommandFiles()
    files.reads(self.plan, as: "PLAN")
    files.writes(output, as: "--output")
    try files.check()
    let plan = try PlanFile.read(plan)
    try checkWritable(output)
    let bytes = try ReportPage(plan).bytes
    try atomicWrite(bytes, to: output)
    if output == "-" { return }
    switch format {
    case .text: try printLines(["\(output): \(plan.decision.graph.name) on \(plan.hardware.name), \((bytes.count + 1023) / 1024) KiB"])
    case .json: try JSON.object(JSON.Object([("output", .string(output)), ("bytes", .int(bytes.count))])).printLine()
    }
  }
}
