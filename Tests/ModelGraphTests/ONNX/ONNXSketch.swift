// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ONNXFormat
import SwiftProtobuf
import TestSupport

@testable import ModelGraph

/// An ONNX model that a test writes by hand: token numbers `[batch, sequence]` to features `[batch, sequence, 16]`, and on from there.
struct ONNXSketch {
  var model = Onnx_ModelProto()
  private var count = 0

  /// What the first node gives.
  static let embedded = "embedded"

  init(opset: Int64 = 20) {
    model.irVersion = 9
    var version = Onnx_OperatorSetIdProto()
    version.version = opset
    model.opsetImport = [version]
    input("input_ids", [nil, nil], type: 7)
    node("Gather", [weight("embed.weight", [50, 16]), "input_ids"], to: Self.embedded)
  }

  mutating func input(_ name: String, _ shape: [Int?], type: Int32) {
    var value = Onnx_ValueInfoProto()
    value.name = name
    value.type.tensorType.elemType = type
    value.type.tensorType.shape.dim = shape.enumerated().map { axis, extent in
      var dim = Onnx_TensorShapeProto.Dimension()
      if let extent { dim.dimValue = Int64(extent) } else { dim.dimParam = "d\(axis)" }
      return dim
    }
    model.graph.input.append(value)
  }

  /// A floating-point initializer of numbers that all differ.
  mutating func weight(_ name: String, _ shape: [Int], _ values: [Float]? = nil) -> String {
    var tensor = Onnx_TensorProto()
    (tensor.name, tensor.dataType, tensor.dims) = (name, 1, shape.map { Int64($0) })
    let salt = Float(model.graph.initializer.count)
    tensor.floatData = values ?? (0..<shape.reduce(1, *)).map { sin(Float($0) * 0.37 + salt) }
    model.graph.initializer.append(tensor)
    return name
  }

  /// Whole numbers; one without axes where `shape` is empty.
  mutating func integers(_ values: [Int], _ shape: [Int]? = nil) -> String {
    var tensor = Onnx_TensorProto()
    count += 1
    (tensor.name, tensor.dataType, tensor.dims) = ("c\(count)", 7, (shape ?? [values.count]).map { Int64($0) })
    tensor.int64Data = values.map { Int64($0) }
    model.graph.initializer.append(tensor)
    return tensor.name
  }

  mutating func number(_ value: Float) -> String {
    count += 1
    return weight("c\(count)", [], [value])
  }

  /// A node of one result, which it returns the name of.
  @discardableResult
  mutating func node(
    _ op: String, _ inputs: [String], to output: String? = nil, ints: [String: [Int]] = [:], int: [String: Int] = [:], float: [String: Float] = [:]
  ) -> String {
    var node = Onnx_NodeProto()
    count += 1
    (node.opType, node.input, node.output, node.name) = (op, inputs, [output ?? "v\(count)"], "node_\(count)")
    for (name, values) in ints.sorted(by: { $0.key < $1.key }) {
      node.attribute.append(.with { ($0.name, $0.type, $0.ints) = (name, .ints, values.map { Int64($0) }) })
    }
    for (name, value) in int.sorted(by: { $0.key < $1.key }) {
      node.attribute.append(.with { ($0.name, $0.type, $0.i) = (name, .int, Int64(value)) })
    }
    for (name, value) in float.sorted(by: { $0.key < $1.key }) { node.attribute.append(.with { ($0.name, $0.type, $0.f) = (name, .float, value) }) }
    model.graph.node.append(node)
    return node.output[0]
  }

  /// Queries, keys and values of 4 heads of 4 features, `[batch, heads, sequence, 4]`, the keys transposed.
  mutating func heads(_ x: String) -> (q: String, k: String, v: String) {
    func head(_ name: String, _ order: [Int]) -> String {
      let product = node("MatMul", [x, weight("\(name).weight", [16, 16])])
      return node("Transpose", [node("Reshape", [product, integers([0, 0, 4, 4])])], ints: ["perm": order])
    }
    return (head("q", [0, 2, 1, 3]), head("k", [0, 2, 3, 1]), head("v", [0, 2, 1, 3]))
  }

  /// The positions of a sequence, `[sequence]`.
  mutating func positions() -> String {
    let length = node("Gather", [node("Shape", ["input_ids"]), integers([1], [])])
    return node("Range", [integers([0], []), length, integers([1], [])])
  }

  /// From `[batch, heads, sequence, 4]` to features.
  mutating func joined(_ x: String) -> String {
    node("Reshape", [node("Transpose", [x], ints: ["perm": [0, 2, 1, 3]]), integers([0, 0, 16])])
  }

  /// The model that gives a value, beside the outputs that it has, written to a file and read.
  func graph(giving output: String, in folder: TemporaryFolder) throws -> Graph {
    var model = model
    model.graph.output.append(.with { $0.name = output })
    let file = folder.file("m.onnx")
    let bytes: [UInt8] = try model.serializedBytes()
    try Data(bytes).write(to: URL(filePath: file))
    return try ModelReader.read(file).graph
  }
}
