// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import TestSupport
import Testing

@testable import ModelGraph

@Suite struct NativeModelTests {
  @Test("Differential: decoding what was encoded gives an equal graph, also after sorting keys", arguments: Tiny.all)
  func roundTrip(config: String) throws {
    let graph = try ModelReader.decode(configuration(config))
    for sized in [graph, graph.sized(batch: 7, sequence: graph.choosesSequence ? 3 : nil)] {
      let json = ModelReader.encode(sized)
      #expect(try ModelReader.decode(Document(file: "model.json", value: json).root) == sized)
      let text = try Document(file: "model.json", parsing: Array(json.prettyText.utf8))
      #expect(try ModelReader.decode(text.root) == sized)
      let canonical = try Document(file: "model.json", parsing: json.canonicalBytes)
      #expect(try ModelReader.decode(canonical.root) == sized)
    }
  }

  @Test("Golden: the hand-written file states no more than the encoder, which states it all")
  func handWritten() throws {
    let (graph, hash, defaults) = try ModelReader.read(modelFile("mlp.json"))
    #expect(graph.segments.map(\.name) == ["embedding", "block", "head"])
    #expect(graph.axes[0] == Axis(name: "batch", extent: 8, role: .batch) && graph.axes[1].extent == 128)
    #expect(try ModelReader.decode(Document(file: "model.json", value: ModelReader.encode(graph)).root) == graph)
    #expect(hash.count == 64 && defaults.isEmpty)
  }

  @Test("A frozen weight is written so, and read back; nothing before the first learned one needs a gradient")
  func frozenWeights() throws {
    let gpt2 = try ModelReader.decode(configuration(Tiny.gpt2)).freezing { !$0.contains("c_proj") }
    let json = ModelReader.encode(gpt2)
    #expect(try ModelReader.decode(Document(file: "model.json", value: json).root) == gpt2)
    #expect(json.prettyText.contains("\"frozen\": true"))
    let needed = gpt2.reachesLoss()
    func isNeeded(_ name: String) -> Bool? { gpt2.tensors.firstIndex { $0.name == name }.map { needed[$0] } }
    #expect(isNeeded("transformer.h.{i}.mlp.c_proj.weight") == true && isNeeded("transformer.h.{i}.mlp.c_fc.weight") == false)
    // Copies after the first have something learned before them, so that a block's input needs its gradient.
    #expect(isNeeded("transformer.h.{i}.input") == true && isNeeded("transformer.ln_f") == true)
    #expect(isNeeded("transformer.wte") == false && gpt2.segmentsWithBackward() == [false, true, true])
    // With the blocks frozen too, a learned head is all that has a backward pass.
    let head = gpt2.freezing { !$0.contains("ln_f") }
    #expect(head.segmentsWithBackward() == [false, false, true] && !head.reachesLoss()[head.segments[2].entries[0]])
  }

