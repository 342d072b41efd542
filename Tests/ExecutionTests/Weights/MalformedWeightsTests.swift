// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

@testable import Execution

struct MalformedWeightsTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private static func entry(_ name: String, _ dtype: String, _ shape: String, _ begin: Int, _ end: Int) -> String {
    #""\#(name)":{"dtype":"\#(dtype)","shape":\#(shape),"data_offsets":[\#(begin),\#(end)]}"#
  }

  @Test(
    "what is wrong is named, with the tensor",
    arguments: [
      (entry("a", "F99", "[1]", 0, 4), "a", "dtype is \"F99\""),
      (entry("a", "F32", "[2]", 0, 4), "a", "shape [2] of F32 takes 8 bytes, and data_offsets [0, 4] has 4"),
      (entry("a", "F32", "[1]", 4, 0), "a", "data_offsets is [4, 0]"),
      (
        entry("a", "F32", "[1]", -4, 0), "a",
        "the header, which begins at byte 8, has at $.a.data_offsets[0] the number -4, expected a whole number of at least 0"
      ),
      (entry("a", "F32", "[2]", 0, 8), "a", "ends at byte 8, and the file has 4 bytes of data"),
      (entry("a", "F32", "[-1]", 0, 4), "a", "has at $.a.shape[0] the number -1, expected a whole number of at least 0"),
      (entry("a", "F32", "[4611686018427387904, 4]", 0, 0), "a", "shape is [4611686018427387904, 4]"),
      (entry("a", "F16", "[1]", 0, 2), nil, "2 bytes after the last tensor"),
      (entry("a", "F16", "[1]", 2, 4), "a", "begins at byte 2 and leaves a hole"),
      (entry("a", "F32", "[1]", 0, 4) + "," + entry("b", "F16", "[1]", 2, 4), "b", "begins at byte 2 and overlaps"),
      (#""a":{"dtype":"F32","shape":[1]}"#, "a", "has no \"data_offsets\" at $.a, expected dtype, shape and data_offsets"),
      (#""a":{"dtype":"F32","shape":[1],"data_offset":[0,4]}"#, "a", "is \"data_offset\" meant?"),
      (#""a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}"#, "a", "has at $.a.shape[0] the string \"1\", expected a whole number"),
      (#""a":3"#, "a", "has at $.a the number 3, expected an object"),
      (#""__metadata__":{"k":3}"#, nil, "has at $.__metadata__.k the number 3, expected a string"),
      // {"a":} begins at byte 8.
      (#""a":"#, nil, "is not valid JSON at byte 13: expected a value, found '}'"),
      // Bytes are counted, not characters: the name has four of them for three.
      (#""\u{e9}aa":"#.replacing("\\u{e9}", with: "\u{e9}"), nil, "is not valid JSON at byte 16"),
      (entry("a", "F32", "[1]", 0, 4) + "," + entry("a", "F32", "[1]", 0, 4), nil, "the key \"a\" occurs twice in one object"),
    ] as [(String, String?, String)])
  func named(header: String, tensor: String?, problem: String) throws {
    let file = try directory.write(safetensors("{\(header)}", [0, 0, 0, 0]), as: "m.safetensors")
    let error = #expect(throws: ExecutionError.self) { try Safetensors(file: file) }
    guard case .malformedWeights(file, tensor, let what) = error else { return #expect(error == .noSuchTensor(file: file, tensor: "")) }
    #expect(what.contains(problem))
  }

  @Test("thousands of tensors are read in well under a second")
  func manyTensors() throws {
    let count = 20_000
    let header = (0..<count).map { Self.entry("model.layers.\($0).weight", "U8", "[1]", $0, $0 + 1) }.joined(separator: ",")
    let file = try directory.write(safetensors("{\(header)}", Array(repeating: 0, count: count)), as: "m.safetensors")
    var weights: Safetensors?
    let time = try ContinuousClock().measure { weights = try Safetensors(file: file) }
    #expect(weights?.entries.count == count)
    // A tenth of this without optimisation; a reader that is quadratic in tensors takes minutes.
    #expect(time < .seconds(10))
  }

  @Test("a file that is not of the format at all is refused", arguments: [[], [1, 2], Array("{\"a\": 1} and so on".utf8), safetensors("[]", [])])
  func notSafetensors(content: [UInt8]) throws {
    let file = try directory.write(content, as: "m.safetensors")
    #expect(throws: ExecutionError.self) { try Safetensors(file: file) }
  }

  @Test("fuzz: a damaged file is read or refused", arguments: 0..<10)
  func damaged(seed: Int) throws {
    let header = "{\(Self.entry("w", "F32", "[2,3]", 0, 24)),\(Self.entry("h", "F16", "[4]", 24, 32)),\"__metadata__\":{\"k\":\"v\"}}"
    let valid = safetensors(header, (0..<32).map { UInt8($0) })
    var random = SeededGenerator(seed: seed)
    var refused = 0
    for _ in 0..<50 {
      let file = try directory.write(mutated(valid, using: &random), as: "m.safetensors")
      guard let weights = try? Safetensors(file: file) else {
        refused += 1
        continue
      }
      for entry in weights.entries {
        var values = [Float](repeating: 0, count: entry.count)
        try? weights.read(entry.name, AffineView(whole: entry.shape), into: &values)
      }
    }
    // Never a crash, which this process would not survive; and most damage is noticed.
    #expect(refused > 25)
  }

  private func mutated(_ bytes: [UInt8], using random: inout SeededGenerator) -> [UInt8] {
    var bytes = bytes
    for _ in 0..<Int.random(in: 1...3, using: &random) where !bytes.isEmpty {
      let at = Int.random(in: 0..<bytes.count, using: &random)
      switch Int.random(in: 0..<5, using: &random) {
      case 0: bytes[at] = UInt8.random(in: 0...255, using: &random)
      case 1: bytes[at] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      case 2: bytes.removeSubrange(at...)
      case 3: bytes.remove(at: at)
      default: bytes.insert(UInt8(ascii: "0") + UInt8.random(in: 0..<10, using: &random), at: at)
      }
    }
    return bytes
  }
}

struct CheckpointTests {
  let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func write(_ name: String, _ value: Float, as file: String) throws {
    var writer = SafetensorsWriter()
    writer.add(name, shape: [1], .float32([value]))
    try writer.write(to: "\(directory.path)/\(file)")
  }

  private func value(_ checkpoint: Checkpoint, _ name: String) throws -> Float {
    var result: Float = .nan
    try checkpoint.read(name, AffineView(whole: [1]), into: &result)
    return result
  }

  @Test("an index finds each tensor in its shard, named itself or by its directory")
  func index() throws {
    try write("a", 1, as: "model-1.safetensors")
    try write("b", 2, as: "model-2.safetensors")
    let index = try directory.write(
      Array(#"{"metadata":{"total_size":8},"weight_map":{"b":"model-2.safetensors","a":"model-1.safetensors"}}"#.utf8),
      as: "model.safetensors.index.json")
    for path in [index, directory.path] {
      let checkpoint = try Checkpoint(path: path)
      #expect(checkpoint.names == ["a", "b"])
      #expect(try value(checkpoint, "a") == 1)
      #expect(try value(checkpoint, "b") == 2)
      #expect(checkpoint.contains("c") == false)
      #expect(throws: ExecutionError.noSuchTensor(file: path, tensor: "c")) { try checkpoint.entry(named: "c") }
    }
  }

  @Test("a directory without an index has one file of weights")
  func singleFile() throws {
    #expect(throws: ExecutionError.self) { try Checkpoint(path: directory.path) }
    try write("a", 1, as: "x.safetensors")
    #expect(try value(try Checkpoint(path: directory.path), "a") == 1)
    try write("a", 2, as: "y.safetensors")
    #expect(throws: ExecutionError.self) { try Checkpoint(path: directory.path) }
    try write("a", 3, as: "model.safetensors")
    #expect(try value(try Checkpoint(path: directory.path), "a") == 3)
  }

  @Test(
    "an index that does not hold is refused",
    arguments: [
      #"{"weight_map":{"a":"../model-1.safetensors"}}"#, #"{"weight_map":{"a":"model-9.safetensors"}}"#,
      #"{"weight_map":{"c":"model-1.safetensors"}}"#, #"{"weight_map":{"a":1}}"#, #"{}"#, #"[]"#, "",
    ])
  func badIndex(_ text: String) throws {
    try write("a", 1, as: "model-1.safetensors")
    let index = try directory.write(Array(text.utf8), as: "model.safetensors.index.json")
    #expect(throws: ExecutionError.self) { try Checkpoint(path: index) }
  }
}
