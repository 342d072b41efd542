// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

@testable import Execution

extension MPIRuns {
  /// Models of Tests/Fixtures/onnx, run with the weights of their own files.
  struct ONNXRunTests {
    static let models = [
      "gpt2_script", "gpt2_dynamo", "bert_script", "bert_dynamo", "vit_script", "vit_dynamo", "llama_dynamo", "decoder_script",
      "decoder_dynamo", "operators",
    ]

    @Test("oracle: onnxruntime's outputs, with the model on one rank and in tensor-parallel halves", arguments: models, [1, 2])
    func outputs(model: String, tensorDegree: Int) throws {
      let folder = try TemporaryFolder()
      let (plan, outputs, path) = (folder.file("plan.json"), folder.file("outputs.safetensors"), "Tests/Fixtures/onnx/\(model)")
      let sequence = model.hasPrefix("vit") ? [] : ["--seq", "8"]
      let priced = try CommandLineRun(
        ["estimate", "\(path).onnx", "hardware/local.json", "--mode", "forward", "--tp", "\(tensorDegree)", "--batch", "2", "-o", plan] + sequence)
      try #require(priced.status == 0, "\(priced.output)")
      let ran = try CommandLineRun(
        ["run", plan, "--weights", "\(path).onnx", "--inputs", "\(path).inputs.safetensors", "--outputs", outputs, "--verify"])
      try #require(ran.status == 0, "\(ran.output)")
      let (found, expected) = (try Safetensors(file: outputs), try Safetensors(file: "\(Self.root)/\(path).expected.safetensors"))
      for entry in expected.entries {
        let (a, b) = (try values(found, entry.name), try values(expected, entry.name))
        #expect(found.entry(named: entry.name)?.shape == entry.shape)
        let error = zip(a, b).map { abs($0 - $1) }.max() ?? .infinity
        #expect(error <= 1e-4 * (b.map(abs).max() ?? 0), "\(entry.name)")
      }
    }

    @Test("What cannot be read is bad input, exit code 65, and says where")
    func badInput() throws {
      let folder = try TemporaryFolder()
      let (fixtures, cut) = ("\(Self.root)/Tests/Fixtures/onnx", folder.file("cut.onnx"))
      try Data(contentsOf: URL(filePath: "\(fixtures)/vit_script.onnx")).prefix(3000).write(to: URL(filePath: cut))
      var run = try CommandLineRun(["search", cut, "hardware/local.json", "--mode", "forward"])
      #expect(run.status == 65 && run.output.contains("\(cut): ModelProto: it is no ONNX model: at byte "), "\(run.output)")

      // Without the file that its weights are in.
      try FileManager.default.copyItem(atPath: "\(fixtures)/gpt2_dynamo.onnx", toPath: folder.file("gpt2.onnx"))
      run = try CommandLineRun(["search", folder.file("gpt2.onnx"), "hardware/local.json"])
      #expect(
        run.status == 65 && run.output.contains("gpt2_dynamo.data cannot be read: No such file or directory; it belongs beside the model"),
        "\(run.output)")

      // Weights of another model.
      let plan = folder.file("plan.json")
      run = try CommandLineRun(
        [
          "estimate", "\(fixtures)/gpt2_dynamo.onnx", "hardware/local.json", "--tp", "1", "--batch", "1", "--seq", "8", "--mode", "forward", "-o",
          plan,
        ])
      #expect(run.status == 0, "\(run.output)")
      run = try CommandLineRun(["run", plan, "--weights", "\(fixtures)/vit_dynamo.onnx"])
      #expect(run.status == 65 && run.output.contains("vit_dynamo.onnx: has no tensor \"model.lm_head.weight\""), "\(run.output)")
    }

    private static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../..").standardized.path

    private func values(_ file: Safetensors, _ name: String) throws -> [Float] {
      let shape = try #require(file.entry(named: name)?.shape)
      var values = [Float](repeating: .nan, count: shape.reduce(1, *))
      try file.read(name, AffineView(whole: shape), into: &values)
      return values
    }
  }
}