  @Test("Files that differ in layout only have one hash; a directory is read through its config.json")
  func hashes() throws {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("tpplan-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    let document = try configuration(Tiny.gpt2).value
    try document.prettyText.write(to: directory.appendingPathComponent("config.json"), atomically: true, encoding: .utf8)
    try document.canonicalText.write(to: directory.appendingPathComponent("other.json"), atomically: true, encoding: .utf8)
    let (first, second) = (try ModelReader.read(directory.path), try ModelReader.read(directory.appendingPathComponent("other.json").path))
    #expect(first.sha256 == second.sha256 && first.graph == second.graph)
    #expect(throws: DocumentError.self) { try ModelReader.read(directory.appendingPathComponent("missing.json").path) }
  }

  private static let mistakes: [(find: String, replace: String, message: String)] = [
    ("\"format\": \"tpplan/model/1\"", "\"format\": \"tpplan/model/2\"", "expected \"tpplan/model/1\""),
    ("\"maximum_sequence\": 1024", "\"maximum_sequenc\": 1024", "$.maximum_sequenc: unknown key"),
    ("\"role\": \"feature\"", "\"role\": \"features\"", "$.axes[3].role"),
    ("{\"name\": \"vocab\", \"extent\": 4096,", "{\"name\": \"seq\", \"extent\": 4096,", "$.axes[2].name"),
    ("{\"name\": \"vocab\", \"extent\": 4096,", "{\"name\": \"vocab\",", "$.axes[2]: the key \"extent\" is missing"),
    ("\"in\": [\"mlp.act\"]", "\"in\": [\"mlp.acct\"]", "$.segments[1].operators[3].in[0]"),
    ("\"in\": [\"mlp.act\"]", "\"in\": [\"embedding\"]", "$.segments[1].operators[3].in[0]"),
    ("\"function\": \"gelu\"", "\"function\": \"mish\"", "$.segments[1].operators[2].function"),
    ("\"function\": \"gelu\"", "\"causal\": true, \"function\": \"gelu\"", "$.segments[1].operators[2].causal: unknown key"),
    ("\"op\": \"activation\"", "\"op\": \"activations\"", "$.segments[1].operators[2].op"),
    ("\"axes\": [\"hidden\", \"ffn\"]", "\"axes\": [\"hidden\", \"fnn\"]", "$.segments[1].operators[3].weights[0].axes[1]"),
    ("\"axes\": [\"hidden\", \"ffn\"]", "\"axes\": [\"hidden\", \"hidden\"]", "$.segments[1].operators[3]"),
    ("\"axes\": [\"hidden\", \"ffn\"]", "\"axes\": [\"hidden\", \"ffn\"], \"stored\": {\"offset\": 1}", "reaches beyond the end"),
    ("\"in\": [\"head\", \"labels\"]", "\"in\": [\"head\"]", "$.segments[2].operators[1]"),
    ("\"in\": [\"head\", \"labels\"]", "\"in\": [\"head\", \"input_ids\", \"labels\"]", "$.segments[2].operators[1]"),
    ("\"tensor\": \"head\"", "\"tensor\": \"tail\"", "$.outputs[0].tensor"),
    ("\"loss\": \"loss\"", "\"loss\": \"head\"", "$.loss"),
    ("\"exits\": [\"mlp.fc_out.bias\"]", "\"exits\": [\"mlp.act\"]", "model.json: segment head: takes in"),
    ("\"name\": \"mlp.fc_out.bias\", \"op\"", "\"name\": \"mlp.fc_in.bias\", \"op\"", "$.segments[1].operators[4].name"),
    ("\"entries\": [{\"name\": \"mlp.input\"", "\"repeats\": 2, \"entries\": [{\"name\": \"mlp.input\"", "needs {i}"),
    ("\"mlp.fc_in.bias\", \"axes\"", "\"mlp.fc_in.weight\", \"axes\"", "$.segments[1].operators[1].weights[0].name"),
    ("{\"name\": \"labels\",", "{\"name\": \"attention_mask\", \"axes\": []}, {\"name\": \"labels\",", "$.inputs[1]"),
  ]

  @Test("A mistake in a native file is named by its path", arguments: mistakes)
  func mistakesAreNamed(find: String, replace: String, message: String) throws {
    let text = try String(contentsOfFile: modelFile("mlp.json"), encoding: .utf8)
    let range = try #require(text.range(of: find))
    let mistaken = text.replacingCharacters(in: range, with: replace)
    let error = #expect(throws: (any Error).self) {
      try ModelReader.decode(Document(file: "model.json", parsing: Array(mistaken.utf8)).root)
    }
    let description = error.map { "\($0)" } ?? ""
    #expect(description.hasPrefix("model.json: ") && description.contains(message), "\(description)")
  }

  @Test("Mutated files are read or refused by name, and what is read survives the native format", arguments: 0..<200)
  func mutations(seed: Int) throws {
    var random = SeededGenerator(seed: seed)
    let original = try configuration(Tiny.all[seed % Tiny.all.count])
    let native = ModelReader.encode(try ModelReader.decode(original))
    for value in [original.value, original.value, native, native] {
      let mutated = Document(file: "mutated.json", value: mutate(value, &random))
      do {
        let graph = try ModelReader.decode(mutated.root)
        let again = Document(file: "again.json", value: ModelReader.encode(graph))
        #expect(try ModelReader.decode(again.root) == graph)
      } catch {
        #expect("\(error)".hasPrefix("mutated.json: "), "\(error)")
      }
    }
  }

  /// The value with one randomly chosen part replaced, removed or duplicated.
  private func mutate(_ value: JSON, _ random: inout SeededGenerator) -> JSON {
    let replacements: [JSON] = [
      .null, true, "", "hidden", "input_ids", -1, 0, 1, 3, 16_777_216, .int(.max), .int(.min), 0.5, 1e300, -2.5, [], [1, "a"], [:],
      ["rope_type": "llama3"],
    ]
    let replacement = replacements[Int.random(in: 0..<replacements.count, using: &random)]
    switch value {
    case .array(var elements) where !elements.isEmpty && Int.random(in: 0..<8, using: &random) > 0:
      let index = Int.random(in: 0..<elements.count, using: &random)
      switch Int.random(in: 0..<10, using: &random) {
      case 0: elements.remove(at: index)
      case 1: elements.insert(elements[index], at: index)
      case 2: elements.swapAt(index, 0)
      default: elements[index] = mutate(elements[index], &random)
      }
      return .array(elements)
    case .object(var object) where !object.members.isEmpty && Int.random(in: 0..<8, using: &random) > 0:
      let member = object.members[Int.random(in: 0..<object.members.count, using: &random)]
      object[member.key] = Int.random(in: 0..<10, using: &random) == 0 ? nil : mutate(member.value, &random)
      return .object(object)
    default: return replacement
    }
  }
}
