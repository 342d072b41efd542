// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ONNXFormat
import SwiftProtobuf
import TestSupport
import Testing

@testable import ModelGraph

/// Well-formed files whose graphs are damaged: nodes that read something else, other operators, numbers at the ends of their ranges.
struct ONNXMutationTests {
  static let models = ["bert_dynamo", "bert_script", "decoder_dynamo", "decoder_script", "operators", "vit_script", "gpt2_script", "llama_dynamo"]

  /// 500, or as many as TPPLAN_SEEDS says.
  static let seeds = 0..<(ProcessInfo.processInfo.environment["TPPLAN_SEEDS"].flatMap { Int($0) } ?? 500)

  @Test("fuzz: 500 damaged graphs are read, or refused with a message that begins with the file", arguments: seeds)
  func damaged(seed: Int) throws {
    var generator = SeededGenerator(seed: seed)
    let path = ONNXGraphTests.path(Self.models[seed % Self.models.count])
    var model = try Onnx_ModelProto(serializedBytes: [UInt8](try Data(contentsOf: URL(filePath: path))))
    for _ in 0..<generator.int(1...3) { Self.mutate(&model, &generator) }
    let folder = try TemporaryFolder()
    let file = folder.file("m.onnx")
    let bytes: [UInt8] = try model.serializedBytes()
    try Data(bytes).write(to: URL(filePath: file))
    do {
      _ = try ONNXModel(readingFrom: file)
    } catch {
      #expect("\(error)".hasPrefix(file + ": "), "\(error)")
    }
  }

  private static let extremes: [Int64] = [.min, -1 << 40, -3, -2, -1, 0, 1, 2, 3, 5, 16, 1 << 24, 1 << 40, .max]

  private static func mutate(_ model: inout Onnx_ModelProto, _ generator: inout SeededGenerator) {
    let node = generator.int(0...model.graph.node.count - 1)
    let initializer = generator.int(0...model.graph.initializer.count - 1)
    let names = model.graph.node.flatMap(\.output) + model.graph.initializer.map(\.name) + model.graph.input.map(\.name)
    switch generator.int(0...9) {
    case 0:
      if let input = model.graph.node[node].input.indices.randomElement(using: &generator) {
        model.graph.node[node].input[input] = generator.pick(names)
      }
    case 1: model.graph.node[node].opType = generator.pick(model.graph.node).opType
    case 2: model.graph.node.remove(at: node)
    case 3:
      guard let attribute = model.graph.node[node].attribute.indices.randomElement(using: &generator) else { return }
      model.graph.node[node].attribute[attribute].i = generator.pick(extremes)
      if let number = model.graph.node[node].attribute[attribute].ints.indices.randomElement(using: &generator) {
        model.graph.node[node].attribute[attribute].ints[number] = generator.pick(extremes)
      }
      model.graph.node[node].attribute[attribute].f = generator.pick([0, -1, .nan, .infinity, 1e30])
    case 4:
      // Numbers of a shape, an index or a bound.
      let whole = model.graph.initializer.indices.filter { model.graph.initializer[$0].dataType == 7 }
      guard let tensor = whole.randomElement(using: &generator) else { return }
      let count = max(0, min(model.graph.initializer[tensor].dims.reduce(1, &*), 64))
      model.graph.initializer[tensor].clearRawData()
      model.graph.initializer[tensor].int64Data = (0..<count).map { _ in generator.pick(extremes) }
    case 5:
      guard let number = model.graph.initializer[initializer].dims.indices.randomElement(using: &generator) else { return }
      model.graph.initializer[initializer].dims[number] = generator.pick(extremes)
    case 6: model.graph.initializer[initializer].dims.shuffle(using: &generator)
    case 7: model.graph.initializer[initializer].dims.append(1)
    case 8:
      // The value of a Constant node.
      let constants = model.graph.node.indices.filter { model.graph.node[$0].attribute.first?.hasT == true }
      guard let constant = constants.randomElement(using: &generator), model.graph.node[constant].attribute[0].t.dataType == 7 else { return }
      let count = max(0, min(model.graph.node[constant].attribute[0].t.dims.reduce(1, &*), 64))
      model.graph.node[constant].attribute[0].t.clearRawData()
      model.graph.node[constant].attribute[0].t.int64Data = (0..<count).map { _ in generator.pick(extremes) }
    default:
      let input = generator.int(0...model.graph.input.count - 1)
      guard let axis = model.graph.input[input].type.tensorType.shape.dim.indices.randomElement(using: &generator) else { return }
      model.graph.input[input].type.tensorType.shape.dim[axis].dimValue = generator.pick(extremes)
    }
  }
}
