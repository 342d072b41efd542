// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans

/// Prompts that a model goes on with, and how far.
package struct GenerationRequest {
  package var decision: Decision
  package var parameters: ParameterValues
  /// At least one, each of at least one token.
  package var prompts: [[Int32]]
  /// Tokens after each prompt, at most.
  package var newTokens: Int
  /// A token after which a sequence is complete.
  package var stop: Int32?
  /// Whether rank 0 computes the logits once more, on one rank and without a cache.
  package var verifies = false

  package init(_ decision: Decision, parameters: ParameterValues, prompts: [[Int32]], newTokens: Int) {
    self.decision = decision
    self.parameters = parameters
    self.prompts = prompts
    self.newTokens = newTokens
  }

  /// Positions that are computed: the last token of the longest sequence is not read again.
  var positions: Int { (prompts.map(\.count).max() ?? 0) + newTokens - 1 }
  /// Positions that are computed at once, in the first step: those that all prompts have.
  var firstPositions: Int { prompts.map(\.count).min() ?? 1 }

  /// - Throws: `cannotGenerate`, `tooLongText`; `unusableInput` for a token that the model does not have.
  package func check() throws(ExecutionError) {
    let graph = decision.graph
    if let obstacle = graph.generationObstacle { throw .cannotGenerate(model: graph.name, problem: obstacle) }
    if let most = graph.mostPositions, positions > most {
      throw .tooLongText(model: graph.name, positions: most, prompt: positions + 1 - newTokens, newTokens: newTokens)
    }
    let vocabulary = StepInputs.vocabulary(of: graph)
    if let stop, !(0..<vocabulary).contains(Int(stop)) {
      throw .unusableInput(file: "--stop", input: "token", problem: "is \(stop); expected 0 to \(vocabulary - 1)")
    }
    for (number, prompt) in prompts.enumerated() {
      guard let wrong = prompt.first(where: { !(0..<vocabulary).contains(Int($0)) }) else { continue }
      throw .unusableInput(file: "prompt \(number)", input: "input_ids", problem: "has the value \(wrong); expected 0 to \(vocabulary - 1)")
    }
  }
}

extension GenerationRequest {
  /// What the ranks need: of the first step, which has the most positions, and for the keys and values of all of them.
  package func memory() -> RunMemory {
    let first = decision.generating(batch: prompts.count, sequence: firstPositions)
    var memory = RunMemory(
      decision: first, hyperparameters: Hyperparameters(optimizer: first.job.optimizer), collectsOutputs: true,
      verification: verifies ? decision.generating(batch: prompts.count, sequence: positions).onOneRank() : nil)
    memory.cachedPositions = positions
    return memory
  }
}
