// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import ModelGraph
import Plans
import Strategies

/// Runs of tiny models under given strategies, each compared with one rank.
struct DecisionChecks {
  let world: Communicator
  private let seed: UInt64 = 1

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
    var request = RunRequest(
      decision, hyperparameters: Hyperparameters(optimizer: decision.job.optimizer), parameters: .generated(seed: seed),
      inputs: StepInputs(graph: decision.graph, batch: decision.job.batch, seed: seed))
    request.steps = steps
    request.faults = faults
    if verifies { request.verification = Self.onOneRank(decision) }
    return try Run(request, world: world).carryOut()
  }

  /// The same job on one rank, in one micro-batch.
  static func onOneRank(_ decision: Decision) -> Decision {
    let graph = decision.graph.sized(batch: decision.job.batch, sequence: nil)
    let builder = DecisionBuilder(graph: graph, mesh: [1])
    return builder.decision(builder.replicated, batch: decision.job.batch, mode: decision.job.mode, optimizer: decision.job.optimizer)
  }

  /// Random strategies for every operator, with random ZeRO stages and recomputation, on random meshes of the world's ranks, with random
  /// pipelines, interleaved or not; forward alone in one of five.
  func random(_ model: TinyModel, seed: UInt64, count: Int) throws -> [String] {
    var problems: [String] = []
    for index in 0..<count {
      var random = SplitMix64(state: seed &+ UInt64(index) &* 1_000_003)
      func pick<T>(_ list: [T]) -> T { list[Int(random.next() % UInt64(list.count))] }
      let stages = pick((1...min(world.size, 3)).filter { world.size % $0 == 0 })
      let perStage = world.size / stages
      let mesh = pick((1...perStage).filter { perStage % $0 == 0 }.map { $0 == 1 ? [perStage] : [$0, perStage / $0] })
      let chunks = stages == 1 ? 1 : pick([1, 1, 2, 3].filter { stages * $0 <= 6 })
      let microBatches = chunks == 1 ? pick([1, 2, 3]) : stages * pick([1, 2])
      let batch = pick([2, 3]) * microBatches
      // Extents that do not divide: 3 heads of 5, and so on.
      let graph = try model.graph(
        batch: batch / microBatches, layers: chunks == 1 ? 2 : 4, hidden: 24, heads: 6, ffn: pick([20, 27]), vocabulary: 31, sequence: pick([7, 8]))
      let builder = DecisionBuilder(graph: graph, mesh: mesh)
      // With embedding and head, four copies of segments, or six.
      var cuts = stages == 1 ? [] : stages == 2 ? [pick([1, 2, 3])] : [1, 2]
      if chunks > 1 {
        cuts = Array(1...5)
        while cuts.count >= stages * chunks { cuts.remove(at: Int(random.next() % UInt64(cuts.count))) }
      }
      let assignments = builder.random(using: &random)
      let zero = graph.operators.map { _ in pick(ZeROStage.allCases) }
      let recompute = graph.segments.map { _ in pick(Recompute.allCases) }
      let decision = builder.decision(
        assignments, batch: batch, microBatches: microBatches, cuts: cuts,
        schedule: chunks == 1 ? pick([.gpipe, .oneForwardOneBackward]) : .interleaved(chunks: chunks),
        mode: pick([.train, .train, .train, .train, .forward]), optimizer: pick([.adamw, .sgd]), zero: { zero[$0] }, recompute: { recompute[$0] })
      let label = "\(model) seed \(seed) case \(index) mesh \(mesh) stages \(stages) of \(chunks) cuts \(cuts) micro-batches \(microBatches)"
      problems += try mismatches(decision, "\(label) ZeRO \(decision.zero.map(\.rawValue)) recompute \(recompute)")
    }
    return problems
  }
}
