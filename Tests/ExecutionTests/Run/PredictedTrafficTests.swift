// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Hardware
import ModelGraph
import Plans
import Strategies
import Testing

@testable import Execution
@testable import Lowering
@testable import Planner

/// What a plan predicts that its collectives move, against what the ranks' programs say.
struct PredictedTrafficTests {
  /// A GPT-2 whose extents divide by 4, so that the largest part is every rank's.
  private func plan(_ degrees: MegatronDegrees) throws -> PlanOutcome.Planned { try plan(devices: degrees.devices) { try degrees.fix($0) } }

  private func plan(devices: Int, _ fix: (SearchRequest) throws -> SearchRequest) throws -> PlanOutcome.Planned {
    var model = GPT2Configuration()
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 8, sequence: 16), 4, 32, 4, 64)
    (model.vocabulary, model.positions) = (64, 16)
    return try plan(model.graph(), devices: devices, fix)
  }

  private func plan(_ graph: Graph, devices: Int, _ fix: (SearchRequest) throws -> SearchRequest) throws -> PlanOutcome.Planned {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../hardware/local.json").standardized.path
    let text = try String(contentsOfFile: file, encoding: .utf8)
    let cluster = try HardwareFile(decoding: Document(file: file, parsing: text.utf8)).cluster(devices: devices)
    let request = SearchRequest(
      graph: graph, cluster: cluster, batch: 8, sequence: 16, precision: .fp32, mode: .train, optimizer: .adamw)
    guard case .planned(let planned) = try Planner.search(fix(request)) else { throw NothingFits() }
    return planned
  }

  private struct NothingFits: Error {}

  @Test(
    "differential: every collective of a plan has the calls and bytes of the programs, for each ZeRO stage and recomputation",
    arguments: [(2, 1, 1, 1), (2, 2, 1, 1), (2, 1, 2, 1), (1, 2, 2, 1), (2, 2, 2, 1), (2, 2, 2, 2)], ZeROStage.allCases)
  func collectives(degrees: (data: Int, tensor: Int, pipeline: Int, chunks: Int), zero: ZeROStage) throws {
    for recompute in Recompute.allCases {
      var given = MegatronDegrees()
      (given.data, given.tensor, given.pipeline, given.microBatchSize) = (degrees.data, degrees.tensor, degrees.pipeline, 1)
      if degrees.chunks > 1 { (given.schedule, given.chunks) = (.interleaved, degrees.chunks) }
      (given.zero, given.recompute, given.isSequenceParallel) = (zero, recompute, degrees.tensor > 1)
      let plan = try plan(given)
      let decision = plan.decision
      let (predicted, programs) = traffic(plan)
      #expect(decision.zero.contains { $0 != .none } == (zero != .none && degrees.data * degrees.tensor > 1))
      #expect(predicted == programs, "\(recompute)")
    }
  }

  @Test("differential: where ranks have unequal shares of the batch, what they need together is what each needs")
  func unevenMemory() throws {
    var degrees = MegatronDegrees()
    (degrees.data, degrees.tensor) = (2, 2)
    let decision = try plan(devices: 4) {
      var request = try degrees.fix($0)
      request.shares = [6, 2]
      return request
    }.decision
    #expect(decision.shares?.samples == [6, 2])
    let run = RunMemory(
      decision: decision, hyperparameters: Hyperparameters(optimizer: .adamw), collectsOutputs: false, verification: nil)
    let each = (0..<4).map { run.bytes(ofRanks: $0..<$0 + 1).ranks }
    #expect(each[0] == each[1] && each[2] == each[3] && each[0] > each[2])
    #expect(run.bytes(ofRanks: 0..<4).ranks == each.reduce(0, +) && run.bytes(ofRanks: 1..<4).ranks == each[1...].reduce(0, +))
  }

  @Test(
    "differential: so have the messages around a ring, and what goes on beside them",
    arguments: [
      (1, 2, 1, 1, 1), (1, 4, 1, 1, 1), (2, 2, 1, 1, 1), (1, 2, 2, 1, 1), (2, 4, 2, 1, 1), (1, 2, 1, 2, 1), (1, 2, 1, 2, 2), (1, 4, 1, 2, 2),
      (1, 2, 2, 2, 2),
    ], ContextWay.allCases)
  func sequences(degrees: (data: Int, context: Int, tensor: Int, pipeline: Int, chunks: Int), way: ContextWay) throws {
    // There are 4 heads.
    if way == .ulysses && degrees.context * degrees.tensor > 4 { return }
    for recompute in Recompute.allCases {
      var given = MegatronDegrees()
      (given.data, given.context, given.tensor, given.microBatchSize) = (degrees.data, degrees.context, degrees.tensor, 1)
      (given.contextWay, given.recompute, given.isSequenceParallel) = (way, recompute, degrees.tensor > 1)
      (given.pipeline, given.chunks) = (degrees.pipeline, degrees.chunks)
      if degrees.chunks > 1 { given.schedule = .interleaved }
      let plan = try plan(given)
      let (predicted, programs) = traffic(plan)
      #expect(predicted == programs, "\(recompute)")
      #expect((predicted[.sendReceive].count > 0) == (way == .ring))
      // 16 positions are 2 · 4 chunks and more; attention by heads has whole sequences.
      #expect(plan.decision.orders.map(\.pairs).max() == (way == .ulysses ? 1 : degrees.context))
    }
  }

  @Test(
    "differential: so have those of stages with several meshes; what passes between is sent once for each rank that needs it",
    arguments: [[[2], [1]], [[2, 2], [2]], [[1, 2], [2, 1]], [[4], [2, 1], [2]]])
  func stageMeshes(meshes: [[Int]]) throws {
    let devices = meshes.reduce(0) { $0 + $1.reduce(1, *) }
    for microBatches in [1, 4] {
      let plan = try plan(devices: devices) {
        var request = $0
        (request.stageMeshes, request.microBatches, request.zero, request.schedule) = (meshes, microBatches, .optimizer, .oneForwardOneBackward)
        return request
      }
      let decision = plan.decision
      #expect(decision.stageMeshes == meshes && decision.ranks == devices)
      let (predicted, programs) = traffic(plan)
      #expect(predicted == programs)
      // Every receiving rank gets its shard of a boundary's tensor once, and sends that of its gradient back.
      var sent = 0
      for rank in 0..<decision.ranks {
        for case .sendBoxes(_, let boxes, _) in Lowering.program(for: decision, rank: rank).instructions {
          sent += boxes.reduce(0) { $0 + $1.region.elementCount }
        }
      }
      let heaviest = plan.prediction.collectives.filter { $0.cause == .boundary && $0.kind == nil }.reduce(0) { $0 + Int($1.bytes.value) / 4 }
      let most = meshes.map { $0.reduce(1, *) }.max()!
      #expect(sent >= heaviest * microBatches && sent <= heaviest * microBatches * most)
    }
  }

  @Test(
    "differential: so have all-to-alls to experts under balanced routing; a run has them in its arena, with room for any routing",
    arguments: [(2, 2, 1), (2, 2, 2), (4, 2, 1), (4, 4, 1)])
  func experts(degrees: (data: Int, expert: Int, tensor: Int)) throws {
    var model = LlamaConfiguration()
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 8, sequence: 16), 2, 32, 4, 64)
    (model.vocabulary, model.maximumPositions, model.keyValueHeads, model.headSize) = (64, 16, 4, 8)
    model.experts = ExpertLayer(naming: .mixtral, count: 4, perToken: 2, ffn: 64, renormalises: true)
    var given = MegatronDegrees()
    (given.data, given.expert, given.tensor, given.microBatchSize) = (degrees.data, degrees.expert, degrees.tensor, 1)
    let plan = try plan(model.graph(), devices: given.devices) { try given.fix($0) }
    let (predicted, programs) = traffic(plan)
    #expect(predicted == programs && predicted[.allToAll].count > 0)
    let hyperparameters = Hyperparameters(optimizer: .adamw)
    for rank in 0..<plan.decision.ranks {
      let program = Lowering.program(for: plan.decision.asExecuted, rank: rank)
      #expect(RoutedSlots(program).rows.contains { $0 > 0 })
      #expect(MemoryPlan.ownedBytes(of: program, hyperparameters) == MemoryPlan.arena(of: program, hyperparameters).bytes)
    }
  }

  /// Of all ranks together: as the plan predicts, and as their programs say. Messages between stages are left out.
  private func traffic(_ plan: PlanOutcome.Planned) -> (predicted: Traffic, programs: Traffic) {
    let decision = plan.decision
    var (predicted, programs) = (Traffic(), Traffic())
    for part in plan.prediction.collectives where part.kind != nil || part.cause == .interior {
      guard let kind = part.kind.map(Traffic.Kind.init) ?? .sendReceive else { continue }
      let calls = part.callsPerStep(microBatches: decision.job.microBatches) * decision.mesh(ofOperator: part.op).reduce(1, *)
      predicted[kind] = .init(count: predicted[kind].count + calls, bytes: predicted[kind].bytes + calls * Int(part.bytes.value))
    }
    for rank in 0..<decision.ranks {
      var program = Lowering.program(for: decision, rank: rank)
      program.instructions.removeAll { instruction in
        switch instruction {
        case .send, .reduceTied, .sendBoxes, .exchangeTied: true
        default: false
        }
      }
      let own = program.expectedTraffic()
      for kind in Traffic.Kind.allCases {
        programs[kind] = .init(count: programs[kind].count + own[kind].count, bytes: programs[kind].bytes + own[kind].bytes)
      }
    }
    return (predicted, programs)
  }
}

extension Traffic.Kind {
  fileprivate init?(_ collective: CollectiveKind) {
    guard let kind = Self.allCases.first(where: { $0.name == collective.rawValue }) else { return nil }
    self = kind
  }
}
