// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import ModelGraph
import Plans
import Quantities

/// What a run of a plan is to do and to report.
package struct RunRequest {
  package var decision: Decision
  /// Steps of this run, after those that a checkpoint has.
  package var steps = 1
  package var hyperparameters: Hyperparameters
  package var parameters: ParameterValues
  package var inputs: StepInputs
  /// Whether rank 0 collects the model's outputs in the first step.
  package var collectsOutputs = false
  /// Whether rank 0 collects the parameters' gradients in the first step.
  package var collectsGradients = false
  /// Whether rank 0 collects the parameters after the last step.
  package var collectsParameters = false
  /// The same model and job on one rank, to compare the first step with.
  package var verification: Decision?
  /// Where checkpoints are written: after each `every`th step of the training, and after the last.
  package var checkpoints: (writer: CheckpointWriter, every: Int?)?
  /// Whether rank 0 says after each step what it gave.
  package var tellsSteps = false
  /// The number of the run's first step; a forward pass does not go on with a training.
  package var firstStep: Int { decision.job.mode == .train ? parameters.stepsDone : 0 }
  package var faults: FaultInjection?
  /// Whether the last step is recorded, instruction by instruction.
  package var recordsLastStep = false

  /// - Parameters:
  ///   - decision: with the mode that is to be run: a plan for training can also be run forward.
  package init(_ decision: Decision, hyperparameters: Hyperparameters, parameters: ParameterValues, inputs: StepInputs) {
    self.decision = decision
    self.hyperparameters = hyperparameters
    self.parameters = parameters
    self.inputs = inputs
  }
}

/// A whole tensor with its name in files.
package struct NamedArray: Sendable, Equatable {
  package let name: String
  package let shape: [Int]
  /// Row-major.
  package internal(set) var values: [Float]
}

/// What a run measured; the same on every rank but for `outputs`, `gradients`, `parameters`, `verification` and `records`, which rank 0 has.
package struct RunReport: Sendable {
  /// The number of the first step: those before it were done in earlier runs.
  package internal(set) var firstStep = 0
  /// For each step, the longest time of a rank, from a barrier to its own end of the step.
  package internal(set) var stepSeconds: [Double] = []
  /// For each step the part of its time in which the rank that had least of a core had one: ranks that wait for each other keep theirs, so that
  /// what is missing went to other processes, or to other ranks where there are more than cores.
  package internal(set) var coreShares: [Double] = []
  /// The loss in each step, before its update; nil where the model has no loss or no label counts.
  package internal(set) var losses: [Double?] = []
  /// For each rank, the most memory that its process has had resident (VmHWM), and the most that its buffers, parameters and optimizer state
  /// have taken. In a run that is verified the former is that of the first step, whose results are all kept, before the reference is run.
  package internal(set) var peakResidentBytes: [Int] = []
  package internal(set) var peakBufferBytes: [Int] = []
  /// For each rank, memory of blocks for which the arena had no place: kept for longer than planned, or sent and not received in time.
  package internal(set) var bytesOutsideArena: [Int] = []
  /// For each rank where its time went, the median of each part over the steps that count.
  package internal(set) var parts: [StepParts] = []
  /// For each rank, what it sent in the first step, and what its program says that it sends, by the routes of that step where tokens go to experts.
  package internal(set) var traffic: [Traffic] = []
  package internal(set) var expectedTraffic: [Traffic] = []
  /// By their Hugging Face names.
  package internal(set) var outputs: [NamedArray] = []
  /// As the checkpoint's tensors.
  package internal(set) var gradients: [NamedArray] = []
  package internal(set) var parameters: [NamedArray] = []
  package internal(set) var verification: VerificationReport?
  /// For each rank the last step, on rank 0 of a run that records it.
  package internal(set) var records: [StepRecord] = []

  /// The steps whose times count: all but the first two, which are warm-up, where there are more.
  package var timedSteps: Range<Int> { (stepSeconds.count > 2 ? 2 : 0)..<stepSeconds.count }

  /// The median over the steps that count.
  package var medianStepSeconds: Double { stepSeconds[timedSteps].median ?? 0 }
}

