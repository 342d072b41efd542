// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import ModelGraph
import Plans
import Strategies
import Testing

/// Programs in which data replicas share weights out (ZeRO), or in which backward passes compute again what was not kept.
@Suite struct SharingTests {
  private static let layers = 3

  /// An embedding of 7 × 5, layers of a 5 × 3 and a 3 × 5 product around a ReLU, and a head; samples are split over all ranks.
  private func decision(
    mesh: [Int], microBatches: Int = 2, mode: Mode = .train, zero: ZeROStage = .none, recompute: Recompute = .none
  ) throws -> Decision {
    var builder = GraphBuilder(name: "layers")
    let (b, h) = (builder.axis("batch", 6, .batch), builder.axis("hidden", 5, .feature))
    let (f, v) = (builder.axis("inner", 3, .feature), builder.axis("vocab", 7, .vocabulary))
    builder.begin(segment: "embedding")
    builder.end(exits: [builder.embedding("embedding", ids: builder.input(.inputIDs, [b]), rows: v, features: h).result])
    let entry = builder.begin(segment: "layer", repeats: Self.layers, path: "layer.{i}", carry: [b, h])
    let up = builder.linear("layer.{i}.up", entry, from: [h], to: [f], bias: false)
    let act = builder.apply(.activation(.relu), "layer.{i}.act", [up], to: [b, f])
    builder.end(exits: [builder.linear("layer.{i}.down", act, from: [f], to: [h], bias: false)])
    let last = builder.begin(segment: "head", path: "head", carry: [b, h])
    builder.crossEntropyLoss(builder.linear("head", last, from: [h], to: [v], bias: false))
    builder.end()
    let graph = try builder.finish()
    let assignments: [[Int?]] = graph.operators.indices.map { op in
      let batch = OperatorRules.rule(for: op, in: graph).iteration.firstIndex { $0.role == .batch }
      return mesh.map { _ in batch }
    }
    let stage = Stage(units: graph.segments.indices.map { UnitRange(segment: $0, copies: 0..<graph.segments[$0].repeats) })
    let job = Job(batch: 6 * microBatches, microBatches: microBatches, sequence: nil, mode: mode, optimizer: .adamw, precision: .fp32)
    return Decision(
      graph: graph, job: job, mesh: mesh, schedule: .gpipe, stages: [stage], assignments: assignments, zero: assignments.map { _ in zero },
      recompute: graph.segments.map { _ in recompute }, conversions: [])
  }

  private func programs(_ decision: Decision) -> [Program] { (0..<decision.ranks).map { Lowering.program(for: decision, rank: $0) } }

  /// What happens to one parameter in a step, in order.
  private func events(_ program: Program, _ index: Int) -> [String] {
    program.instructions.compactMap { instruction in
      switch instruction {
      case .gatherParameter(index, _, let whole): whole == program.parameters[index].value ? "gather in place" : "gather"
      case .scatterGradient(index, _, let whole): whole == program.parameters[index].gradient ? "scatter in place" : "scatter"
      case .reduceGradient(index, _): "all-reduce"
      case .update(index): "update"
      case .kernel(let call) where call.operands.contains { program.buffers[$0].role == .parameter(index) }: "\(call.phase)"
      case .kernel(let call) where call.operands.contains { program.buffers[$0].role == .gatheredParameter(index) }: "\(call.phase)"
      default: nil
      }
    }
  }

