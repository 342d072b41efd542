// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Hardware
import ModelGraph
import ONNXFormat
import Planner
import Plans
import Quantities
import Strategies

/// The two files of a request.
struct ModelAndHardware: ParsableArguments {
  @Argument(
    help: "A model: native model.json, a Hugging Face config.json, an ONNX file, or a folder that holds a config.json or a model.onnx.",
    completion: .models)
  var model: String

  @Argument(help: "A hardware file, for example hardware/dgx-a100.json.", completion: .json)
  var hardware: String

  /// Both, and what is written.
  func files(writing outputs: [(path: String?, use: String)]) -> CommandFiles {
    var files = CommandFiles()
    // A folder that holds no model is refused when it is read.
    files.reads((try? ModelReader.file(of: model)) ?? model, as: "MODEL")
    files.reads(hardware, as: "HW")
    for output in outputs { files.writes(output.path, as: output.use) }
    return files
  }

  /// Both files. Each that is given in the other's place is recognised.
  func read() throws -> (model: (graph: Graph, sha256: String, defaults: [String]), hardware: HardwareFile) {
    do {
      return (try ModelReader.read(model), try readHardware())
    } catch DocumentError.wrongKind(let file, let found, let expected) where found != .plan {
      throw UsageError("\(DocumentError.wrongKind(file: file, found: found, expected: expected)); the order is MODEL HW")
    }
  }

  private func readHardware() throws -> HardwareFile {
    do {
      return try HardwareFile(readingFrom: hardware)
    } catch DocumentError.syntax where ONNXFile.isONNX(hardware) {
      throw DocumentError.wrongKind(file: hardware, found: .model, expected: .hardware)
    }
  }
}

/// A model, hardware, and what a step does.
struct WorkloadOptions: ParsableArguments {
  @OptionGroup var files: ModelAndHardware
  @OptionGroup var job: JobOptions

  var batch: BatchOption? { job.step.batch }

  /// - Throws: as `JobOptions.request`.
  func request(deviceCount: Int? = nil) throws -> (request: SearchRequest, context: PlanContext) {
    try job.request(files, deviceCount: deviceCount)
  }
}

/// Options that say what a step does, and how; `search` and `estimate` share them.
struct JobOptions: ParsableArguments {
  @OptionGroup(title: "Job") var step: StepOptions
  @OptionGroup(title: "Software") var software: SoftwareOptions

  /// The request without any choice made, and what a plan needs besides.
  ///
  /// - Throws: `UsageError`, and the errors of reading the two files.
  func request(_ files: ModelAndHardware, deviceCount: Int? = nil) throws -> (request: SearchRequest, context: PlanContext) {
    let ((graph, modelSHA256, leftOut), file) = try files.read()
    // A configuration by hand that leaves out a width has the library's, which is another model's.
    var assumptions = leftOut.isEmpty ? [] : ["\(leftOut.joined(separator: ", ")): the model's file leaves out, and transformers assumes so"]
    if let devices = step.devices, devices < 1 { throw UsageError("--devices \(devices): at least one device is needed") }
    let cluster = try file.cluster(devices: deviceCount ?? step.devices)
    // The first device's, unless others lack it.
    let kinds = Set(cluster.kindOfDevice).sorted().map { cluster.kinds[$0] }
    let defaults = kinds.map(\.defaultPrecision)
    var precision = defaults.first { usual in kinds.allSatisfy { $0.peaks.contains { $0.precision == usual } } } ?? defaults[0]
    if let dtype = step.dtype {
      guard let known = Precision(rawValue: dtype), Precision.forPlans.contains(known) else {
        throw UsageError("--dtype \(dtype): known are \(Precision.forPlans.map(\.rawValue).joined(separator: ", "))")
      }
      precision = known
    }
    var given: Int?
    if case .sequences(let count) = step.batch { given = count }
    let sequences = given ?? graph.workload.batch ?? cluster.deviceCount
    if step.batch == nil && graph.workload.batch == nil { assumptions.append("batch \(sequences): one sequence per device (--batch)") }
    if !(1...1_000_000_000).contains(sequences) { throw UsageError("--batch \(sequences): expected a number from 1 to 1000000000") }
    var length: Int?
    if graph.choosesSequence {
      guard let chosen = step.seq ?? graph.workload.sequence ?? graph.maximumSequence else {
        throw UsageError("the model names no sequence length; give one with --seq")
      }
      if chosen < 1 { throw UsageError("--seq \(chosen): at least one position is needed") }
      if let most = graph.maximumSequence, chosen > most {
        throw UsageError("--seq \(chosen): the model has \(counted(most, "position")), or attention with a window of so many")
      }
      if step.seq == nil && graph.workload.sequence == nil { assumptions.append("sequence \(chosen): the model's longest (--seq)") }
      length = chosen
    } else if let seq = step.seq {
      throw UsageError("--seq \(seq): the model \(graph.name) has a fixed number of positions")
    }
    if step.mode == .train && graph.loss == nil {
      throw UsageError("the model \(graph.name) has no loss, so it cannot be trained; plan it with --mode forward")
    }
    var request = SearchRequest(
      graph: graph, cluster: cluster, batch: sequences, sequence: length, precision: precision, mode: step.mode, optimizer: step.optimizer)
    try checkEffect(graph, precision)
    request.isZigzag = !software.contiguous
    (request.software.attention, request.software.crossEntropy) = (software.attention, software.crossEntropy)
    request.software.updates = software.updates
    (request.software.gradients, request.software.overlap, request.software.boundaries) = (software.gradients, software.overlap, software.boundaries)
    request.shares = try software.shares.map {
      $0 == "even" ? [] : try SearchOptions.numbers($0, separator: ",", option: "--shares", example: "5,5,3,3, or even")
    }
    if step.batch == .max, let shares = software.shares, shares != "even" {
      throw UsageError("--shares \(shares): they are of one micro-batch; with --batch max leave them out, then give those of the batch")
    }
    if let ranks = file.calibration?.ranks, cluster.deviceCount > ranks {
      assumptions.append("collectives of more than \(counted(ranks, "rank")), which is what was calibrated, follow the same latency and bandwidth")
    }
    let reversed = file.reversed(devices: cluster.deviceCount)
    request.reversed = try reversed?.cluster(devices: cluster.deviceCount)
    request.larger = { try? file.cluster(devices: $0) }
    return (
      request, PlanContext(hardware: file, reversed: reversed, devices: cluster.deviceCount, modelSHA256: modelSHA256, assumptions: assumptions)
    )
  }
}

