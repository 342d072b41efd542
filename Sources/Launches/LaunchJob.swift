// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

/// A launch with everything that it leaves open filled in: what is computed, on which devices, and how it is split.
package struct LaunchJob: Sendable {
  package let format: LaunchFormat
  /// Complete: also the data-parallel degree, and the size of a micro-batch.
  package let degrees: MegatronDegrees
  /// The job without any choice made.
  package let request: SearchRequest
  /// What modules do on the tensor axis, where the launch says that itself.
  package let styles: [ModuleStyle]?
  /// What every operator does, where the launch says that itself.
  private let script: TorchLaunch?
  /// What was filled in, in words.
  package let assumptions: [String]
  /// What is wrong with the styles for this model.
  package let findings: [Finding]
  /// As it was read.
  let launch: Launch
  private let hardware: HardwareFile
  private let given: (batch: Int?, sequence: Int?, hasModel: Bool)

  /// - Parameters:
  ///   - graph: the model, as the launch describes it or as it is named apart.
  ///   - devices: in place of the launch's, as the batch and the sequence are.
  ///   - isModelGiven: whether the model is named apart, and stays what it is whatever the launch says.
  /// - Throws: `PlannerError.usage` where the parts do not go together; `HardwareError`.
  package init(
    _ launch: Launch, graph: Graph, on hardware: HardwareFile, devices: Int? = nil, batch: Int? = nil, sequence: Int? = nil,
    isModelGiven: Bool = false
  ) throws {
    var assumptions: [String] = []
    let count = try Self.devices(launch, hardware, given: devices, &assumptions)
    let settled = try launch.settled(on: count, batch: batch)
    var degrees = settled.degrees
    let cluster = try hardware.cluster(devices: count)
    let size = degrees.microBatchSize
    let sequences = settled.batch ?? size.map { $0.times(degrees.data) } ?? graph.workload.batch ?? count
    if settled.batch == nil {
      let why =
        size != nil ? "one micro-batch for each replica" : graph.workload.batch != nil ? "the model's usual one" : "one sequence for each device"
      assumptions.append("batch \(sequences): \(why) (--batch)")
    }
    guard 1...1_000_000_000 ~= sequences else {
      throw PlannerError.usage("a batch of \(sequences): expected a number from 1 to 1000000000 (--batch)")
    }
    // Megatron-LM spreads experts over the devices of tensor parallelism too, where they are not split by it.
    let replicas = Self.greatestCommonDivisor(degrees.expert, degrees.data)
    if launch.format == .megatron, replicas != degrees.expert {
      assumptions.append(
        "experts shared out over \(counted(replicas, "data replica")): over more devices than the \(degrees.data) replicas they have no price "
          + "(--expert-model-parallel-size \(degrees.expert))")
      degrees.expert = replicas
    }
    let part = degrees.microBatchSize(batch: sequences, couplesBatch: graph.couplesBatch)
    if degrees.microBatchSize == nil, sequences > degrees.data {
      assumptions.append(
        "micro-batches of \(part): \(part == sequences / degrees.data ? "all that a replica has" : "the smallest")" + launch.format.ofMicroBatches)
    }
    degrees.microBatchSize = part
    let precision = launch.precision ?? cluster.kind(of: 0).defaultPrecision
    if launch.precision == nil { assumptions.append("\(precision.rawValue), the devices' usual format") }
    var request = SearchRequest(
      graph: graph, cluster: cluster, batch: sequences, sequence: try Self.sequence(launch, graph, given: sequence, &assumptions),
      precision: precision,
      mode: launch.mode ?? .train, optimizer: launch.optimizer ?? .adamw)
    if request.mode == .train, graph.loss == nil { throw PlannerError.usage("the model \(graph.name) has no loss, so it cannot be trained") }
    request.software = settled.software
    request.larger = { try? hardware.cluster(devices: $0) }
    (self.format, self.request, self.styles, self.degrees) = (launch.format, request, launch.styles, launch.format.completed(degrees))
    (self.assumptions, script) = (assumptions, launch.script)
    findings = self.degrees.findings(graph, styles, launch.format.matching)
    (self.launch, self.hardware, given) = (launch, hardware, (batch, sequence, isModelGiven || launch.graph == nil))
  }

  /// The degrees as they are written: what ZeRO shares out where there are no replicas is still said.
  var stated: MegatronDegrees {
    var stated = degrees
    stated.zero = launch.degrees.zero
    return stated
  }

  /// What is written otherwise in the launch where its degrees become others.
  package func words(_ changed: MegatronDegrees) -> String { edits(to: format.completed(changed)).text }

  func edits(to changed: MegatronDegrees, _ software: Software? = nil) -> LaunchEdits {
    let graph = request.graph
    let layers = graph.segments.indices.reduce(0) { graph.holdsLayers($1) ? $0 + graph.segments[$1].repeats : $0 }
    let facts = LaunchEdits.Job(
      batch: request.batch, statesBatch: given.batch != nil || launch.batch != nil, layers: layers, countsLayersOfChunks: launch.countsLayersOfChunks)
    return LaunchEdits(
      format, from: stated, to: changed, software: (request.software, software ?? request.software), job: facts, source: launch.source)
  }

  /// Another launch for the same job.
  func again(_ launch: Launch, devices: Int) throws -> LaunchJob {
    let graph = given.hasModel ? request.graph : launch.graph ?? request.graph
    return try LaunchJob(
      launch, graph: graph, on: hardware, devices: devices, batch: given.batch, sequence: given.sequence, isModelGiven: given.hasModel)
  }

  private static func greatestCommonDivisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : greatestCommonDivisor(b, a % b) }

  private static func devices(_ launch: Launch, _ hardware: HardwareFile, given: Int?, _ assumptions: inout [String]) throws -> Int {
    let degrees = launch.degrees
    guard degrees.tensor.times(degrees.pipeline).times(degrees.data).times(degrees.context) < .max else {
      throw PlannerError.usage("the degrees together are more devices than can be counted; change them")
    }
    let own = degrees.devices
    let least = launch.leavesDataOpen ? own / launch.degrees.data : launch.leavesTensorOpen ? own / launch.degrees.tensor : own
    let isOpen = launch.leavesDataOpen || launch.leavesTensorOpen
    var count = given ?? launch.devices
    if count == nil {
      let (usual, why) = usualDevices(hardware, of: least, isOpen: isOpen, expert: launch.degrees.expert)
      count = usual
      assumptions.append("\(counted(usual, "device")): \(why)" + (launch.openDevices.map { ", as \($0)" } ?? " (--devices)"))
    }
    guard let count else { return own }
    if count % least != 0 || (!isOpen && count != own) {
      throw PlannerError.usage(launch.refusal(of: count, least))
    }
    return count
  }

  /// All devices that there are, else at least a node, where the degrees are of so many or can be.
  private static func usualDevices(_ hardware: HardwareFile, of least: Int, isOpen: Bool, expert: Int) -> (Int, String) {
    if isOpen, let all = hardware.deviceCount, all % least == 0 { return (all, "all of \(hardware.name)") }
    guard isOpen, hardware.deviceCount == nil, let node = hardware.groups.first?.devicesPerNode else { return (least, "as many as the degrees need") }
    // Experts are shared out over replicas.
    let step = least.times(max(1, expert))
    if step == .max { return (least, "as many as the degrees need") }
    guard step < node, node % step == 0 else { return (step, "as many as the degrees need") }
    return (node, "a node of \(hardware.name)")
  }

  private static func sequence(_ launch: Launch, _ graph: Graph, given: Int?, _ assumptions: inout [String]) throws -> Int? {
    guard graph.choosesSequence else { return nil }
    guard let length = given ?? launch.sequence ?? graph.workload.sequence ?? graph.maximumSequence else {
      throw PlannerError.usage("neither the launch nor the model says how long a sequence is; give it with --seq")
    }
    if let most = graph.maximumSequence, length > most {
      throw PlannerError.usage("sequences of \(length): the model has \(counted(most, "position")), or attention with a window of so many")
    }
    if given == nil, launch.sequence == nil { assumptions.append("sequences of \(length), the model's usual ones (--seq)") }
    return length
  }

  // MARK: - The plan

  /// What a launch that says of every operator what it does says otherwise than its plan takes.
  package func findings(against planned: PlanOutcome.Planned) -> [Finding] {
    do {
      return try script?.findings(against: planned.decision) ?? []
    } catch {
      return [Finding(.illegal, "PLAN", "is no plan that a script can carry out: \(error)")]
    }
  }

  /// The request in which the launch's split is fixed, or another one.
  ///
  /// - Throws: `PlannerError.usage` where it does not go with the job.
  package func fixing(_ degrees: MegatronDegrees, _ software: Software? = nil) throws -> SearchRequest {
    var request = self.request
    if let software { request.software = software }
    return try degrees.fix(request, styles, format.matching)
  }

  /// The launch as a plan: one that fits, else what it would be if memory had no end.
  ///
  /// - Throws: `PlannerError.usage` where no split of all operators is as the launch says; `LaunchError` where its tables are not those of the model.
  package func planned() throws -> PlanOutcome.Planned {
    let fixed =
      try script?.request(for: request.graph, on: request.cluster, batch: request.batch, sequence: request.sequence) ?? fixing(degrees)
    guard let planned = try Planner.price(fixed) else {
      // What is wrong with the styles tells more than that there is no split.
      if let finding = findings.first(where: { $0.severity == .illegal }) { throw PlannerError.usage("\(finding.place) \(finding.text)") }
      throw try degrees.refusal(request)
    }
    return planned
  }
}
