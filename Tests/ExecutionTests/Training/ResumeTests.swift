// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

extension MPIRuns {
  struct ResumeTests {
    /// Batch normalisation's statistics are those of a micro-batch, so that plans with other micro-batches train another function.
    @Test(
      "differential: a training that goes on under other plans, on other numbers of ranks, has the losses of the one that was not interrupted",
      arguments: [
        ("gpt2", "adamw"), ("gpt2", "sgd"), ("llama", "adamw"), ("bert", "adamw"), ("vit", "sgd"), ("gemma", "adamw"), ("gpt_neox", "adamw"),
        ("mixtral", "adamw"), ("qwen2_moe", "sgd"),
      ])
    func resumesUnderAnyPlan(model: String, optimizer: String) throws {
      let whole = try TrainingFolder()
      let parts = try TrainingFolder()
      let expected = try train(model, optimizer, ranks: 1, seed: 1, steps: 8, in: whole)
      var found: [Double] = []
      for (ranks, seed, steps) in [(2, 7, 2), (4, 17, 5), (1, 3, 6), (6, 23, 8)] {
        found += try train(model, optimizer, ranks: ranks, seed: seed, steps: steps, in: parts)
      }
      #expect(found.count == expected.count)
      for (step, (a, b)) in zip(found, expected).enumerated() {
        #expect(abs(a - b) <= 1e-5 * max(1, abs(b)), "step \(step): \(a), uninterrupted \(b)")
      }
      // Steps take different tokens, or learn: a loss that stands still would hide that nothing is restored.
      #expect(Set(expected).count == expected.count)
    }

    @Test(
      "differential: weights that a run saves, read as a checkpoint of Hugging Face, go on with the loss of the training",
      arguments: ["gpt2", "llama", "bert", "gemma", "gpt_neox", "mixtral", "qwen2_moe"])
    func savedWeights(model: String) throws {
      let whole = try TrainingFolder()
      let parts = try TrainingFolder()
      let expected = try train(model, "adamw", ranks: 1, seed: 1, steps: 4, in: whole)
      _ = try train(model, "adamw", ranks: 4, seed: 17, steps: 3, in: parts)
      let loss = try train(model, "adamw", ranks: 2, seed: 7, steps: 1, in: parts, "weights")
      #expect(loss.count == 1 && abs(loss[0] - expected[3]) <= 1e-5 * max(1, abs(expected[3])), "\(loss), the training's \(expected[3])")
    }

    private func train(_ model: String, _ optimizer: String, ranks: Int, seed: Int, steps: Int, in folder: TrainingFolder, _ more: String...) throws
      -> [Double]
    {
      let run = try ProbeRun(ranks: ranks, ["train", model, "\(seed)", "\(steps)", optimizer, folder.path] + more)
      try #require(run.outcome == .finished(status: 0), "\(run.outcome) \(run.diagnostics)")
      return try run.ranks[0].map { try #require(Double($0)) }
    }
  }
}

/// A folder of its own with a file of tokens below 31, removed at the end.
final class TrainingFolder {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.appending(path: "training-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    var bytes: [UInt8] = []
    var state: UInt64 = 1
    for _ in 0..<1000 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      bytes += [UInt8((state >> 33) % 31), 0]
    }
    try Data(bytes).write(to: URL(filePath: path + "/tokens"))
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
