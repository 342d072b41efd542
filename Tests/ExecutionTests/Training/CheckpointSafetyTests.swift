// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

extension MPIRuns {
  /// What must not happen to a training's last good checkpoint.
  struct CheckpointSafetyTests {
    private func run(_ plan: String, _ arguments: [String], in folder: TrainingFolder) throws -> CommandLineRun {
      try CommandLineRun(["run", plan, "--tokens", "\(folder.path)/tokens"] + arguments)
    }

    @Test("a model of the same name with other layers, or layers of other sizes, does not go on from a checkpoint")
    func otherModels() throws {
      let folder = try TrainingFolder()
      let path = "\(folder.path)/checkpoints"
      let plan = try TrainingProcess.plan(["--tp", "2"], in: folder)
      #expect(try run(plan, ["--steps", "2", "--checkpoint", path], in: folder).status == 0)
      for (changed, by, problem) in [
        (#""n_layer": 2"#, #""n_layer": 1"#, "has 16 tensors that the model lacks (transformer.h.1.attn.c_attn.k.bias, "),
        (#""n_layer": 2"#, #""n_layer": 3"#, "lacks 16 tensors of the model (transformer.h.2.attn.c_attn.k.bias, "),
        (#""n_inner": 64"#, #""n_inner": 32"#, "has the tensor transformer.h.0.mlp.c_fc.bias with the shape [64], and the model's has [32]"),
      ] {
        let other = "\(folder.path)/other.json"
        let model = try String(contentsOf: CommandLineRun.folder.appending(path: "Tests/Fixtures/torch/gpt2/config.json"), encoding: .utf8)
        try model.replacing(changed, with: by).write(toFile: "\(folder.path)/config.json", atomically: false, encoding: .utf8)
        let planned = try CommandLineRun([
          "estimate", "\(folder.path)/config.json", "hardware/local.json", "--batch", "4", "--seq", "8", "-o", other,
        ])
        #expect(planned.status == 0, "\(planned.output)")
        let run = try run(other, ["--steps", "4", "--resume", path, "--checkpoint", path, "--keep", "1"], in: folder)
        #expect(run.status == 65 && run.output.contains(problem), "\(run.output)")
        #expect(checkpoints(in: path).complete == ["step-00000002"])
      }
    }

    @Test("a training that diverges leaves the checkpoint before it did, and says which; one that ends well leaves as many as asked for")
    func divergence() throws {
      let folder = try TrainingFolder()
      let path = "\(folder.path)/checkpoints"
      let plan = try TrainingProcess.plan(["--tp", "2"], in: folder)
      let ended = try run(plan, ["--steps", "5", "--checkpoint", path + "/", "--every", "1", "--keep", "1"], in: folder)
      #expect(ended.status == 0)
      #expect(checkpoints(in: path).complete == ["step-00000005"])
      // Of fewer steps than the training has.
      #expect(try run(plan, ["--mode", "forward", "--resume", path], in: folder).status == 0)

      let other = "\(folder.path)/other"
      let diverged = try run(plan, ["--steps", "50", "--checkpoint", other, "--every", "1", "--keep", "1", "--lr", "1e8"], in: folder)
      #expect(diverged.status == 1)
      let text =
        #/the loss of step (\d+) is \S+, so the run ended there; the checkpoint (\S+) holds the parameters that give it; go on from (\S+) \(/#
      let match = try #require(try text.firstMatch(in: diverged.output), "\(diverged.output)")
      let step = try #require(Int(match.1))
      let left = [step - 1, step].map { "step-" + String(format: "%08d", $0) }
      #expect(checkpoints(in: other).complete == left)
      #expect(["\(match.3)", "\(match.2)"] == left.map { "\(other)/\($0)" })
    }

    @Test("of two trainings in one folder the second is refused, until the first has ended, however that is")
    func twoTrainings() throws {
      let folder = try TrainingFolder()
      let path = "\(folder.path)/checkpoints"
      let options = ["--checkpoint", path, "--every", "1", "--keep", "2"]
      let first = try TrainingProcess(["--tp", "2"], ["--steps", "100000"] + options, in: folder)
      try #require(first.waits { !checkpoints(in: path).complete.isEmpty }, "\(first.diagnostics)")
      let rank = try #require(first.rank(0))
      let second = try run(try TrainingProcess.plan(["--devices", "1"], in: folder), ["--steps", "3"] + options, in: folder)
      #expect(second.status == 73)
      #expect(second.output.contains(": cannot be written: another run (process \(rank) on "), "\(second.output)")
      kill(rank, SIGKILL)
      first.expectCleanEnd()
      #expect(!FileManager.default.fileExists(atPath: path + "/lock"))
      let last = try #require(checkpoints(in: path).complete.last.flatMap { Int($0.dropFirst("step-".count)) })
      let third = try run(
        try TrainingProcess.plan(["--devices", "1"], in: folder), ["--steps", "\(last + 2)", "--resume", path] + options, in: folder)
      #expect(third.status == 0, "\(third.output)")
      #expect(try FileManager.default.contentsOfDirectory(atPath: path).sorted() == checkpoints(in: path).complete)
      #expect(checkpoints(in: path).complete.count == 2)
    }
  }
}
