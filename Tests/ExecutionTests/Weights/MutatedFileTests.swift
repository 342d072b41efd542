// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ModelGraph
import TestSupport
import Testing

@testable import Execution

/// Damaged model and weight files: whatever stands in one, reading it gives a model or a message.
struct MutatedFileTests {
  private static let fixtures = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../Fixtures").standardized
  static let models = ["bert_dynamo.onnx", "decoder_script.onnx", "gpt2_dynamo.onnx", "operators.onnx", "vit_script.onnx"]
  static let weights = ["onnx/bert_dynamo.inputs.safetensors", "onnx/gpt2_script.expected.safetensors", "transformers/gemma/model.safetensors"]

  /// 500, or as many as TPPLAN_SEEDS says.
  static let seeds = 0..<(ProcessInfo.processInfo.environment["TPPLAN_SEEDS"].flatMap { Int($0) } ?? 500)

  @Test("fuzz: 500 mutated ONNX models", arguments: seeds)
  func onnx(seed: Int) throws {
    let model = Self.models[seed % Self.models.count]
    try read(Self.fixtures.appending(path: "onnx/\(model)"), as: "m.onnx", seed: seed, beside: "gpt2_dynamo.data")
  }

  @Test("fuzz: 500 mutated safetensors files", arguments: seeds)
  func safetensors(seed: Int) throws {
    try read(Self.fixtures.appending(path: Self.weights[seed % Self.weights.count]), as: "m.safetensors", seed: seed)
  }

  private func read(_ original: URL, as name: String, seed: Int, beside: String? = nil) throws {
    var generator = SeededGenerator(seed: seed)
    let directory = try TemporaryDirectory()
    if let beside {
      try FileManager.default.copyItem(
        at: original.deletingLastPathComponent().appending(path: beside), to: URL(filePath: "\(directory.path)/\(beside)"))
    }
    var bytes = [UInt8](try Data(contentsOf: original))
    Self.mutate(&bytes, &generator)
    let file = try directory.write(bytes, as: name)
    do {
      let checkpoint = try Checkpoint(path: file)
      for name in checkpoint.names {
        let entry = try checkpoint.entry(named: name)
        var values = [Float](repeating: 0, count: entry.shape.reduce(1, *))
        try? checkpoint.read(name, AffineView(whole: entry.shape), into: &values)
      }
    } catch {
      // A message says where: it begins with the file, or with the one beside it.
      let message = "\(error)"
      #expect(message.hasPrefix(directory.path) && message.utf8.count > directory.path.utf8.count + 10, "\(message)")
    }
  }

  /// One to four changes: of bits, of numbers at the ends of their ranges, of lengths; parts that are left out, repeated or moved.
  private static func mutate(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
    // Most of a file is numbers that say nothing about its structure, which stands where text is.
    let text = bytes.indices.filter { (0x2d..<0x7b).contains(bytes[$0]) && $0 > 0 }
    for _ in 0..<generator.int(1...4) {
      guard bytes.count > 16 else { return }
      let anywhere = generator.int(0...bytes.count - 1)
      let place = generator.chance(0.7) ? min(max(0, generator.pick(text) + generator.int(-4...4)), bytes.count - 1) : anywhere
      let count = min(generator.int(1...generator.pick([2, 8, 64, 1024])), bytes.count - place)
      switch generator.int(0...6) {
      case 0: bytes[place] ^= 1 << UInt8(generator.int(0...7))
      case 1: bytes[place] = generator.pick([0, 1, 0x7f, 0x80, 0xff])
      case 2: bytes.removeSubrange(place..<place + count)
      case 3: bytes.insert(contentsOf: bytes[place..<place + count], at: generator.int(0...bytes.count))
      case 4: bytes.removeLast(bytes.count - anywhere)
      case 5: for i in place..<place + min(count, 10) { bytes[i] = generator.pick([0x80, 0xff, UInt8(generator.int(0...255))]) }
      default: bytes[place] &+= generator.pick([1, 2, 255])
      }
    }
  }
}
