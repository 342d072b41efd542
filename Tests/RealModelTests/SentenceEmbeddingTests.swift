// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import TestSupport
import Testing

/// A folder with config.json and model.safetensors.
private let realModel = ProcessInfo.processInfo.environment["TPPLAN_REAL_MODEL"]

/// A published checkpoint through the command line, against what transformers and PyTorch computed from it.
///
/// `make test-real` fetches the checkpoint and names its folder in `TPPLAN_REAL_MODEL`.
@Suite(.serialized, .enabled(if: realModel != nil, "TPPLAN_REAL_MODEL names no folder; `make test-real` fetches one"))
struct SentenceEmbeddingTests {
  /// Fp32 on both sides, elements below 1: what two orders of summation differ by stays well inside.
  static let tolerance: Float = 1e-5

  /// The search's own choice, which is to split the batch where there is a batch; and without that one, so that layers are split.
  enum Space: String, CaseIterable {
    case whole, withoutDataSplits

    var options: [String] { self == .whole ? [] : ["--forbid", "*=data"] }
  }

  @Test(arguments: [1, 2, 4], Space.allCases)
  func meanPooledEmbeddings(ranks: Int, space: Space) throws {
    let expected = try ExpectedEmbeddings()
    let model = try #require(realModel)
    let folder = try TemporaryFolder()
    let (plan, inputs, outputs) = (folder.file("plan.json"), folder.file("inputs.json"), folder.file("outputs.safetensors"))
    try expected.inputs.write(to: URL(filePath: inputs))

    try CommandLineRun(
      ["search", model, "hardware/local.json", "--mode", "forward", "--devices", "\(ranks)", "--batch", "\(expected.batch)"]
        + ["--seq", "\(expected.positions)", "-o", plan] + space.options
    ).requireSuccess()
    try CommandLineRun(["run", plan, "--mode", "forward", "--weights", model, "--inputs", inputs, "--outputs", outputs]).requireSuccess()

    let pooled = expected.meanPool(try hiddenState(outputs, shape: [expected.batch, expected.positions, expected.hidden]))
    for (sentence, (found, values)) in zip(pooled, expected.meanPooled).enumerated() {
      let error = zip(found, values).map { abs($0 - $1) }.max() ?? .infinity
      #expect(error <= Self.tolerance, "sentence \(sentence), \"\(expected.text[sentence])\"")
    }
  }

  private func hiddenState(_ file: String, shape: [Int]) throws -> [Float] {
    let outputs = try Safetensors(file: file)
    let entry = try #require(outputs.entry(named: "last_hidden_state"), "\(outputs.entries.map(\.name))")
    try #require(entry.shape == shape)
    var values = [Float](repeating: 0, count: entry.count)
    try outputs.read(entry.name, AffineView(whole: shape), into: &values)
    return values
  }
}

/// Tests/Fixtures/minilm.json: token ids with padding, and the sentence embeddings that the reference implementation gave.
struct ExpectedEmbeddings: Decodable {
  let text: [String]
  let inputIds, tokenTypeIds, attentionMask: [[Int]]
  let meanPooled: [[Float]]

  init() throws {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../Fixtures/minilm.json").standardized
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    self = try decoder.decode(Self.self, from: Data(contentsOf: file))
  }

  var batch: Int { inputIds.count }
  var positions: Int { inputIds[0].count }
  var hidden: Int { meanPooled[0].count }

  /// What `--inputs` takes.
  var inputs: Data {
    get throws {
      try JSONEncoder().encode(["input_ids": inputIds, "token_type_ids": tokenTypeIds, "attention_mask": attentionMask])
    }
  }

  /// The mean of `states`, [batch, positions, hidden], over the positions that the mask lets through.
  func meanPool(_ states: [Float]) -> [[Float]] {
    attentionMask.enumerated().map { row, mask in
      let kept = mask.indices.filter { mask[$0] == 1 }
      return (0..<hidden).map { feature in
        kept.reduce(Float(0)) { $0 + states[(row * positions + $1) * hidden + feature] } / Float(kept.count)
      }
    }
  }
}
