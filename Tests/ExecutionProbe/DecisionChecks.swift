// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import Hardware
import ModelGraph
import Plans
import Strategies

/// Runs of tiny models under given strategies, each compared with one rank.
struct DecisionChecks {
  let world: Communicator
  /// A folder with weights and inputs, where the generator's are not what is run.
  var folder: String?
  var seed: UInt64 = 1

  /// Two steps; what differs from one rank, or from the program's own count of its traffic, as text.
  func mismatches(_ decision: Decision, _ label: String) throws -> [String] {
    var problems: [String] = []
    let report = try run(decision, verifies: true, steps: 2)
    if ProcessInfo.processInfo.environment["PROBE_ERRORS"] != nil, let v = report.verification {
      problems.append("\(label): \(v.comparedTensors) tensors, \(v.maximumRelativeError), \(v.forwardTolerance), \(v.gradientTolerance)")
    }
    if let difference = report.verification?.firstDifference {
      problems.append(
        "\(label): \(difference.tensor) [\(difference.layout)] on rank \(difference.rank): \(difference.error) > \(difference.tolerance)")
    }
    for rank in 0..<world.size where report.traffic[rank] != report.expectedTraffic[rank] {
      problems.append("\(label): rank \(rank) sent \(report.traffic[rank]), its program says \(report.expectedTraffic[rank])")
    }
    for loss in report.losses where !(loss?.isFinite ?? false) { problems.append("\(label): a loss is \(String(describing: loss))") }
    return world.rank == 0 ? problems : []
  }

  func run(_ decision: Decision, verifies: Bool, steps: Int, faults: FaultInjection? = nil) throws -> RunReport {
    let (graph, batch) = (decision.graph, decision.job.batch)
    let parameters: ParameterValues = try folder.map { .checkpoint(try Checkpoint(path: $0)) } ?? .generated(seed: seed)
    let inputs =
      try folder.map { try StepInputs(graph: graph, batch: batch, file: $0 + "/inputs.safetensors", needsLabels: true) }
      ?? StepInputs(graph: graph, batch: batch, seed: seed)
    var request = RunRequest(
      decision, hyperparameters: Hyperparameters(optimizer: decision.job.optimizer), parameters: parameters, inputs: inputs)
    request.steps = steps
    request.faults = faults
    if verifies { request.verification = Self.onOneRank(decision) }
    return try Run(request, world: world).carryOut()
  }

  /// The same job on one rank, in one micro-batch, or as many as the model's function is of.
  static func onOneRank(_ decision: Decision) -> Decision {
    let microBatches = decision.graph.isPerMicroBatch ? decision.job.microBatches : 1
    let graph = decision.graph.sized(batch: decision.job.batch / microBatches, sequence: nil)
    let builder = DecisionBuilder(graph: graph, mesh: [1])
    return builder.decision(
      builder.replicated, batch: decision.job.batch, microBatches: microBatches, mode: decision.job.mode, optimizer: decision.job.optimizer)
  }

  /// Random strategies for every operator, with random ZeRO stages and recomputation, on random meshes of the world's ranks, with random
  /// pipelines, interleaved or not; forward alone in one of five.
  ///
  /// - Parameters:
  ///   - word: what every operator that understands it does on all mesh axes.
  ///   - axes: how many axes meshes have; nil is one or two.
  func random(_ model: TinyModel, seed: UInt64, count: Int, around word: String? = nil, axes: Int? = nil) throws -> [String] {
    try random("\(model)", seed: seed, count: count, around: word, axes: axes) { random, stages, chunks in
      func pick<T>(_ list: [T]) -> T { list[Int(random.next() % UInt64(list.count))] }
      let microBatches = chunks == 1 ? pick([1, 2, 3]) : stages * pick([1, 2])
      let batch = pick([2, 3]) * microBatches
      // Extents that do not divide: 3 heads of 5, and so on.
      let graph = try model.graph(
        batch: batch / microBatches, layers: chunks == 1 ? 2 : 4, hidden: 24, heads: 6, ffn: pick([20, 27]), vocabulary: 31, sequence: pick([7, 8]))
      return (graph, batch, microBatches)
    }
  }

