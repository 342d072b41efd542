// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Launches
import Plans
import Traces

/// `tpplan export`: a plan in the words of another program.
struct ExportCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "export", abstract: "Write a plan as another program reads it: a launch, or a trace of its predicted step.",
    discussion: """
      perfetto is a time line for https://ui.perfetto.dev and chrome://tracing. chakra is a folder of MLCommons Chakra execution traces, a file for each \
      rank, which ASTRA-sim replays. The others are launches, which `tpplan lint` reads too. What a target cannot express is refused, by the layer's name.
      """,
    examples: [
      "tpplan estimate models/gpt2.json hardware/dgx-a100.json --tp 2 --dp 4 \\\n  --batch 32 -o plan.json",
      "tpplan export plan.json --to torch -o train.py",
      "tpplan export plan.json --to megatron -o train.sh",
      "tpplan export plan.json --to perfetto -o step.json",
      "tpplan export plan.json --to chakra -o traces",
    ])

  @Argument(help: "A plan that `tpplan search` or `estimate` wrote; - is standard input.")
  var plan: String

  @Option(name: .customLong("to"), help: "torch, megatron, deepspeed, torchtitan, hf-tp-plan, perfetto or chakra.")
  var target: ExportTarget

  @Option(name: [.short, .customLong("output")], help: "Where it goes; - is standard output (default: -; chakra needs a new folder).")
  var output: String?

  @Option(help: "Of perfetto: all ranks, or the first one of each stage (default: all up to 32 ranks, of more the stages).")
  var ranks: PlanTrace.Ranks?

  @Option(
    parsing: .unconditional,
    help: "Of perfetto: the first so many micro-batches show their kernels and collectives (default: as many as are looked at with ease).")
  var microBatches: Int?

  @Option(help: "text or json: how it is said where the output is.")
  var format: OutputFormat = .text

  func validate() throws {
    if ranks != nil, target != .perfetto { throw ValidationError("--ranks is for --to perfetto") }
    if let microBatches {
      if target != .perfetto { throw ValidationError("--micro-batches is for --to perfetto") }
      if microBatches < 0 { throw ValidationError("--micro-batches \(microBatches): expected a number, or 0 for passes alone") }
    }
  }

  func run() throws {
    let output = try checkedOutput()
    let plan = try PlanFile.read(plan)
    do {
      let written = try write(plan, to: output)
      if output != "-" { try tell(written, of: plan, in: output) }
    } catch let error as Inexpressible {
      throw Failure(error, target: target.rawValue)
    }
  }

  private func checkedOutput() throws -> String {
    guard let output = output ?? (target.isFolder ? nil : "-"), !target.isFolder || output != "-" else {
      throw UsageError("--to \(target.rawValue) writes a folder of files; name a new one with -o")
    }
    var files = CommandFiles()
    files.reads(plan, as: "PLAN")
    files.writes(output, as: "--output")
    try files.check()
    if target.isFolder { try checkFolderWritable(output) } else { try checkWritable(output) }
    return output
  }

  private func tell(_ written: Written, of plan: Plan, in output: String) throws {
    switch format {
    case .text:
      let files = written.files > 1 ? "\(written.files) files, " : ""
      try printLines([
        "\(output): \(plan.decision.graph.name) on \(plan.hardware.name) for \(target.rawValue), \(files)\((written.bytes + 1023) / 1024) KiB"
      ])
    case .json:
      try JSON.object(
        JSON.Object([
          ("bytes", .int(written.bytes)), ("files", .int(written.files)), ("output", .string(output)), ("target", .string(target.rawValue)),
        ])
      ).printLine()
    }
  }
}

/// A program that a plan is written for.
enum ExportTarget: String, ExpressibleByArgument, CaseIterable {
  case torch
  case megatron
  case deepspeed
  case torchtitan
  case huggingFace = "hf-tp-plan"
  case perfetto
  case chakra

  var isFolder: Bool { self == .chakra }
}

extension PlanTrace.Ranks: ExpressibleByArgument {}

// MARK: - What is written

extension ExportCommand {
  private typealias Written = (files: Int, bytes: Int)

  /// - Throws: `Inexpressible`, `DocumentError`.
  private func write(_ plan: Plan, to output: String) throws -> Written {
    switch target {
    case .torch: try writeLaunch(TorchScript.exporting(plan), .torch, plan, output)
    case .megatron: try writeLaunch(MegatronLaunch.exporting(plan), .megatron, plan, output)
    case .deepspeed: try writeLaunch(DeepSpeedLaunch.exporting(plan), .deepspeed, plan, output)
    case .torchtitan: try writeLaunch(TorchtitanLaunch.exporting(plan), .torchtitan, plan, output)
    case .huggingFace: try writeLaunch(HuggingFacePlan.exporting(plan), .huggingFace, plan, output)
    case .perfetto: try writeFile(timeline(of: plan), output)
    case .chakra: try writeTraces(of: plan, output)
    }
  }

  /// What cannot be read back is refused before anything is written.
  private func writeLaunch(_ text: String, _ format: LaunchFormat, _ plan: Plan, _ output: String) throws -> Written {
    let decision = plan.decision
    let launch = try format.read(Array(text.utf8), file: output, model: decision.graph)
    let software = try launch.settled(on: decision.ranks, batch: decision.job.batch).software
    let written = try writeFile(text.utf8, output)
    // The split is the same; what a program does behind its products, or in which format it sums, is its own.
    let (own, priced) = (software.remarks, decision.job.software.remarks)
    if own != priced {
      func list(_ remarks: [String]) -> String { remarks.isEmpty ? "none of that" : remarks.joined(separator: ", ") }
      note("tpplan: \(format.title) works with \(list(own)); the plan was priced with \(list(priced)), and lint prices what is written")
    }
    return written
  }

  private func writeFile(_ contents: some Sequence<UInt8>, _ output: String) throws -> Written {
    let bytes = Array(contents)
    try atomicWrite(bytes, to: output)
    return (1, bytes.count)
  }

  private func writeTraces(of plan: Plan, _ output: String) throws -> Written {
    var trace = try ChakraTrace(plan)
    return (plan.decision.ranks + 1, try trace.write(to: output))
  }

  private func timeline(of plan: Plan) throws -> [UInt8] {
    let trace = try PlanTrace(plan, ranks: ranks ?? .usual(plan.decision), detailed: microBatches)
    let (decision, job) = (plan.decision, plan.decision.job)
    if ranks == nil, trace.ranks.count < decision.ranks {
      note("tpplan: of \(decision.ranks) ranks the first one of each stage is shown, which the others do as it does; --ranks all shows them all")
    }
    if microBatches == nil, trace.microBatches < job.microBatches {
      note(
        "tpplan: of \(job.microBatches) micro-batches the first \(trace.microBatches) show their kernels and collectives; "
          + "--micro-batches \(job.microBatches) shows all")
    }
    return trace.trace.json.canonicalBytes
  }
}
