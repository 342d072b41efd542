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
    discussion: """
      Examples: tpplan estimate models/gpt3-175b.json hardware/dgx-a100.json --tp 8 --pp 16 --dp 8 --micro-batch 1 --sp
      tpplan estimate --rows validation/korthikanti2022.json
      """)

  @Argument(help: "A model: native model.json, a Hugging Face config.json, or a folder that holds one.")
  var model: String?

  @Argument(help: "A hardware file, for example hardware/dgx-a100.json.")
  var hardware: String?

  @Option(help: "In place of MODEL HW and degrees: price every row of a table of measurements, one JSON object a row (--format text: a table).")
  var rows: String?

  @Option(help: "With --rows: the folder of the hardware files that rows name (default: hardware, here or where tpplan was built).")
  var hardwareFolder: String?

  @OptionGroup var workload: JobOptions

  @Option(parsing: .unconditional, help: "Tensor-parallel degree.")
  var tp = 1
  @Option(parsing: .unconditional, help: "Pipeline stages.")
  var pp = 1
  @Option(parsing: .unconditional, help: "Data-parallel replicas.")
  var dp = 1
  @Option(parsing: .unconditional, help: "Context-parallel degree: so many devices share out each sequence.")
  var cp = 1
  @Option(
    help:
      "How attention shares out a sequence: gather (of all keys and values), ring (they travel around), or ulysses (all-to-all to heads); default: the cheapest."
  )
  var cpWay: ContextWay?
  @Option(parsing: .unconditional, help: "Expert-parallel degree: so many of the data replicas share out each layer's experts.")
  var ep = 1
  @Flag(help: "Split the sequence between tensor-parallel regions (Megatron's sequence parallelism).")
  var sp = false

  @Option(parsing: .unconditional, help: "ZeRO stage of the weights that several replicas hold: 0, 1, 2 or 3 (FSDP).")
  var zero = 0

  @Option(
    help:
      "What every layer does again in its backward pass: none, elementwise (norms, activation functions and products of elements), gathered (what was gathered is kept split, as Megatron-LM's sequence parallelism does), selective (attention), selective+gathered or full."
  )
  var recompute: Recompute = .none

  @Option(
    parsing: .unconditional,
    help: "So many layers of each stage (of several chunks, of each chunk) compute that again, the others nothing (default: all).")
  var recomputeLayers: Int?

  @Option(parsing: .unconditional, help: "Sequences per micro-batch and data replica (default: 1 with several stages, else all that a replica has).")
  var microBatch: Int?
  @Option(help: "gpipe, 1f1b (the default) or interleaved, which needs --vpp.")
  var schedule: Schedule.Kind?
  @Option(parsing: .unconditional, help: "Chunks of the model on each stage (virtual pipeline stages), for the interleaved schedule.")
  var vpp = 1
  @Option(
    help:
      "Layers on each stage, for example 11,13,8, or 0 for the embedding or the head alone; with several chunks, on each chunk in the model's order.")
  var stages: String?
  @Option(help: "Each stage's data-parallel and tensor-parallel degree, for example 2x4,1x8, in place of --pp, --dp and --tp.")
  var stageMeshes: String?

  @Option(name: [.short, .customLong("output")], help: "Write the configuration as a plan; - is standard output.")
  var output: String?
  @Option(help: "text or json (default: text; with --rows json).")
  var format: OutputFormat?

  func run() throws {
    if let rows {
      try Self.refuseOthers(CommandLine.arguments, beside: rows)
      return try price(rows: rows)
    }
    let files = try files()
    let format = format ?? .text
    let degrees = try degrees()
    if let given = workload.devices, given != degrees.devices {
      if let stageMeshes {
        throw UsageError("--devices \(given): --stage-meshes \(stageMeshes) has \(degrees.devices); leave --devices out or change a mesh")
      }
      throw UsageError(
        "--devices \(given): --tp \(tp) × --pp \(pp) × --dp \(dp) × --cp \(cp) is \(degrees.devices); leave --devices out or change a degree")
    }
    try workload.checkTrains(zero: zero, recompute: recompute)
    if workload.batch == .max { throw UsageError("--batch max is searched for, by `tpplan search`; estimate prices one batch: give its sequences") }
    try files.files(writing: [(output, "--output")]).check()
    if let output { try checkWritable(output) }
    var (request, context) = try workload.request(files, deviceCount: degrees.devices)
    if degrees.data == 1, let shares = workload.shares, shares != "even" {
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

  /// The degrees that the options name.
  private func degrees() throws -> MegatronDegrees {
    let given = [("--tp", tp), ("--pp", pp), ("--dp", dp), ("--cp", cp), ("--ep", ep), ("--vpp", vpp)]
    for (name, value) in given where !(1...1_048_576).contains(value) {
      throw UsageError("\(name) \(value): expected a number from 1 to 1048576")
    }
    if let microBatch, !(1...1_000_000_000).contains(microBatch) {
      throw UsageError("--micro-batch \(microBatch): expected a number from 1 to 1000000000")
    }
    if sp && tp == 1 && stageMeshes == nil { throw UsageError("--sp splits the sequence over tensor-parallel ranks; it needs --tp of at least 2") }
    var degrees = MegatronDegrees()
    (degrees.tensor, degrees.pipeline, degrees.data) = (tp, pp, dp)
    if cpWay != nil && cp == 1 { throw UsageError("--cp-way says how a sequence is shared out; it needs --cp of at least 2") }
    (degrees.context, degrees.contextWay) = (cp, cpWay)
    degrees.expert = ep
    degrees.isSequenceParallel = sp
    degrees.recompute = recompute
    degrees.recomputedLayers = try SearchOptions.recomputedLayers(recomputeLayers, recompute)
    degrees.zero = try SearchOptions.zeroStage(zero)
    degrees.microBatchSize = microBatch
    if schedule == .interleaved, vpp == 1 { throw UsageError("--schedule interleaved needs the number of chunks on each stage, for example --vpp 2") }
    degrees.schedule = schedule ?? (vpp > 1 ? .interleaved : .oneForwardOneBackward)
    degrees.chunks = vpp
    try addStageMeshes(to: &degrees)
    degrees.stageLayers = try stages.map { try SearchOptions.numbers($0, separator: ",", option: "--stages", example: "11,13,8", atLeast: 0) }
    return degrees
  }

  /// - Throws: `UsageError` where a mesh is no pair of degrees, or a degree is given twice.
  private func addStageMeshes(to degrees: inout MegatronDegrees) throws {
    guard let stageMeshes else { return }
    let meshes = try SearchOptions.meshes(stageMeshes)
    guard meshes.allSatisfy({ $0.count == 2 && $0.allSatisfy { $0 <= 1_048_576 } }) else {
      throw UsageError("--stage-meshes \(stageMeshes): expected the data-parallel and the tensor-parallel degree of each stage, for example 2x4,1x8")
    }
    for (name, value) in [("--tp", tp), ("--pp", pp), ("--dp", dp), ("--cp", cp), ("--ep", ep), ("--vpp", vpp)] where value > 1 {
      throw UsageError("--stage-meshes \(stageMeshes): \(name) \(value) is that of all stages; leave one of the two out")
    }
    if meshes.reduce(0, { min($0, 1 << 20) + $1.reduce(1, *) }) > 1 << 20 {
      throw UsageError("--stage-meshes \(stageMeshes): the stages have more than 1048576 devices together")
    }
    degrees.stageMeshes = meshes
    (degrees.pipeline, degrees.data, degrees.tensor) = (meshes.count, meshes[0][0], meshes[0][1])
  }

  /// - Throws: `UsageError` where a degree splits nothing, so that its devices all do the same.
  private func checkSplits(_ decision: Decision) throws {
    if stageMeshes != nil { return }
    for (axis, size) in decision.mesh.enumerated() where size > 1 && decision.assignments.allSatisfy({ $0[axis] == nil }) {
      let names = [("--tp", tp), ("--dp", dp), ("--cp", cp), ("--ep", ep)].filter { $0.1 == size }.map { "\($0.0) \(size)" }
      throw UsageError(
        "\(names.joined(separator: " or ")): no operator of the model can be split so, and all \(size) devices would do the same work; choose a smaller degree"
      )
    }
  }

  /// The configuration as it fits, else as if memory had no end.
  private func price(_ degrees: MegatronDegrees, _ request: SearchRequest) throws -> PlanOutcome.Planned {
    var fixed = try degrees.fix(request)
    for ignoresMemoryLimit in [false, true] {
      fixed.ignoresMemoryLimit = ignoresMemoryLimit
      if case .planned(let planned) = try Planner.search(fixed) { return planned }
    }
    throw UsageError(
      try degrees.obstacle(request)
        ?? "no split of all operators has these degrees: what neighbours need of one another's results does not go together")
  }
}
