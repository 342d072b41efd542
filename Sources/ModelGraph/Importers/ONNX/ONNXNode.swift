// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ONNXFormat

/// One node of an ONNX graph, and what messages call it.
struct ONNXNode {
  let proto: Onnx_NodeProto
  let file: String
  /// The version of its domain's operators.
  let opset: Int

  /// The operator's name, with its domain where it is not ONNX's own.
  var op: String { ["", "ai.onnx"].contains(proto.domain) ? proto.opType : proto.domain + "." + proto.opType }

  /// How messages name it.
  var place: String {
    let name = proto.name.isEmpty ? "a node without a name" : "node \"\(proto.name)\""
    return "\(name) (\(op), output \"\(proto.output.first { !$0.isEmpty } ?? "")\")"
  }

  func refusal(_ problem: String, expected: String) -> ModelError {
    .unmapped(file: file, place: place, problem: problem, expected: expected)
  }

  private func attribute(_ name: String) -> Onnx_AttributeProto? { proto.attribute.first { $0.name == name } }

  func has(_ name: String) -> Bool { attribute(name) != nil }

  func int(_ name: String, default value: Int) -> Int { attribute(name).map { Int($0.i) } ?? value }

  func ints(_ name: String) -> [Int]? { attribute(name).map { $0.ints.map { Int($0) } } }

  func float(_ name: String) -> Double? { attribute(name).map { Double(shortest: $0.f) } }

  func string(_ name: String) -> String? { attribute(name).map { String(decoding: $0.s, as: UTF8.self) } }

  func tensor(_ name: String) -> Onnx_TensorProto? { attribute(name).flatMap { $0.hasT ? $0.t : nil } }

  /// An axis of `rank` that may count from the end.
  ///
  /// - Throws: `ModelError.unmapped`.
  func axis(_ axis: Int, of rank: Int) throws -> Int {
    guard -rank..<rank ~= axis else { throw refusal("its axis is \(axis), and what it reads has \(rank)", expected: "\(-rank) to \(rank - 1)") }
    return axis < 0 ? axis + rank : axis
  }

  /// The path of the module that the node was exported from, by what exporters of PyTorch write down; empty where they do not.
  var modulePath: String {
    if let scopes = proto.metadataProps.first(where: { $0.key == "pkg.torch.onnx.name_scopes" })?.value {
      // A list: ['', 'encoder', 'encoder.layer.0', 'linear'], the node's own name last.
      return scopes.split(separator: "'").filter { !$0.isEmpty && !["[", ", ", "]"].contains($0) }.dropLast().last.map(String.init) ?? ""
    }
    // A path: /encoder/layer.0/attention/MatMul.
    guard proto.name.hasPrefix("/") else { return "" }
    return proto.name.split(separator: "/").dropLast().joined(separator: ".")
  }
}

extension Double {
  /// The number with the fewest digits that a number of 32 bits is the nearest to: 1e-5, not 9.999999747378752e-06.
  init(shortest value: Float) { self = Double(value.description) ?? Double(value) }
}
