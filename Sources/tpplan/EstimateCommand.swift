// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Planner
import Plans
import Strategies

/// `tpplan estimate`: prices a configuration that a person gives.
struct EstimateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "estimate", abstract: "Price your own tensor, pipeline and data parallel degrees.",
    discussion: "Example: tpplan estimate models/gpt3-175b.json hardware/dgx-a100.json --tp 8 --pp 16 --dp 8 --micro-batch 1 --sp")

  @OptionGroup var workload: WorkloadOptions

  @Option(help: "Tensor-parallel degree.")
  var tp = 1
  @Option(help: "Pipeline stages.")
  var pp = 1
  @Option(help: "Data-parallel replicas.")
  var dp = 1
  @Flag(help: "Split the sequence between tensor-parallel regions (Megatron's sequence parallelism).")
  var sp = false

  @Option(help: "Sequences per micro-batch and data replica.")
  var microBatch: Int?
  @Option(help: "gpipe or 1f1b.")
  var schedule: Schedule = .oneForwardOneBackward
  @Option(help: "Layers on each stage, for example 11,13,8.")
  var stages: String?

  @Option(name: [.short, .customLong("output")], help: "Write the configuration as a plan; - is standard output.")
  var output: String?
  @Option(help: "text or json.")
  var format: OutputFormat = .text

  func run() throws {
    for (name, value) in [("--tp", tp), ("--pp", pp), ("--dp", dp)] where !(1...1_048_576).contains(value) {
      throw UsageError("\(name) \(value): expected a number from 1 to 1048576")
    }
    if sp && tp == 1 { throw UsageError("--sp splits the sequence over tensor-parallel ranks; it needs --tp of at least 2") }
    let devices = tp * pp * dp
    if let given = workload.devices, given != devices { throw UsageError("--devices \(given): --tp \(tp) × --pp \(pp) × --dp \(dp) is \(devices)") }
    var (request, context) = try workload.request(deviceCount: devices)
    let perStep = (microBatch ?? 1) * dp
    if microBatch != nil || pp > 1 {
      guard request.batch % perStep == 0 else {
        throw UsageError(
          "a batch of \(request.batch) is not a whole number of micro-batches of \(microBatch ?? 1) × \(dp) replicas; change --batch or --micro-batch"
        )
      }
      request.microBatches = request.batch / perStep
    } else {
      guard request.batch % dp == 0 else {
        throw UsageError("a batch of \(request.batch) does not divide over \(dp) replicas; change --batch or --dp")
      }
      request.microBatches = 1
    }
    let (mesh, form) = MegatronForm.mesh(request.graph, data: dp, tensor: tp, isSequenceParallel: sp)
    request.mesh = mesh
    request.form = form
    request.pipelineDegree = pp
    request.schedule = schedule
    request.stageLayers = try stages.map { try SearchCommand.numbers($0, separator: ",", option: "--stages", example: "11,13,8") }
    if request.stageLayers == nil { request.stageLayers = try Planner.evenStages(request, stages: pp) }
    request.ignoresMemoryLimit = true

    let start = ContinuousClock.now
    guard case .planned(let planned) = try Planner.search(request) else {
      throw Failure(
        code: Failure.nothingFits,
        "no such split exists: --tp \(tp) must not exceed the heads, the MLP's width or the vocabulary\(sp ? ", nor the sequence" : ""), and --dp \(dp) not the sequences of a micro-batch"
      )
    }
    let plan = context.plan(planned)
    let summary = PlanSummary(plan: plan, seconds: (ContinuousClock.now - start) / .seconds(1))
    let short = planned.prediction.memory - planned.prediction.memoryLimit
    let fits = short.value <= 0
    if let output, fits { try PlanFile.write(plan, to: output) }
    if output != "-" {
      switch format {
      case .text:
        summary.printText()
        if let output, fits { print("  plan         \(output)") }
      case .json: summary.json.printLine()
      }
    }
    if !fits {
      throw Failure(
        code: Failure.nothingFits, "the configuration does not fit: a device lacks \(short)\(output == nil ? "" : "; no plan was written")")
    }
  }
}
