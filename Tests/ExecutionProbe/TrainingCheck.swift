// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import ModelGraph
import Plans
import Strategies

/// Steps of one training under a random plan, from where a checkpoint in a folder has left it.
extension DecisionChecks {
  /// - Parameters:
  ///   - folder: with a file `tokens` of 16-bit tokens, for models that read tokens, and the checkpoints.
  ///   - steps: the training's steps after this run.
  ///   - fromWeights: one step from the parameters that a run has saved, and not from a checkpoint.
  /// - Returns: each step's loss, as text that has all its digits.
  func train(
    _ model: TinyModel, seed: UInt64, steps: Int, optimizer: OptimizerKind, folder: String, fromWeights: Bool = false
  ) throws -> [String] {
    var (decision, _) = try randomDecision("\(model)", seed: seed) { random, stages, chunks in
      let microBatches = chunks == 1 ? [1, 2, 3][Int(random.next() % 3)] : stages
      let graph = try model.graph(batch: 6 / microBatches, layers: 4, hidden: 24, heads: 6, ffn: 27, vocabulary: 31, sequence: 8)
      return (graph, 6, microBatches)
    }
    decision.job.mode = .train
    decision.job.optimizer = optimizer
    var hyperparameters = Hyperparameters(optimizer: optimizer)
    hyperparameters.learningRate.peak = optimizer == .sgd ? 0.1 : 1e-3
    hyperparameters.learningRate.decay = .cosine
    hyperparameters.learningRate.warmup = 2
    hyperparameters.learningRate.steps = 12
    hyperparameters.clipNorm = 0.3
    if optimizer == .sgd { hyperparameters.momentum = 0.9 }
    let checkpoints = folder + "/checkpoints"
    var parameters = ParameterValues.generated(seed: 5)
    var tokensDone = 0
    if FileManager.default.fileExists(atPath: checkpoints) {
      let checkpoint = try TrainingCheckpoint(path: checkpoints)
      parameters = .resumed(checkpoint)
      tokensDone = checkpoint.manifest.tokens
      if fromWeights { parameters = .checkpoint(try Checkpoint(path: folder + "/weights.safetensors")) }
    }
    try world.barrier()
    let writer = CheckpointWriter(folder: checkpoints)
    if world.rank == 0, !fromWeights { try writer.prepare(stepsDone: parameters.stepsDone) }
    let readsTokens = decision.graph.tensors.contains { $0.kind == .input(.inputIDs) } && decision.graph.positionMixer == nil && model != .flamingo
    let inputs =
      readsTokens
      ? try StepInputs(
        graph: decision.graph, batch: 6, tokens: try TokenFile(path: folder + "/tokens", element: .uint16), tokensDone: tokensDone)
      : StepInputs(graph: decision.graph, batch: 6, seed: 5)
    var request = RunRequest(decision, hyperparameters: hyperparameters, parameters: parameters, inputs: inputs)
    request.steps = fromWeights ? 1 : steps - parameters.stepsDone
    if !fromWeights { (request.checkpoints, request.collectsParameters) = ((writer, nil), true) }
    let report = try Run(request, world: world).carryOut()
    if world.rank == 0, !fromWeights {
      var file = SafetensorsWriter()
      for array in report.parameters { file.add(array.name, shape: array.shape, .float32(array.values)) }
      try file.write(to: folder + "/weights.safetensors")
    }
    return world.rank == 0 ? report.losses.map { "\($0 ?? .nan)" } : []
  }
}
