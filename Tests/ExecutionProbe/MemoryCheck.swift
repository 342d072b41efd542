// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import ModelGraph
import Plans
import Strategies

extension DecisionChecks {
  /// The memory that walking a program on paper gives for this rank, what the run took, the bytes of a step's messages, and what had no place in the
  /// arena: `planned measured messages outside`.
  func memory(_ model: TinyModel, seed: UInt64) throws -> [String] {
    var random = SplitMix64(state: seed)
    let stages = world.size % 2 == 0 ? 2 : 1
    // Large enough that what is not planned, the scratch of single rows, does not count.
    let graph = try model.graph(batch: 4, layers: 2, hidden: 48, heads: 6, ffn: 131, vocabulary: 331, sequence: 40)
    let builder = DecisionBuilder(graph: graph, mesh: [world.size / stages])
    let assignments = builder.random(using: &random)
    let zero = graph.operators.map { _ in ZeROStage.allCases[Int(random.next() % 4)] }
    let recompute = graph.segments.map { _ in Recompute.allCases[Int(random.next() % UInt64(Recompute.allCases.count))] }
    return try [true, false].flatMap { isPlain in
      let decision = builder.decision(
        assignments, batch: 8, microBatches: 2, cuts: stages == 1 ? [] : [2], zero: { isPlain ? .none : zero[$0] },
        recompute: { isPlain ? .none : recompute[$0] })
      return try (1...2).map { try memory(decision, steps: $0) }
    }
  }

  private func memory(_ decision: Decision, steps: Int) throws -> String {
    let report = try run(decision, verifies: false, steps: steps)
    let planned = RunMemory(
      decision: decision, hyperparameters: Hyperparameters(optimizer: .adamw), collectsOutputs: false, verification: nil
    ).bytes(ofRanks: world.rank..<world.rank + 1)
    return "\(planned.ranks) \(report.peakBufferBytes[world.rank]) \(report.expectedTraffic[world.rank][.sendReceive].bytes)"
      + " \(report.bytesOutsideArena[world.rank])"
  }

  /// The same with the batch split over all ranks: ZeRO 0 to 3; recomputation of nothing, attention and everything, of nothing and element-wise passes; updates
  /// after the backward pass and in it.
  func leanMemory() throws -> [String] {
    let graph = try TinyModel.gpt2.graph(batch: world.size * 2, layers: 4, hidden: 64, heads: 4, ffn: 256, vocabulary: 101, sequence: 48)
    let builder = DecisionBuilder(graph: graph, mesh: [world.size])
    let data = builder.assignments([{ _, _ in ["data"] }])
    // Activations of as many rows as a weight has: blocks of one size with two life times.
    let square = DecisionBuilder(
      graph: try TinyModel.gpt2.graph(batch: world.size * 2, layers: 4, hidden: 64, heads: 4, ffn: 256, vocabulary: 101, sequence: 32),
      mesh: [world.size])
    let wider = try ZeROStage.allCases.map { stage in
      try memory(builder.decision(data, batch: world.size * 4, microBatches: 2, zero: { _ in stage }), steps: 2)
    }
    return try wider
      + [Recompute.none, .selective, .full, .none, .elementwise].map { recompute in
        // What the layers keep, not the logits, decides how much it is.
        let decision = builder.decision(
          data, batch: world.size * 8, microBatches: 4, schedule: .gpipe, recompute: { graph.segments[$0].repeats > 1 ? recompute : .none })
        return try memory(decision, steps: 2)
      }
      + WeightUpdates.allCases.map { updates in
        var decision = square.decision(data, batch: world.size * 2)
        decision.job.software.updates = updates
        return try memory(decision, steps: 2)
      }
  }

  /// A learning rate with which the second step's loss is no number.
  func diverge() throws {
    let graph = try TinyModel.gpt2.graph(batch: 2)
    let builder = DecisionBuilder(graph: graph, mesh: [world.size])
    let decision = builder.decision(builder.replicated, batch: 2)
    var request = RunRequest(
      decision, hyperparameters: Hyperparameters(optimizer: .adamw, learningRate: LearningRate(peak: 1e38)), parameters: .generated(seed: 1),
      inputs: StepInputs(graph: graph, batch: 2, seed: 1))
    request.steps = 5
    _ = try Run(request, world: world).carryOut()
  }
}
