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
  }
}
