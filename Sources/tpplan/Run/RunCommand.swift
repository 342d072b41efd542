// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Execution
import Foundation
import Hardware
import Kernels
import Planner
import Plans
import Quantities
import Strategies
import Traces

/// `tpplan run`: carries a plan out over MPI ranks, one rank for each device.
///
/// The process that a person starts reads the plan and starts `mpirun` with this same command line; each rank then finds itself started by
/// `mpirun`, by that or by a person's own, and runs its program.
struct RunCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run", abstract: "Execute a plan across MPI ranks.",
    examples: [
      "tpplan run plans/mlp-dgx-a100-4.json --steps 3 --verify",
      """
      tpplan run plans/mlp-dgx-a100-4.json --steps 20 \\
        --checkpoint training --every 10
      """,
    ], aliases: ["execute"])

  /// Set for ranks whose steps somebody watches.
  private static let showsSteps = "TPPLAN_SHOWS_STEPS"

  @Argument(help: "A plan.", completion: .json)
  var plan: String

  @Option(
    help: ArgumentHelp(
      "train, forward or generate (default: what the plan is for; a plan for training also runs forward).",
      discussion: "generate goes on from --prompt, the most likely token being the next, with keys and values cached."))
  var mode: RunMode?
  @Option(
    help: ArgumentHelp(
      "Steps, those before a checkpoint that is resumed from included; each takes the same global batch, unless --tokens is given.",
      discussion: "Each step's time and loss are printed. The measured time, which is compared with the predicted one, is the median of the steps "
        + "that count: all of one or two, and of three or more those after the first two, which warm up."))
  var steps = 1
  @Option(
    help: ArgumentHelp(
      "Folder, safetensors file or index, or the ONNX model, to read weights from (default: generated from the seed).", valueName: "path"),
    completion: .file(extensions: ["safetensors", "json", "onnx"]))
  var weights: String?
  @Option(
    help: ArgumentHelp(
      "Inputs as JSON arrays or safetensors: input_ids, attention_mask, token_type_ids, labels, pixel_values (default: generated).",
      valueName: "file"), completion: .file(extensions: ["json", "safetensors"]))
  var inputs: String?
  @Option(
    help: ArgumentHelp("Write the model's outputs to this safetensors file.", valueName: "file"), completion: .file(extensions: ["safetensors"]))
  var outputs: String?
  @Option(
    help: ArgumentHelp(
      "Write a trace of the last step to this file, for Perfetto or chrome://tracing: measured, and as predicted.",
      discussion: "A track for each rank, with its instructions: kernels, collectives, messages, gradient sync and updates. The file is written at "
        + "the end of a run that succeeds.", valueName: "file"), completion: .json)
  var trace: String?
  @Option(parsing: .unconditional, help: "Seed of generated weights and inputs.")
  var seed: UInt64 = 1
  @OptionGroup(title: "Training") var training: TrainingOptions
  @OptionGroup(title: "Generation") var generation: GenerationOptions
  @Flag(help: "Also run the model on one rank, and compare every tensor of the first step, or the logits of every token that is generated.")
  var verify = false
  @Option(help: "BLAS threads per rank.")
  var threads = 1
  @Option(
    help: ArgumentHelp("Open MPI's host file: a line \"HOST slots=N\" for each machine, and a slot for each rank.", valueName: "file"),
    completion: .file())
  var hostfile: String?
  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    if plan == "-" { throw UsageError("run reads the plan once on each rank, so it must be a file, not standard input") }
    if steps < 1 { throw UsageError("--steps \(steps): at least one step is needed") }
    try training.checkValues()
    try generation.checkValues()
    if training.tokens != nil, inputs != nil { throw UsageError("--tokens and --inputs both give the inputs; name one") }
    if training.resume != nil, weights != nil { throw UsageError("--resume and --weights both give the parameters; name one") }
    guard 1...1024 ~= threads else { throw UsageError("--threads \(threads): expected 1 to 1024 threads") }
    for (name, file) in [("trace", trace), ("outputs", outputs), ("save-weights", training.saveWeights)] where file == "-" {
      throw UsageError("--\(name) writes a file beside what is printed; name one")
    }
    if RankEnvironment.isRank {
      try RankEnvironment.prepare(kernel: BLAS.kernelName(), threads: threads)
      BLAS.setThreads(threads)
      let exitCode = { (error: any Error) in Failure(error)?.code ?? Failure.internal }
      let status = try MPIProcess.run(exitCode: exitCode) { process in
        if let bytes = BLAS.reserveMemory(threads: threads) { throw ExecutionError.outOfMemory(bytes: bytes) }
        return try runRank(process)
      }
      throw ExitCode(status)
    }
    // Everything that can be refused is refused before a rank is started.
    let plan = try PlanFile.read(plan)
    let decision = try decision(of: plan)
    try Self.requireVectorInstructions()
    for case let file? in [outputs, trace, training.saveWeights] { try checkWritable(file) }
    let watch = StepWatch()
    let launcher = Launcher(
      ranks: plan.decision.ranks, threadsPerRank: threads, hostfile: hostfile, arguments: Array(CommandLine.arguments.dropFirst()),
      environment: BLASEnvironment.variables(kernel: BLAS.kernelName(), threads: threads) + (watch.isTerminal ? [(Self.showsSteps, "1")] : []))
    try launcher.checkHostfile()
    try checkOptions(decision)
    if mode == .generate {
      let request = try generationRequest(decision)
      try request.check()
      try check(request.parameters, of: decision)
      try request.memory().check(hostfile: hostfile)
    } else {
      try memory(of: decision).check(hostfile: hostfile)
      try checkTraining(decision)
    }
    if format == .text, let remark = BLASEnvironment.remark(kernel: BLAS.kernelName()) { note("tpplan: \(remark)") }
    var results: [UInt8] = []
    let outcome = try launcher.run(output: { results += $0 }, diagnostics: watch.passOn, step: watch.show)
    watch.end()
    training.writer?.removeLock()
    if let message = outcome.message { note("tpplan: \(message)") }
    if outcome.exitCode != 0, let checkpoint = watch.lastCheckpoint, !(outcome.message?.contains(checkpoint) ?? false) {
      // Where a loss was no number, the message says which.
      note("tpplan: --resume \(checkpoint) goes on from the last checkpoint")
    }
    try StandardOutput.write(results)
    // Without the libraries' own ends: OpenBLAS waits there for threads that, where memory is short, look for it for ever.
    _exit(outcome.exitCode)
  }

  /// The plan's decision in the mode that is asked for.
  private func decision(of plan: Plan) throws -> Decision {
    var decision = plan.decision
    guard let mode = mode?.mode, mode != decision.job.mode else { return decision }
    if mode == .train {
      throw UsageError("\(self.plan) is a plan for a forward pass and has no backward pass; search one with --mode train")
    }
    decision.job.mode = .forward
    return decision
  }

  /// Refuses options that have no effect.
  private func checkOptions(_ decision: Decision) throws {
    try training.check(decision)
    guard mode == .generate else {
      if generation.isGiven { throw UsageError("--prompt, --prompts, --new-tokens and --stop have no effect without --mode generate") }
      return
    }
    for (name, isGiven) in [
      ("tokens", training.tokens != nil), ("inputs", inputs != nil), ("outputs", outputs != nil), ("trace", trace != nil), ("steps", steps != 1),
    ]
    where isGiven {
      throw UsageError("--\(name) has no effect with --mode generate")
    }
  }

  private func generationRequest(_ decision: Decision) throws -> GenerationRequest {
    var request = GenerationRequest(
      decision, parameters: try parameters(of: decision), prompts: try generation.texts(), newTokens: generation.newTokens ?? 16)
    request.stop = generation.stop
    request.verifies = verify
    return request
  }

  /// Refuses files and folders that the ranks would fail on.
  private func checkTraining(_ decision: Decision) throws {
    let parameters = try parameters(of: decision)
    try check(parameters, of: decision)
    let inputs = try stepInputs(of: decision, parameters)
    if let text = inputs.tokenFileText { note("tpplan: \(text)") }
    if decision.job.mode == .train, case .resumed(let checkpoint) = parameters {
      if checkpoint.manifest.tokens > 0, training.tokens == nil, self.inputs == nil {
        throw UsageError(
          "--resume \(checkpoint.folder): that training took \(checkpoint.manifest.tokens) tokens of a file, and goes on with what follows; name it with --tokens"
        )
      }
      for change in checkpoint.manifest.changes(to: hyperparameters(of: decision)) {
        note("tpplan: --\(change.before.name) is \(change.now), and was \(change.before.value) in the training that wrote \(checkpoint.folder)")
      }
    }
    // A forward pass does not go on with a training.
    try inputs.checkTokens(steps: decision.job.mode == .train ? steps - parameters.stepsDone : steps)
    try training.writer?.prepare(stepsDone: parameters.stepsDone)
  }

  /// Refuses what would be overwritten, and says what of the weights is left.
  private func check(_ parameters: ParameterValues, of decision: Decision) throws {
    try checkFiles(parameters)
    guard case .checkpoint(let weights) = parameters else { return }
    let unread = weights.unread(by: decision.graph)
    if !unread.isEmpty { note("tpplan: \(weights.path): the model does not read \(counted(unread.count, "tensor")) of it (\(listed(unread)))") }
  }

  private func checkFiles(_ parameters: ParameterValues) throws {
    var files = CommandFiles()
    files.reads(plan, as: "PLAN")
    for file in parameters.files { files.reads(file, as: training.resume != nil ? "--resume" : "--weights") }
    files.reads(training.tokens, as: "--tokens")
    files.reads(inputs, as: "--inputs")
    files.reads(generation.prompts, as: "--prompts")
    files.reads(hostfile, as: "--hostfile")
    files.writes(outputs, as: "--outputs")
    files.writes(trace, as: "--trace")
    files.writes(training.saveWeights, as: "--save-weights")
    files.writes(training.checkpoint, as: "--checkpoint")
    try files.check()
  }

  private func parameters(of decision: Decision) throws -> ParameterValues {
    if let resume = training.resume {
      let checkpoint = try TrainingCheckpoint(path: resume)
      try checkpoint.check(decision.graph)
      if decision.job.mode == .train, checkpoint.manifest.step >= steps {
        throw UsageError(
          "--steps \(steps): the training in \(checkpoint.folder) has \(checkpoint.manifest.step) steps, which count; give more to go on")
      }
      return .resumed(checkpoint)
    }
    return try weights.map { .checkpoint(try Checkpoint(path: $0)) } ?? .generated(seed: seed)
  }

  private func stepInputs(of decision: Decision, _ parameters: ParameterValues) throws -> StepInputs {
    let (graph, batch) = (decision.graph, decision.job.batch)
    if let file = try training.tokenFile(for: decision) {
      // A forward pass does not go on with a training.
      return try StepInputs(
        graph: graph, batch: batch, tokens: file, tokensDone: decision.job.mode == .train ? parameters.tokensDone : 0)
    }
    return try inputs.map { try StepInputs(graph: graph, batch: batch, file: $0, needsLabels: decision.job.mode == .train) }
      ?? StepInputs(graph: graph, batch: batch, seed: seed)
  }

  private func memory(of decision: Decision) -> RunMemory {
    RunMemory(
      decision: decision, hyperparameters: hyperparameters(of: decision), collectsOutputs: outputs != nil,
      verification: verify ? decision.onOneRank() : nil)
  }

  private func hyperparameters(of decision: Decision) -> Hyperparameters {
    training.hyperparameters(of: decision, steps: steps)
  }

  /// The kernels are compiled for AVX2 and FMA.
  static func requireVectorInstructions() throws {
    #if arch(x86_64)
      let flags = BLASEnvironment.processorFlags()
      if !flags.isEmpty, !flags.isSuperset(of: ["avx2", "fma"]) {
        throw Failure(code: Failure.usage, "this processor has no AVX2 and FMA instructions, which the executor's kernels need")
      }
    #endif
  }

  // MARK: - One rank

  private func runRank(_ process: borrowing MPIProcess) throws -> Int32 {
    let plan = try PlanFile.read(plan)
    let decision = try decision(of: plan)
    // Also of ranks that a person's own mpirun has started; rank 0 alone writes.
    if process.rank == 0, let trace { try checkWritable(trace) }
    if mode == .generate { return try generate(decision, process) }
    let parameters = try parameters(of: decision)
    try checkFiles(parameters)
    let stepInputs = try stepInputs(of: decision, parameters)
    var request = RunRequest(
      decision, hyperparameters: hyperparameters(of: decision), parameters: parameters, inputs: stepInputs)
    request.steps = steps - request.firstStep
    request.checkpoints = training.writer.map { ($0, training.every) }
    let isTraining = training.tokens != nil || training.checkpoint != nil || training.resume != nil
    request.tellsSteps = isTraining || steps > 1 && ProcessInfo.processInfo.environment[Self.showsSteps] != nil
    request.collectsOutputs = outputs != nil
    request.collectsParameters = training.saveWeights != nil
    request.recordsLastStep = trace != nil
    if verify { request.verification = decision.onOneRank() }
    let report = try Run(request, world: process.world).carryOut()
    guard process.rank == 0 else { return status(report) }

    if let outputs { try write(report.outputs, to: outputs) }
    if let file = training.saveWeights { try write(report.parameters, to: file) }
    let cluster = try plan.hardware.cluster(devices: decision.ranks)
    let predicted = try Planner.predict(decision, on: cluster)
    let overheads = (0..<decision.ranks).map { cluster.kinds[cluster.kindOfDevice[$0]].processOverhead }
    var text = RunText(
      decision: decision, report: report, predicted: predicted, overheads: overheads, owned: memory(of: decision).ownedBytes(),
      isCalibrated: plan.hardware.calibration != nil, kernel: BLAS.kernelName(), outputs: outputs)
    (text.origins, text.threads) = (origins, threads)
    if let trace, status(report) == 0 {
      let made = try RunTrace(plan, decision, report)
      try made.trace.write(to: trace)
      text.trace = TraceSummary(file: trace, overlap: made.overlap)
    }
    switch format {
    case .text:
      try printLines(text.lines)
    case .json: try text.json.printLine()
    }
    return status(report)
  }

  private func generate(_ decision: Decision, _ process: borrowing MPIProcess) throws -> Int32 {
    let request = try generationRequest(decision)
    let report = try Generation(request, world: process.world).carryOut()
    guard process.rank == 0 else { return 0 }
    let text = GenerationText(
      decision: decision, report: report, prompts: request.prompts.map(\.count), kernel: BLAS.kernelName(), origins: origins)
    switch format {
    case .text: try printLines(text.lines)
    case .json: try text.json.printLine()
    }
    return report.verification?.holds ?? true ? 0 : Failure.verificationFailed
  }

  /// What a person should know who meant to give weights.
  private var origins: [String] {
    weights == nil && training.resume == nil ? ["  weights      generated from seed \(seed); --weights and --resume read them"] : []
  }

  /// The run's exit code. Rank 0 alone has compared; the launcher passes on the highest code of any rank.
  private func status(_ report: RunReport) -> Int32 {
    guard let verification = report.verification else { return 0 }
    return verification.firstDifference == nil && report.traffic == report.expectedTraffic ? 0 : Failure.verificationFailed
  }

  private func write(_ arrays: [NamedArray], to path: String) throws {
    var writer = SafetensorsWriter()
    for array in arrays { writer.add(array.name, shape: array.shape, .float32(array.values)) }
    try writer.write(to: path)
  }
}