  /// The same of a folder's model, with its weights and inputs, and some of its parameters frozen.
  func random(folder: String, isFrozen: Bool, seed: UInt64, count: Int) throws -> [String] {
    let model = try ModelReader.read(folder).graph.freezing { isFrozen && OracleChecks.isFrozen($0) }
    guard let shape = try Safetensors(file: folder + "/inputs.safetensors").entry(named: "input_ids")?.shape, shape.count == 2 else {
      throw ProbeError(description: "\(folder) has no input_ids")
    }
    var checks = self
    checks.folder = folder
    return try checks.random(model.name, seed: seed, count: count) { random, _, _ in
      let microBatches = model.couplesBatch ? 1 : 1 + Int(random.next() % 2)
      return (model.sized(batch: shape[0] / microBatches, sequence: shape[1]), shape[0], microBatches)
    }
  }

  private func random(
    _ name: String, seed: UInt64, count: Int, around word: String? = nil, axes: Int? = nil,
    _ model: (inout SplitMix64, _ stages: Int, _ chunks: Int) throws -> (graph: Graph, batch: Int, microBatches: Int)
  ) throws -> [String] {
    var problems: [String] = []
    for index in 0..<count {
      let (decision, label) = try randomDecision(name, seed: seed, case: index, around: word, axes: axes, model)
      problems += try mismatches(decision, label)
    }
    return problems
  }

  /// One of those decisions, and how it is told from others.
  func randomDecision(
    _ name: String, seed: UInt64, case index: Int = 0, around word: String? = nil, axes: Int? = nil,
    _ model: (inout SplitMix64, _ stages: Int, _ chunks: Int) throws -> (graph: Graph, batch: Int, microBatches: Int)
  ) throws -> (Decision, String) {
    var random = SplitMix64(state: seed &+ UInt64(index) &* 1_000_003)
    func pick<T>(_ list: [T]) -> T { list[Int(random.next() % UInt64(list.count))] }
    func meshes(_ size: Int) -> [[Int]] {
      guard let axes else { return (1...size).filter { size % $0 == 0 }.map { $0 == 1 ? [size] : [$0, size / $0] } }
      return Mesh.shapes(devices: size, maximumAxes: axes).filter { $0.count == axes }
    }
    let stages = pick((1...min(world.size, 3)).filter { world.size % $0 == 0 && !meshes(world.size / $0).isEmpty })
    let mesh = pick(meshes(world.size / stages))
    let chunks = stages == 1 ? 1 : pick([1, 1, 2, 3].filter { stages * $0 <= 6 })
    let (graph, batch, microBatches) = try model(&random, stages, chunks)
    let builder = DecisionBuilder(graph: graph, mesh: mesh)
    // A model that is given may have too few copies of segments, or micro-batches, for several chunks.
    let copies = graph.segments.reduce(0) { $0 + $1.repeats }
    let isInterleaved = chunks > 1 && copies >= stages * chunks && microBatches % stages == 0
    let schedule = isInterleaved ? .interleaved(chunks: chunks) : pick([Schedule.gpipe, .oneForwardOneBackward])
    var cuts = stages == 1 ? [] : stages == 2 ? [pick([1, 2, 3])] : [1, 2]
    if isInterleaved {
      cuts = Array(1..<copies)
      while cuts.count >= stages * chunks { cuts.remove(at: Int(random.next() % UInt64(cuts.count))) }
    }
    let assignments = builder.random(using: &random, around: word)
    let zero = graph.operators.map { _ in pick(ZeROStage.allCases) }
    let recompute = graph.segments.map { _ in pick(Recompute.allCases) }
    var decision = builder.decision(
      assignments, batch: batch, microBatches: microBatches, cuts: cuts, schedule: schedule,
      mode: pick([.train, .train, .train, .train, .forward]), optimizer: pick([.adamw, .sgd]), zero: { zero[$0] }, recompute: { recompute[$0] },
      zigzagPairs: pick([1, 1, 2, 4]))
    decision.job.software.attention = pick(AttentionKernel.allCases)
    decision.job.software.updates = pick(WeightUpdates.allCases)
    let label = "\(name) seed \(seed) case \(index) mesh \(mesh) stages \(stages) \(schedule) cuts \(cuts) micro-batches \(microBatches)"
    let pairs = decision.orders.map(\.pairs).max() ?? 1
    return (decision, "\(label) zig-zag \(pairs) ZeRO \(decision.zero.map(\.rawValue)) recompute \(recompute)")
  }
}
