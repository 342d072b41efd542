// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ModelGraph
import Testing

@testable import Execution

struct InputFileTests {
  private func graph() throws -> Graph {
    var model = BertConfiguration()
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 1, sequence: 3), 1, 8, 2, 8)
    (model.vocabulary, model.positions, model.head) = (11, 3, .maskedLanguageModel)
    return try model.graph()
  }

  private func inputs(_ json: String, batch: Int = 2, needsLabels: Bool = false) throws -> StepInputs {
    let file = FileManager.default.temporaryDirectory.appending(path: "inputs-\(UUID().uuidString).json")
    try Data(json.utf8).write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    return try StepInputs(graph: try graph(), batch: batch, file: file.path, needsLabels: needsLabels)
  }

  private func values(_ inputs: StepInputs, _ kind: InputKind, _ region: [Range<Int>]) throws -> [Int32] {
    try [Int32](unsafeUninitializedCapacity: region.elementCount) { buffer, count in
      if let base = buffer.baseAddress { try inputs.load(kind, region: region, step: 0, into: base) }
      count = region.elementCount
    }
  }

  @Test("oracle: a rank's region of an array, and the values of inputs that a file leaves out")
  func regions() throws {
    let inputs = try inputs(#"{"input_ids": [[1, 2, 3], [4, 5, 6]], "labels": [[-100, 7, -100], [8, -100, 9]]}"#)
    #expect(inputs.countedLabels == 3)
    #expect(try values(inputs, .inputIDs, [0..<2, 1..<3]) == [2, 3, 5, 6])
    #expect(try values(inputs, .labels, [1..<2, 0..<2]) == [8, -100])
    #expect(try values(inputs, .attentionMask, [0..<1, 0..<3]) == [1, 1, 1])
    #expect(try values(inputs, .tokenTypeIDs, [0..<1, 0..<3]) == [0, 0, 0])
  }

  @Test(
    "golden: inputs that do not fit the model are refused with the reason",
    arguments: [
      (#"{"labels": [[0, 0, 0], [0, 0, 0]]}"#, "input \"input_ids\": is missing, and the model needs it"),
      (#"{"input_ids": [[1, 2, 3], [4, 5, 6]]}"#, "input \"labels\": is missing, and the model needs it"),
      (#"{"input_ids": [[1, 2], [4, 5]], "labels": []}"#, "input \"input_ids\": has shape [2, 2]; the run needs [2, 3]"),
      (#"{"input_ids": [[1, 2, 3], [4, 5]]}"#, "$.input_ids[1]: found an array of 2, expected an array of 3, like those before it"),
      (#"{"input_ids": [[1, 2, 3], [4, 11, 6]]}"#, "input \"input_ids\": has the value 11; expected 0 to 10"),
      (
        #"{"input_ids": [[1, 2, 3], [4, 0.5, 6]]}"#,
        "$.input_ids[1][1]: found the number 0.5, expected a whole number from -2147483648 to 2147483647"
      ),
      (#"{"input_idz": [[1, 2, 3], [4, 5, 6]]}"#, "input \"input_idz\": is not an input that a model can take"),
    ])
  func refusals(json: String, message: String) throws {
    let error = #expect(throws: ExecutionError.self) { try inputs(json, needsLabels: true) }
    #expect(error?.description.contains(message) == true, "\(error?.description ?? "no error")")
  }
}
