// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import ModelGraph
import Plans

extension DecisionChecks {
  /// The memory that walking a program on paper gives for this rank, over what the run took: `planned measured`.
  func memory(_ model: TinyModel, seed: UInt64) throws -> [String] {
    var random = SplitMix64(state: seed)
    let stages = world.size % 2 == 0 ? 2 : 1
    // Large enough that attention's blocks, which are not planned, do not count.
    let graph = try model.graph(batch: 4, layers: 2, hidden: 96, heads: 6, ffn: 260, vocabulary: 331, sequence: 96)
    let builder = DecisionBuilder(graph: graph, mesh: [world.size / stages])
    let decision = builder.decision(
      builder.random(using: &random), batch: 8, microBatches: 2, cuts: stages == 1 ? [] : [2], schedule: .oneForwardOneBackward, optimizer: .adamw)
    return try (1...2).map { steps in
      let report = try run(decision, verifies: false, steps: steps)
      let planned = RunMemory(
        decision: decision, hyperparameters: Hyperparameters(optimizer: .adamw), steps: steps, collectsOutputs: false, verification: nil
      ).bytes(ofRanks: world.rank..<world.rank + 1)
      return "\(planned.ranks) \(report.peakBufferBytes[world.rank])"
    }
  }

  /// A learning rate with which the second step's loss is no number.
  func diverge() throws {
    let graph = try TinyModel.gpt2.graph(batch: 2)
    let builder = DecisionBuilder(graph: graph, mesh: [world.size])
    let decision = builder.decision(builder.replicated, batch: 2)
    var request = RunRequest(
      decision, hyperparameters: Hyperparameters(optimizer: .adamw, learningRate: 1e38), parameters: .generated(seed: 1),
      inputs: StepInputs(graph: graph, batch: 2, seed: 1))
    request.steps = 5
    _ = try Run(request, world: world).carryOut()
  }
}
