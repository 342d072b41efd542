// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import ModelGraph
import Plans
import Strategies

extension DecisionChecks {
  /// Texts that a model goes on with under random plans, each beside the same model on one rank without a cache.
  ///
  /// - Returns: what differs, as text.
  func generate(_ model: TinyModel, seed: UInt64, count: Int) throws -> [String] {
    var problems: [String] = []
    for index in 0..<count {
      var prompts: [[Int32]] = []
      let (decision, label) = try randomDecision("\(model)", seed: seed, case: index) { random, stages, chunks in
        let microBatches = chunks == 1 ? [1, 2][Int(random.next() % 2)] : stages
        let graph = try model.graph(batch: 2, layers: 4, hidden: 24, heads: 6, ffn: 27, vocabulary: 31, sequence: 16)
        // Fewer texts than ranks, or more, of lengths of their own.
        prompts = (0..<1 + random.next() % 5).map { _ in (0..<1 + random.next() % 6).map { _ in Int32(random.next() % 31) } }
        return (graph, 2 * microBatches, microBatches)
      }
      var request = GenerationRequest(decision, parameters: .generated(seed: self.seed), prompts: prompts, newTokens: 6)
      request.verifies = true
      request.stop = 7
      let report = try Generation(request, world: world).carryOut()
      guard let verification = report.verification else { continue }
      if !verification.holds { problems.append("\(label): \(verification)") }
      if verification.comparedPositions != report.newTokens || report.newTokens == 0 {
        problems.append("\(label): \(report.newTokens) tokens, \(verification)")
      }
      for (prompt, sequence) in zip(prompts, report.sequences) {
        let added = sequence.dropFirst(prompt.count)
        let isWhole = added.count == 6 || added.last == 7
        if Array(sequence.prefix(prompt.count)) != prompt || !isWhole || added.dropLast().contains(7) {
          problems.append("\(label): \(prompt) → \(sequence)")
        }
      }
    }
    return problems
  }
}