/// One rank's side of a run.
package struct Run {
  private let request: RunRequest
  private let world: Communicator
  private let executor: Executor
  /// Of rank 0, where checkpoints are written.
  private let lock: CheckpointLock?

  /// Collective over `world`.
  /// - Throws: as `Executor.init`; `cannotWrite` where another run writes checkpoints to the same folder.
  package init(_ request: RunRequest, world: Communicator) throws(ExecutionError) {
    var request = request
    request.decision = request.decision.asExecuted
    request.verification = request.verification?.asExecuted
    self.request = request
    self.world = world
    lock = world.rank == 0 ? try request.checkpoints?.writer.lock() : nil
    executor = try Executor(
      request.decision, world: world, hyperparameters: request.hyperparameters, parameters: request.parameters, inputs: request.inputs,
      faults: request.faults)
  }

  /// Carries out the steps. Collective.
  /// - Throws: `lossNotFinite`, on a rank that counts the loss; what a step throws.
  package func carryOut() throws(ExecutionError) -> RunReport {
    var report = RunReport()
    report.firstStep = request.firstStep
    var own = Measurements()
    let clock = ContinuousClock()
    let recorder = request.recordsLastStep ? executor.recorder() : nil
    for step in 0..<request.steps {
      let retention: Executor.Retention =
        step > 0 ? .nothing : request.verification != nil || request.collectsGradients ? .everything : request.collectsOutputs ? .outputs : .nothing
      try world.barrier()
      // No rank has come here with a loss that is not finite: what the parameters were before the last step is good.
      let proven = report.firstStep + step - 1
      if isSaved(after: proven, isLast: false) { removeOld(upTo: proven) }
      let before = world.ledger.traffic
      let (start, processorStart) = (clock.now, MonotonicClock.threadSeconds)
      let loss = try executor.step(retaining: retention, recorder: step == request.steps - 1 ? recorder : nil)
      // A sum over ranks is finite where each rank's addend is: no rank has to ask the others.
      if !loss.isFinite { throw notFinite(loss, step: report.firstStep + step) }
      own.seconds.append((clock.now - start) / .seconds(1))
      own.processorSeconds.append(MonotonicClock.threadSeconds - processorStart)
      own.losses.append(loss)
      own.parts.append(executor.parts)
      if step == 0 {
        own.traffic = world.ledger.traffic.since(before)
        // What rank 0 needs for the reference beside its part is no part of the plan.
        if request.verification != nil { own.peakResidentBytes = ProcessMemory.peakResidentBytes }
        try collect(into: &report)
      }
      try tell(report.firstStep + step, loss: loss, seconds: own.seconds[step])
      let (done, isLast) = (report.firstStep + step + 1, step == request.steps - 1)
      if isSaved(after: done, isLast: isLast) { try save(after: done) }
      if isLast { removeOld(upTo: done) }
    }
    (own.peakBufferBytes, own.bytesOutsideArena) = (executor.peakBytes, executor.bytesOutsideArena)
    if request.verification == nil { own.peakResidentBytes = ProcessMemory.peakResidentBytes }
    try merge(own, into: &report)
    if request.collectsParameters {
      report.parameters = try TensorGathering(executor: executor).checkpointParameters()
    }
    if let recorder { report.records = try StepRecord.gather(recorder.recorded, over: world) }
    return report
  }

  private var hasLoss: Bool { request.decision.graph.loss != nil && request.inputs.countedLabels > 0 }

  private func tell(_ step: Int, loss: Double, seconds: Double) throws(ExecutionError) {
    guard request.tellsSteps else { return }
    let total = try world.sum(loss)
    guard world.rank == 0 else { return }
    let trains = request.decision.job.mode == .train
    let report = StepReport(
      step: step, of: request.firstStep + request.steps, loss: hasLoss ? total : nil,
      learningRate: trains ? request.hyperparameters.learningRate.value(at: step) : nil, gradientNorm: executor.gradientNorm, seconds: seconds,
      tokensPerSecond: request.inputs.tokensPerStep > request.inputs.batch ? Double(request.inputs.tokensPerStep) / seconds : nil)
    RankReport.step(json: report.json.canonicalText).write()
  }

  private func isSaved(after steps: Int, isLast: Bool) -> Bool {
    guard let every = request.checkpoints?.every else { return isLast && request.checkpoints != nil }
    return isLast || steps % every == 0
  }

  private func save(after steps: Int) throws(ExecutionError) {
    guard let writer = request.checkpoints?.writer else { return }
    let start = MonotonicClock.now
    let path = try writer.write(executor, tokens: request.inputs.tokensTaken(afterSteps: executor.stepsCarriedOut))
    guard request.tellsSteps, world.rank == 0 else { return }
    RankReport.step(json: CheckpointReport(path: path, step: steps, seconds: MonotonicClock.now - start).json.canonicalText).write()
  }

  private func removeOld(upTo steps: Int) { if world.rank == 0 { request.checkpoints?.writer.removeOld(upTo: steps) } }

  /// - Parameter step: whose parameters a checkpoint may hold, as they were before it.
  private func notFinite(_ loss: Double, step: Int) -> ExecutionError {
    var holders = request.checkpoints.map { [CheckpointFolders.path(ofStep: step, in: $0.writer.folder)] } ?? []
    if step == request.firstStep, case .resumed(let checkpoint) = request.parameters { holders.append(checkpoint.folder) }
    let holder = holders.first(where: CheckpointFolders.isComplete)
    return .lossNotFinite(step: step, loss: loss, checkpoint: holder, before: holder.flatMap { CheckpointFolders.last(before: step, beside: $0) })
  }

  private func collect(into report: inout RunReport) throws(ExecutionError) {
    let gathering = TensorGathering(executor: executor)
    if request.collectsOutputs { report.outputs = try gathering.outputs() }
    if request.collectsGradients, request.decision.job.mode == .train { report.gradients = try gathering.checkpointGradients() }
    if let reference = request.verification { report.verification = try verify(gathering, against: reference) }
  }

  private func verify(_ distributed: TensorGathering, against reference: Decision) throws(ExecutionError) -> VerificationReport? {
    // Every rank takes part in the split; only rank 0 has something to do in its group of one.
    let alone = try world.split(color: world.rank, key: 0)
    var verification = Verification(distributed: distributed)
    var single = try self.single(reference, alone, following: nil)
    try verification.compareResults(with: single)
    if reference.job.mode == .train {
      if reference.graph.hasKinks {
        // One reference after the other, so that there is memory for one.
        single = nil
        single = try self.single(reference, alone, following: Following(distributed: distributed, decision: reference))
      }
      try verification.compareGradients(with: single)
    }
    return world.rank == 0 ? verification.report : nil
  }

  /// A step of the reference on rank 0. Collective where it follows the run.
  private func single(_ reference: Decision, _ alone: Communicator, following: Following?) throws(ExecutionError) -> TensorGathering? {
    guard world.rank == 0 else {
      try following?.takePart()
      return nil
    }
    let executor = try Executor(
      reference, world: alone, hyperparameters: request.hyperparameters, parameters: request.parameters, inputs: request.inputs)
    executor.following = following
    _ = try executor.step(retaining: following == nil ? .everything : .nothing)
    return TensorGathering(executor: executor)
  }

  private var hasExperts: Bool { request.decision.graph.axes.contains { $0.slots != nil } }

  /// Brings every rank's measurements to every rank.
  private func merge(_ own: Measurements, into report: inout RunReport) throws(ExecutionError) {
    // Every rank of the run takes part, also where its stage has no experts.
    let routes = hasExperts ? try ChosenRoutes(executor.routes, of: request.decision.graph, world: world) : nil
    let all = try world.shareNumbers(own.numbers + executor.program.expectedTraffic(routes: routes).numbers)
    let ranks = all.map { Measurements($0, steps: request.steps) }
    report.stepSeconds = (0..<request.steps).map { step in ranks.map { $0.seconds[step] }.max() ?? 0 }
    report.coreShares = (0..<request.steps).map { step in
      ranks.map { min(1, $0.processorSeconds[step] / max($0.seconds[step], 1e-9)) }.min() ?? 1
    }
    report.losses = (0..<request.steps).map { step in hasLoss ? ranks.reduce(0) { $0 + $1.losses[step] } : nil }
    report.traffic = ranks.map(\.traffic)
    report.expectedTraffic = all.map { Traffic($0.suffix(Traffic.numberCount)) }
    report.peakResidentBytes = ranks.map(\.peakResidentBytes)
    report.peakBufferBytes = ranks.map(\.peakBufferBytes)
    report.bytesOutsideArena = ranks.map(\.bytesOutsideArena)
    let timed = report.timedSteps
    report.parts = ranks.map { StepParts(medianOf: Array($0.parts[timed])) }
  }
}

extension TensorGathering {
  /// The model's outputs, from the step that retained them; empty on ranks other than 0.
  func outputs() throws(ExecutionError) -> [NamedArray] {
    var arrays: [NamedArray] = []
    let graph = decision.graph
    for output in graph.outputs {
      guard let site = graph.site(producing: output.tensor), let whole = try result(of: site) else { continue }
      arrays.append(NamedArray(name: output.name, shape: whole.shape, values: whole.values))
    }
    return arrays
  }
}
