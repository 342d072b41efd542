// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Hardware
import Launches
import ModelGraph
import Planner
import Plans

/// `tpplan lint`: what another program's launch is worth.
struct LintCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "lint",
    abstract: "Read a launch of Megatron-LM and others: what is illegal, what it costs, whether it fits, and what would be better.",
    discussion: "Ends with exit code 1 where the launch's program would refuse it, and with 2 where it does not fit the devices' memory.",
    examples: [
      "tpplan estimate models/gpt2.json hardware/dgx-a100.json --tp 2 --dp 4 --sp \\\n  --recompute gathered --batch 32 -o plan.json",
      "tpplan export plan.json --to megatron -o train.sh",
      "tpplan lint train.sh hardware/dgx-a100.json",
    ])

  @Argument(help: "A shell script, a command line or a configuration; - is standard input.")
  var launch: String

  @Argument(help: "A hardware file, for example hardware/dgx-a100.json.")
  var hardware: String

  @Option(
    help: "The model, where the launch does not describe it: native model.json, a Hugging Face config.json, an ONNX file, or a folder that holds one."
  )
  var model: String?

  @Option(help: "megatron, deepspeed, torchtitan, hf-tp-plan or torch, a script of `tpplan export` (default: by what stands in the file).")
  var from: LaunchFormat?

  @Option(
    parsing: .unconditionalSingleValue,
    help: ArgumentHelp("A variable of a shell script, in place of what the script gives it; repeated for several.", valueName: "name=value"))
  var set: [String] = []

  @Option(parsing: .unconditional, help: "Devices in all (default: the launch's).")
  var devices: Int?

  @Option(parsing: .unconditional, help: "Sequences or images in one global batch (default: the launch's).")
  var batch: Int?

  @Option(parsing: .unconditional, help: "Positions in one sequence (default: the launch's).")
  var seq: Int?

  @Option(parsing: .unconditional, help: "Look for the optimum, and for changes, so long each, for example 2m.")
  var timeLimit = "20s"

  @Option(name: [.short, .customLong("output")], help: "Write the launch as a plan; - is standard output.")
  var output: String?

  @Option(help: "text or json.")
  var format: OutputFormat = .text

  func validate() throws {
    for (name, value) in [("--devices", devices), ("--batch", batch), ("--seq", seq)] {
      if let value, !(1...1_000_000_000).contains(value) { throw ValidationError("\(name) \(value): expected a number from 1 to 1000000000") }
    }
  }

  /// The values of `--set`.
  private func values() throws -> [String: String] {
    var values: [String: String] = [:]
    for setting in set {
      guard let equals = setting.firstIndex(of: "="), equals > setting.startIndex else {
        throw UsageError("--set \(setting): expected NAME=VALUE, for example --set TP=4")
      }
      values[String(setting[..<equals])] = String(setting[setting.index(after: equals)...])
    }
    return values
  }

  func run() throws {
    var files = CommandFiles()
    files.reads(launch, as: "LAUNCH")
    files.reads(hardware, as: "HW")
    files.reads(model.flatMap { try? ModelReader.file(of: $0) }, as: "--model")
    files.writes(output, as: "--output")
    try files.check()
    if let output { try checkWritable(output) }
    let seconds = try SearchOptions.seconds(timeLimit)
    let hardware = try readHardware()
    let given = try model.map { try ModelReader.read($0) }
    var report = LintReport(try read(given?.graph), hardware: hardware, file: launch)
    if let open = report.open {
      report.leaveOpen(open)
    } else if let graph = given?.graph ?? report.launch.graph {
      report.isModelGiven = given != nil
      try report.price(graph, devices: devices, batch: batch, sequence: seq)
      try report.improve(seconds: seconds)
    }
    if let output, let plan = report.plan(modelSHA256: given?.sha256), report.fits { try PlanFile.write(plan, to: output) }
    let written = report.fits ? output : nil
    if output != "-" {
      switch format {
      case .text: try printLines(report.lines(TextStyle.ofStandardOutput) + (written.map { ["", "  plan         \($0)"] } ?? []))
      case .json: try report.json(output: written).printLine()
      }
    }
    if output != nil, written == nil { note("no plan was written") }
    if report.isIllegal { throw ExitCode(Failure.verificationFailed) }
    if report.job == nil {
      throw UsageError(report.obstacle ?? report.launch.graphObstacle ?? "the launch does not say what model it trains; name it with --model")
    }
    if !report.fits, !report.mayFit { throw ExitCode(Failure.nothingFits) }
  }

  /// - Throws: `UsageError` where the two files stand in each other's place.
  private func readHardware() throws -> HardwareFile {
    do {
      return try HardwareFile(readingFrom: hardware)
    } catch let error as DocumentError {
      if launch != "-", (try? HardwareFile(readingFrom: launch)) != nil { throw UsageError("\(launch) is a hardware file; the order is LAUNCH HW") }
      throw error
    }
  }

  private func read(_ model: Graph?) throws -> Launch {
    let bytes = try readFile(launch, limit: 1 << 24)
    let name = launch == "-" ? "standard input" : launch
    if let value = try? Document(file: name, parsing: bytes).root.value, let kind = DocumentKind(of: value), kind != .model {
      let advice = kind == .plan ? "; `tpplan export` writes one from it" : ""
      throw LaunchError(file: name, "is \(kind.phrase), and no launch of another program\(advice)")
    }
    guard let format = from ?? LaunchFormat(recognising: String(decoding: bytes, as: UTF8.self)) else {
      throw LaunchError(
        file: name,
        "is no launch that is known: a command line of Megatron-LM, a DeepSpeed, torchtitan or Hugging Face configuration, a script of `tpplan export`"
          + " (--from)")
    }
    if !set.isEmpty, format != .megatron { throw UsageError("--set gives variables of shell scripts, and \(name) is \(format.phrase)") }
    let values = try values()
    try check(values, in: String(decoding: bytes, as: UTF8.self), name)
    return try format.read(bytes, file: name, model: model, values: values)
  }

  /// A value of what the script does not have would change nothing.
  private func check(_ values: [String: String], in script: String, _ name: String) throws {
    let names = Set(script.split { $0 != "_" && !$0.isLetter && !$0.isNumber }.map(String.init))
    for variable in values.keys.sorted() where !names.contains(variable) {
      let hint = nearestSpelling(to: variable, among: names.filter { $0.first?.isNumber == false }.sorted()).map { "; did you mean \($0)?" } ?? ""
      throw UsageError("--set \(variable)=\(values[variable]!): \(name) has no variable \(variable)\(hint)")
    }
  }
}

extension LaunchFormat: ExpressibleByArgument {}
