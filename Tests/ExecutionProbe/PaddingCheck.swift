// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import ModelGraph

extension DecisionChecks {
  /// BERT on sequences of 8 of which the mask hides the last 3, and on the same 5 tokens without a mask: what the two give for the 5 tokens.
  ///
  /// - Parameter ring: around a ring, of which a rank may have hidden keys only; otherwise by heads.
  func padding(ring: Bool) throws -> [String] {
    let tokens = [[3, 14, 15, 9, 26], [5, 30, 8, 9, 7]]
    let padded = try logits(of: tokens.map { $0 + [1, 1, 1] }, mask: tokens.map { _ in [1, 1, 1, 1, 1, 0, 0, 0] }, ring: ring)
    let plain = try logits(of: tokens, mask: nil, ring: ring)
    guard world.rank == 0 else { return [] }
    let classes = 31
    var worst: Float = 0
    for sample in 0..<2 {
      for i in 0..<5 * classes { worst = max(worst, abs(padded[sample * 8 * classes + i] - plain[sample * 5 * classes + i])) }
    }
    let largest = plain.reduce(0) { max($0, abs($1)) }
    return worst <= 1e-5 * largest ? [] : ["\(worst) of \(largest)"]
  }

  private func logits(of tokens: [[Int]], mask: [[Int]]?, ring: Bool) throws -> [Float] {
    let file = FileManager.default.temporaryDirectory.appending(path: "padding-\(UUID().uuidString).json")
    defer { try? FileManager.default.removeItem(at: file) }
    var inputs = ["input_ids": tokens]
    inputs["attention_mask"] = mask
    try JSONEncoder().encode(inputs).write(to: file)
    // The table of positions is of one size, or the generator would make another one.
    let graph = try TinyModel.bert.graph(batch: 2, hidden: 24, heads: 6, vocabulary: 31, sequence: 8).sized(batch: 2, sequence: tokens[0].count)
    let builder = DecisionBuilder(graph: graph, mesh: [world.size])
    let assignments = builder.assignments([{ ring ? ["ring", "sequence"] : builder.megatron($0, $1) }])
    let decision = builder.decision(assignments, batch: 2, mode: .forward)
    var request = RunRequest(
      decision, hyperparameters: Hyperparameters(optimizer: .adamw), parameters: .generated(seed: 1),
      inputs: try StepInputs(graph: graph, batch: 2, file: file.path, needsLabels: false))
    request.collectsOutputs = true
    let report = try Run(request, world: world).carryOut()
    if report.losses != [nil] { throw ProbeError(description: "a loss without labels") }
    return report.outputs.first?.values ?? []
  }
}