extension JobOptions {
  /// - Throws: `UsageError` where an option says of something how it is done that is not done.
  private func checkEffect(_ graph: Graph, _ precision: Precision) throws {
    func refuse(_ option: String, _ why: String) throws { throw UsageError("\(option): \(why); leave it out") }
    let (mode, updates, gradients) = (step.mode, software.updates, software.gradients)
    if updates != .afterBackward, mode == .forward { try refuse("--updates \(updates.rawValue)", "a forward pass updates nothing") }
    if gradients != .accumulated {
      if mode == .forward { try refuse("--gradients \(gradients.rawValue)", "a forward pass has no gradients") }
      if precision == .fp32 { try refuse("--gradients \(gradients.rawValue)", "training in fp32 has gradients in fp32 alone") }
    }
    if software.attention == .unfused, !graph.operators.contains(where: { if case .attention = $0.kind { true } else { false } }) {
      try refuse("--attention unfused", "the model \(graph.name) has no attention")
    }
    if software.crossEntropy == .unfused {
      if !graph.operators.contains(where: { if case .crossEntropy = $0.kind { true } else { false } }) {
        try refuse("--cross-entropy unfused", "the model \(graph.name) has no cross-entropy")
      }
      if precision == .fp32 { try refuse("--cross-entropy unfused", "in fp32 there is no copy of the logits in another format") }
    }
  }

  /// - Throws: `UsageError` where an option is of training, and nothing is trained.
  func checkTrains(zero: Int?, recompute: Recompute?) throws {
    guard step.mode == .forward else { return }
    if let zero, zero > 0 { throw UsageError("--zero \(zero): a forward pass has no gradients or optimizer to share out; leave it out") }
    if let recompute, recompute != .none {
      throw UsageError("--recompute \(recompute.rawValue): a forward pass keeps nothing to be computed again; leave it out")
    }
  }
}

/// The global batch: a number, or the one with the most tokens per second.
enum BatchOption: ExpressibleByArgument, Hashable {
  case sequences(Int)
  case max

  init?(argument: String) {
    if argument == "max" {
      self = .max
    } else if let count = Int(argument) {
      self = .sequences(count)
    } else {
      return nil
    }
  }

  var defaultValueDescription: String {
    switch self {
    case .sequences(let count): String(count)
    case .max: "max"
    }
  }
}

/// What a plan holds besides the search's answer.
struct PlanContext {
  let hardware: HardwareFile
  /// With its kinds of devices in reverse order.
  let reversed: HardwareFile?
  /// As many as the plan may use.
  let devices: Int
  let modelSHA256: String
  var assumptions: [String]

  func plan(_ planned: PlanOutcome.Planned) -> Plan {
    Plan(
      decision: planned.decision, prediction: planned.prediction, certificate: planned.certificate,
      hardware: planned.isReversed ? reversed ?? hardware : hardware,
      idleDevices: devices - planned.decision.ranks, modelSHA256: modelSHA256, hardwareSHA256: hardware.json.sha256, assumptions: assumptions)
  }
}

extension Mode: ExpressibleByArgument {}
extension OptimizerKind: ExpressibleByArgument {}
extension AttentionKernel: ExpressibleByArgument {}
extension WeightUpdates: ExpressibleByArgument {}
extension GradientStorage: ExpressibleByArgument {}
extension Overlap: ExpressibleByArgument {}
extension BoundaryMessages: ExpressibleByArgument {}
extension CrossEntropyKernel: ExpressibleByArgument {}
extension Schedule.Kind: ExpressibleByArgument {}

/// A command line that cannot be carried out; the message says why and what to do.
struct UsageError: Error, CustomStringConvertible {
  let description: String
  init(_ text: String) { description = text }
}
extension Recompute: ExpressibleByArgument {}
extension ContextWay: ExpressibleByArgument {}
