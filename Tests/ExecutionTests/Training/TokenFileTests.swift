// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ModelGraph
import Testing

@testable import Execution

struct TokenFileTests {
  private func file(_ tokens: [UInt32], _ element: TokenFile.Element, cut: Int = 0) throws -> TokenFile {
    let path = FileManager.default.temporaryDirectory.appending(path: "tokens-\(UUID().uuidString)").path
    let bytes = tokens.flatMap { token in (0..<element.byteCount).map { UInt8(truncatingIfNeeded: token >> UInt32(8 * $0)) } }
    try Data(bytes.dropLast(cut)).write(to: URL(filePath: path))
    defer { try? FileManager.default.removeItem(atPath: path) }
    return try TokenFile(path: path, element: element)
  }

  private func sequence(_ file: TokenFile, _ number: Int, length: Int, labels: Bool = false) throws -> [Int32] {
    var values = [Int32](repeating: -1, count: length)
    try file.copy(labels ? 1..<length + 1 : 0..<length, ofSequence: number, length: length, vocabulary: 100_000, into: &values)
    return values
  }

  @Test(
    "worked by hand: sequences follow one another, labels are the tokens that follow, and the first comes after the last",
    arguments: TokenFile.Element.allCases)
  func sequences(element: TokenFile.Element) throws {
    let file = try file([10, 11, 12, 13, 14, 15, 16, 17], element)
    #expect(file.count == 8 && file.sequences(of: 3) == 2)
    #expect(try sequence(file, 0, length: 3) == [10, 11, 12])
    #expect(try sequence(file, 1, length: 3) == [13, 14, 15])
    #expect(try sequence(file, 1, length: 3, labels: true) == [14, 15, 16])
    #expect(try sequence(file, 2, length: 3) == [10, 11, 12])
    // Seven tokens and the label of the last use all eight.
    #expect(file.sequences(of: 7) == 1 && file.sequences(of: 8) == 0)
  }

  @Test("a token that the model does not have, and half a token, are named")
  func refusals() throws {
    let wrong = try file([1, 2, 60000, 3], .uint16)
    var values = [Int32](repeating: 0, count: 3)
    #expect {
      try wrong.copy(0..<3, ofSequence: 0, length: 3, vocabulary: 50257, into: &values)
    } throws: { error in
      "\(error)".contains("hold 60000 at place 2, read as uint16; the model's vocabulary has 50257")
    }
    #expect(throws: ExecutionError.self) { try file([1, 2], .uint32, cut: 1) }
  }

  @Test("worked by hand: before a run the tokens that it reads are looked at, and no others", arguments: TokenFile.Element.allCases)
  func looksAhead(element: TokenFile.Element) throws {
    // Four sequences of 3 and a label; the seventh token is the label of the second sequence and the first token of the third.
    let file = try file([0, 1, 2, 3, 4, 5, 99, 7, 8, 9, 10, 11, 12], element)
    for (sequences, isWrong) in [
      (0..<1, false), (0..<2, true), (2..<3, true), (3..<4, false), (3..<5, false), (3..<6, true), (5..<5, false), (7..<9, false), (4..<40, true),
    ] {
      if isWrong {
        #expect { try file.check(sequences: sequences, length: 3, vocabulary: 99) } throws: { "\($0)".contains("hold 99 at place 6") }
      } else {
        try file.check(sequences: sequences, length: 3, vocabulary: 99)
      }
      try file.check(sequences: sequences, length: 3, vocabulary: 100)
    }
  }

  @Test("a model in which a position sees later ones is refused by the operator that lets it")
  func bidirectional() throws {
    var model = BertConfiguration()
    model.head = .maskedLanguageModel
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 2, sequence: 3), 1, 4, 2, 4)
    (model.vocabulary, model.positions) = (50, 3)
    let graph = try model.graph()
    #expect { try StepInputs(graph: graph, batch: 2, tokens: try file(Array(0..<20), .uint16)) } throws: {
      "\($0)".contains("bert.encoder.layer.{i}.attention.self.core (attention) lets the model see")
    }
  }

  @Test(
    "a model's inputs are the sequences of a step, from where an earlier run has stopped; a file that is too short, and a model of images, are refused"
  )
  func inputs() throws {
    var model = GPT2Configuration()
    (model.workload, model.layers, model.hidden, model.heads, model.ffn) = (Workload(batch: 2, sequence: 3), 1, 4, 2, 4)
    (model.vocabulary, model.positions) = (50, 3)
    let graph = try model.graph()
    let tokens = try file(Array(0..<20), .uint16)
    let inputs = try StepInputs(graph: graph, batch: 2, tokens: tokens, tokensDone: 6)
    #expect(inputs.countedLabels == 6 && inputs.tokensPerStep == 6)
    var values = [Int32](repeating: 0, count: 4)
    // Of the second step's two sequences, which begin at 12 and 15, the last two positions.
    try inputs.load(.inputIDs, region: [0..<2, 1..<3], step: 1, into: &values)
    #expect(values == [13, 14, 16, 17])
    try inputs.load(.labels, region: [1..<2, 0..<3], step: 0, into: &values)
    #expect(values.prefix(3) == [10, 11, 12])
    #expect(inputs.tokensTaken(afterSteps: 2) == 18)
    #expect(throws: ExecutionError.self) { try StepInputs(graph: graph, batch: 2, tokens: try file([1, 2, 3], .uint16)) }
  }
}
