// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Lowering
import ModelGraph
import Plans
import Quantities
import Strategies
import Testing

@testable import Planner

/// The predicted time line of a step, instruction by instruction.
@Suite struct PredictedStepTests {
  private func graph(_ name: String) throws -> Graph {
    switch name {
    case "gpt2":
      var model = GPT2Configuration()
      (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 8, sequence: 16), 4, 32, 4, 64)
      (model.vocabulary, model.positions) = (63, 16)
      return try model.graph()
    default: return try Shipped.fixture(name)
    }
  }

  private func plan(
    _ model: String, on hardware: String, devices: Int, mode: Mode = .train, _ fix: (SearchRequest) throws -> SearchRequest
  ) throws -> (decision: Decision, cluster: Cluster) {
    let cluster = try Shipped.hardware(hardware).cluster(devices: devices)
    let request = SearchRequest(
      graph: try graph(model), cluster: cluster, batch: 8, sequence: 16, precision: cluster.kind(of: 0).defaultPrecision, mode: mode,
      optimizer: .adamw)
    return (try #require(try Planner.search(fix(request)).plan).decision, cluster)
  }

  private func megatron(
    data: Int = 1, tensor: Int = 1, context: Int = 1, pipeline: Int = 1, chunks: Int = 1, zero: ZeROStage = .none, recompute: Recompute = .none
  ) -> MegatronDegrees {
    var degrees = MegatronDegrees()
    (degrees.data, degrees.tensor, degrees.context, degrees.pipeline, degrees.microBatchSize) = (data, tensor, context, pipeline, 1)
    (degrees.zero, degrees.recompute, degrees.isSequenceParallel) = (zero, recompute, tensor > 1)
    if context > 1 { degrees.contextWay = .ring }
    if chunks > 1 { (degrees.schedule, degrees.chunks) = (.interleaved, chunks) }
    return degrees
  }

  /// A pass, or what is done once: up to where its instructions have come, and how many these are.
  private struct Whole {
    var time: Double
    var end: Double
    var count = 0
    var isHost = false
  }

  /// Passes, what is done once and bubbles fill the predicted step; prices of single instructions add up to what the pricing of the whole decision has.
  ///
  /// - Parameter hasHost: whether the host's time to hand kernels over may be longer than what they take.
  private func expectConsistent(_ plan: (decision: Decision, cluster: Cluster), hasHost: Bool = false) throws {
    let (decision, cluster) = plan
    let step = try Planner.predictStep(decision, on: cluster)
    let predicted = try Planner.predict(decision, on: cluster)
    #expect(step.prediction == predicted)
    // A tick for each instruction, and their sums' last digits.
    func tolerance(_ count: Int) -> Double { 1e-12 * Double(count + 2) + 1e-9 * predicted.step.value }
    var latest = 0.0
    for rank in 0..<decision.ranks {
      let program = Lowering.program(for: decision, rank: rank)
      let spans = step.spans(of: program)
      var now = 0.0
      var passes: Set<Int> = []
      var open = Whole(time: 0, end: 0)
      func close() { #expect(abs(open.time - open.end) < tolerance(open.count) || hasHost && open.isHost, "\(open)") }
      for span in spans {
        let (start, end) = (span.start.value, span.end.value)
        #expect(end > start)
        switch span.kind {
        case .pass, .once, .bubble:
          close()
          #expect(start == now, "spans leave a gap, or overlap")
          now = end
          if case .pass(let number) = span.kind { #expect(passes.insert(number).inserted) }
          open = Whole(time: span.kind == .bubble ? end : start, end: end)
        case .host:
          #expect(hasHost, "instructions of rank \(rank) take less than their pass: \(end - start) of \(predicted.step)")
          open.isHost = true
        case .instruction:
          #expect(start == open.time && end <= open.end)
          (open.time, open.count) = (end, open.count + 1)
        }
      }
      close()
      #expect(passes == Set(program.passes.indices))
      #expect(abs(now - predicted.step.value) <= 1e-12 * predicted.step.value)
      latest = max(latest, spans.last { $0.kind == .once || decision.job.mode == .forward }?.end.value ?? 0)
      // Nor do they take more: what is clamped to its pass would not be seen above.
      let prices = InstructionPrices(decision, step.prices, program)
      for (number, pass) in program.passes.enumerated() {
        let sum = pass.instructions.reduce(0.0) { $0 + prices.time(program.instructions[$1]).value }
        let whole = spans.first { $0.kind == .pass(number) }.map { $0.end.value - $0.start.value } ?? 0
        #expect(sum <= whole + tolerance(pass.instructions.count))
      }
      let once = (program.passes.last?.instructions.upperBound ?? 0)..<program.instructions.count
      let sum = once.reduce(0.0) { $0 + prices.time(program.instructions[$1]).value }
      let stages = stride(from: program.stage, to: predicted.stages.count, by: predicted.groups).map { predicted.stages[$0] }
      #expect(abs(sum - stages.reduce(0) { $0 + ($1.gradientSync + $1.update).value }) < tolerance(once.count))
    }
    #expect(abs(latest - predicted.step.value) < tolerance(decision.graph.operators.count))
  }

  @Test(
    "differential: instructions add up to passes, and these to the predicted step, for each ZeRO stage and recomputation",
    arguments: ZeROStage.allCases,
    Recompute.allCases)
  func weightsAndRecompute(zero: ZeROStage, recompute: Recompute) throws {
    for (data, tensor, pipeline, chunks) in [(2, 1, 1, 1), (2, 2, 1, 1), (1, 2, 2, 1), (2, 2, 2, 2)] {
      let degrees = megatron(data: data, tensor: tensor, pipeline: pipeline, chunks: chunks, zero: zero, recompute: recompute)
      try expectConsistent(plan("gpt2", on: "local", devices: degrees.devices) { try degrees.fix($0) })
    }
  }

  @Test("differential: so around rings, through experts, in forward runs, and with weights behind products")
  func others() throws {
    let ring = megatron(context: 2, pipeline: 2)
    try expectConsistent(plan("gpt2", on: "local", devices: ring.devices) { try ring.fix($0) })
    try expectConsistent(plan("gpt2", on: "local", devices: ring.devices, mode: .forward) { try ring.fix($0) })
    try expectConsistent(plan("mixtral", on: "local", devices: 2) { $0 })
    try expectConsistent(plan("clip", on: "local", devices: 2) { $0 })
    for zero in ZeROStage.allCases {
      let degrees = megatron(data: 2, tensor: 2, zero: zero)
      try expectConsistent(
        plan("gpt2", on: "local", devices: degrees.devices) {
          var request = try degrees.fix($0)
          (request.software.overlap, request.software.updates) = (.weights, zero == .optimizer ? .inBackward : .afterBackward)
          return request
        })
    }
  }

  @Test("differential: so where weights are updated in the backward pass, whose part updates and exchanges are then", arguments: ZeROStage.allCases)
  func updatesInBackward(zero: ZeROStage) throws {
    for (data, tensor, pipeline) in [(2, 1, 1), (2, 2, 1), (2, 1, 2)] {
      let degrees = megatron(data: data, tensor: tensor, pipeline: pipeline, zero: zero)
      let plans = try WeightUpdates.allCases.map { updates in
        try plan("gpt2", on: "local", devices: degrees.devices) {
          var request = try degrees.fix($0)
          (request.microBatches, request.software.updates) = (1, updates)
          return request
        }
      }
      for plan in plans { try expectConsistent(plan) }
      let stages = try plans.map { try Planner.predict($0.decision, on: $0.cluster).stages }
      let (after, within) = (stages[0], stages[1])
      // The embedding's gradient, which has two readers or is exchanged between stages, and vectors' stay; nothing but the order changes.
      for (after, within) in zip(after, within) {
        #expect(within.memory.gradients.value < 0.7 * after.memory.gradients.value && within.update < after.update * 0.7)
        let (a, b) = (after.backward + after.gradientSync + after.update, within.backward + within.gradientSync + within.update)
        #expect(abs(a.value / b.value - 1) < 1e-3)
      }
    }
  }

  @Test("differential: so on stages of several meshes, and where ranks have unequal shares of the batch")
  func meshesAndShares() throws {
    for meshes in [[[2], [1]], [[2, 2], [2]], [[1, 2], [2, 1]]] {
      try expectConsistent(
        plan("gpt2", on: "local", devices: meshes.reduce(0) { $0 + $1.reduce(1, *) }) {
          var request = $0
          (request.stageMeshes, request.microBatches, request.schedule) = (meshes, 2, .oneForwardOneBackward)
          return request
        })
    }
    let degrees = megatron(data: 2, tensor: 2)
    try expectConsistent(
      plan("gpt2", on: "local", devices: 4) {
        var degrees = degrees
        degrees.microBatchSize = nil
        var request = try degrees.fix($0)
        request.shares = [6, 2]
        return request
      })
  }

  @Test("where the host hands kernels over more slowly than the device runs them, passes are longer than their instructions, and say why")
  func host() throws {
    let degrees = megatron(tensor: 2, pipeline: 2)
    let plan = try plan("gpt2", on: "dgx_a100", devices: 4) { try degrees.fix($0) }
    try expectConsistent(plan, hasHost: true)
    let spans = try Planner.predictStep(plan.decision, on: plan.cluster).spans(of: Lowering.program(for: plan.decision, rank: 0))
    #expect(spans.contains { $0.kind == .host })
  }
}