  @Test(
    "oracle: when a parameter is gathered and its gradient scattered, by ZeRO stage (Rajbhandari et al. 2020, §5)",
    arguments: [
      (ZeROStage.none, "forward forward backward backward all-reduce update"),
      (.optimizer, "forward forward backward backward scatter in place update gather in place"),
      (.gradients, "forward forward backward scatter backward scatter update gather in place"),
      (.weights, "gather forward gather forward gather backward scatter gather backward scatter update"),
    ])
  func eventsOfAStep(zero: ZeROStage, expected: String) throws {
    for program in try programs(decision(mesh: [2], zero: zero)) {
      #expect(program.parameters.count == 2 + 2 * Self.layers)
      for index in program.parameters.indices { #expect(events(program, index).joined(separator: " ") == expected) }
      expectBuffersLive(in: program)
    }
  }

  @Test("oracle: a forward pass gathers weights that are held in parts, and has no gradients", arguments: ZeROStage.allCases)
  func forwardOnly(zero: ZeROStage) throws {
    for program in try programs(decision(mesh: [2], mode: .forward, zero: zero)) {
      for index in program.parameters.indices {
        #expect(events(program, index) == (zero == .weights ? ["gather", "forward", "gather", "forward"] : ["forward", "forward"]))
        #expect(program.parameters[index].gradient == nil)
      }
      expectBuffersLive(in: program)
    }
  }

  @Test("oracle: the ranks' parts are the shard once, and what is resident has their size", arguments: ZeROStage.allCases, [[2], [4], [2, 3]])
  func parts(zero: ZeROStage, mesh: [Int]) throws {
    let programs = try programs(decision(mesh: mesh, zero: zero))
    for index in programs[0].parameters.indices {
      let owned = programs.map { $0.parameters[index] }
      let count = owned[0].region.reduce(1) { $0 * $1.count }
      if zero == .none {
        #expect(owned.allSatisfy { $0.part == 0..<count })
      } else {
        #expect(owned.flatMap { Array($0.part) } == Array(0..<count))
        #expect(owned.map(\.part.count) == owned[0].sharing.partCounts(of: count, mesh: mesh))
      }
      for (program, parameter) in zip(programs, owned) {
        #expect(program.buffers[parameter.value].count == (zero == .weights ? parameter.part.count : count))
        #expect(parameter.gradient.map { program.buffers[$0].count } == (zero >= .gradients ? parameter.part.count : count))
      }
    }
  }

  @Test("oracle: a weight that two operators read stays whole")
  func tied() throws {
    var builder = GraphBuilder(name: "tied")
    let (b, h, v) = (builder.axis("batch", 4, .batch), builder.axis("hidden", 5, .feature), builder.axis("vocab", 7, .vocabulary))
    builder.begin(segment: "all")
    let (x, table) = builder.embedding("embedding", ids: builder.input(.inputIDs, [b]), rows: v, features: h)
    builder.crossEntropyLoss(builder.linear("head", x, from: [h], to: [v], bias: false, tied: table))
    builder.end()
    let graph = try builder.finish()
    let assignments: [[Int?]] = graph.operators.indices.map { op in
      [OperatorRules.rule(for: op, in: graph).iteration.firstIndex { $0.role == .batch }]
    }
    let job = Job(batch: 4, microBatches: 1, sequence: nil, mode: .train, optimizer: .adamw, precision: .fp32)
    let decision = Decision(
      graph: graph, job: job, mesh: [2], schedule: .gpipe, stages: [Stage(units: [UnitRange(segment: 0, copies: 0..<1)])],
      assignments: assignments, zero: assignments.map { _ in .weights }, conversions: [])
    for program in programs(decision) {
      #expect(program.parameters.map(\.sharing) == [.none])
      #expect(events(program, 0) == ["forward", "forward", "backward", "backward", "all-reduce", "update"])
    }
  }

  @Test("oracle: under full recomputation only what enters a segment lives until its backward pass", arguments: [ZeROStage.none, .weights])
  func fullRecompute(zero: ZeROStage) throws {
    let decision = try decision(mesh: [2], zero: zero, recompute: .full)
    let graph = decision.graph
    let entries = Set(graph.segments.flatMap(\.exits))
    for program in programs(decision) {
      expectBuffersLive(in: program)
      for microBatch in 0..<2 {
        func calls(_ phase: KernelCall.Phase) -> [KernelCall] {
          program.instructions.compactMap { if case .kernel(let call) = $0, call.phase == phase, call.microBatch == microBatch { call } else { nil } }
        }
        let (forward, again, backward) = (calls(.forward), calls(.recompute), calls(.backward))
        // Every operator of every copy, copies in backward order, operators in forward order.
        let expected = graph.segments.reversed().flatMap { segment in
          (0..<segment.repeats).reversed().flatMap { copy in segment.operators.map { [$0, copy] } }
        }
        #expect(forward.count == 3 + 3 * Self.layers)
        #expect(again.map { [$0.op, $0.copy] } == expected)
        // Backward reads nothing that forward made but what enters segments.
        let made = Set(forward.filter { !entries.contains(graph.operators[$0.op].result) }.flatMap { [$0.result] + $0.extras })
        for call in again + backward { #expect(made.isDisjoint(with: call.operands + [call.result] + call.extras)) }
      }
    }
  }

  @Test("oracle: selective recomputation leaves a model without attention as it is")
  func selectiveRecompute() throws {
    let (plain, selective) = (try decision(mesh: [2]), try decision(mesh: [2], recompute: .selective))
    #expect(programs(plain).map(\.instructions) == programs(selective).map(\.instructions))
  }
}
