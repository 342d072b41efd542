// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Planner
import Plans
import Strategies

/// `tpplan estimate`: prices a configuration that a person gives.
struct EstimateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "estimate", abstract: "Price your own tensor, pipeline, data, context and expert parallel degrees.",
    examples: [
      "tpplan estimate models/gpt2.json hardware/dgx-a100.json --tp 4 --dp 2",
      """
      tpplan estimate models/gpt3-175b.json hardware/dgx-a100.json \\
        --tp 8 --pp 16 --dp 8 --micro-batch 1 --sp --recompute selective
      """,
      "tpplan estimate --rows validation/korthikanti2022.json --format text",
    ])

  @Argument(
    help: "A model: native model.json, a Hugging Face config.json, an ONNX file, or a folder that holds a config.json or a model.onnx.",
    completion: .models)
  var model: String?

  @Argument(help: "A hardware file, for example hardware/dgx-a100.json.", completion: .json)
  var hardware: String?

  @Option(
    help: ArgumentHelp(
      "In place of MODEL HW and degrees: price every row of a table of measurements, one JSON object a row (--format text: a table).",
      valueName: "file"), completion: .json)
  var rows: String?

  @Option(
    help: ArgumentHelp(
      "With --rows: the folder of the hardware files that rows name (default: hardware, here, where tpplan was built, or where it is installed).",
      valueName: "folder"), completion: .directory)
  var hardwareFolder: String?

  @OptionGroup(title: "Configuration") var split: ConfigurationOptions
  @OptionGroup var workload: JobOptions

  @Option(
    name: [.short, .customLong("output")], help: ArgumentHelp("Write the configuration as a plan; - is standard output.", valueName: "file"),
    completion: .json)
  var output: String?
  @Option(help: "How results are printed (default: text; with --rows json).")
  var format: OutputFormat?

  func run() throws {
    if let rows {
      try Self.refuseOthers(CommandLine.arguments, beside: rows)
      return try price(rows: rows)
    }
    let files = try files()
    let format = format ?? .text
    let degrees = try split.degrees()
    if let given = workload.step.devices, given != degrees.devices {
      if let stageMeshes = split.stageMeshes {
        throw UsageError("--devices \(given): --stage-meshes \(stageMeshes) has \(degrees.devices); leave --devices out or change a mesh")
      }
      throw UsageError(
        "--devices \(given): \(split.product) is \(degrees.devices); leave --devices out or change a degree")
    }
    try workload.checkTrains(zero: split.zero, recompute: split.recompute)
    if workload.step.batch == .max {
      throw UsageError("--batch max is searched for, by `tpplan search`; estimate prices one batch: give its sequences")
    }
    try files.files(writing: [(output, "--output")]).check()
    if let output { try checkWritable(output) }
    var (request, context) = try workload.request(files, deviceCount: degrees.devices)
    if degrees.data == 1, let shares = workload.software.shares, shares != "even" {
      throw UsageError("--shares \(shares): they are the samples of data replicas; add --dp")
    }
    context.assumptions += degrees.assumptions(request)
    let start = ContinuousClock.now
    let planned = try price(degrees, request)
    try checkSplits(planned.decision)
    let plan = context.plan(planned)
    let summary = PlanSummary(plan: plan, seconds: (ContinuousClock.now - start) / .seconds(1))
    let memory = (least: planned.prediction.memory, limit: planned.prediction.memoryLimit)
    let fits = memory.least <= memory.limit
    if let output, fits { try PlanFile.write(plan, to: output) }
    let written = fits ? output : nil
    if output != "-", format == .text { try printLines(summary.lines + (written.map { ["  plan         \($0)"] } ?? [])) }
    if fits {
      if output != "-", format == .json { try summary.json(output: output).printLine() }
      return
    }
    var infeasibility = Infeasibility(degrees, request, memory)
    infeasibility.explain()
    if output != nil { note("no plan was written") }
    if output != "-", format == .json { try summary.json(output: nil).adding(infeasibility.json).printLine() }
    throw ExitCode(Failure.nothingFits)
  }

  private func files() throws -> ModelAndHardware {
    if hardwareFolder != nil { throw UsageError("--hardware-folder is where the clusters of --rows are; it needs --rows") }
    guard let model, let hardware else {
      throw UsageError("estimate takes MODEL HW, or --rows FILE; \(model == nil ? "neither was given" : "the hardware file is missing")")
    }
    var files = ModelAndHardware()
    (files.model, files.hardware) = (model, hardware)
    return files
  }

  /// - Throws: `UsageError` where a degree splits nothing, so that its devices all do the same.
  private func checkSplits(_ decision: Decision) throws {
    if split.stageMeshes != nil { return }
    for (axis, size) in decision.mesh.enumerated() where size > 1 && decision.assignments.allSatisfy({ $0[axis] == nil }) {
      let (tp, dp, cp, ep) = (split.tp, split.dp, split.cp, split.ep)
      let names = [("--tp", tp), ("--dp", dp), ("--cp", cp), ("--ep", ep)].filter { $0.1 == size }.map { "\($0.0) \(size)" }
      throw UsageError(
        "\(names.joined(separator: " or ")): no operator of the model can be split so, and all \(size) devices would do the same work; choose a smaller degree"
      )
    }
  }

  /// The configuration as it fits, else as if memory had no end.
  private func price(_ degrees: MegatronDegrees, _ request: SearchRequest) throws -> PlanOutcome.Planned {
    guard let planned = try Planner.price(degrees.fix(request)) else { throw try degrees.refusal(request) }
    return planned
  }
}
