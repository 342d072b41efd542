// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph

extension Node {
  /// A value that follows from others and stands in the file for readers.
  /// - Throws: `DocumentError.invalid` where it is another.
  func expectDerived(_ expected: JSON, _ reason: String) throws(DocumentError) {
    if value.canonicalBytes != expected.canonicalBytes { throw invalid(expected: "\(expected.canonicalText): \(reason)") }
  }

  /// Distinct mesh axes in ascending order.
  func meshAxes(_ count: Int) throws(DocumentError) -> [Int] {
    let axes = try ints(.within(0, count - 1))
    if zip(axes, axes.dropFirst()).contains(where: { $0 >= $1 }) { throw invalid(expected: "mesh axes in ascending order, each once") }
    return axes
  }
}

/// The numbers of a graph's operators and tensors by their names, which are unique.
struct NamedParts {
  private var operators: [String: OperatorID] = [:]
  private var parameters: [String: TensorID] = [:]
  private var values: [String: TensorID] = [:]

  init(_ graph: Graph) {
    for (id, op) in graph.operators.enumerated() { operators[op.name] = id }
    for (id, tensor) in graph.tensors.enumerated() {
      if tensor.isParameter { parameters[tensor.name] = id } else { values[tensor.name] = id }
    }
  }

  func op(_ node: Node) throws(DocumentError) -> OperatorID { try find(node, in: operators, "the name of an operator of the model") }
  func parameter(_ node: Node) throws(DocumentError) -> TensorID { try find(node, in: parameters, "the name of a parameter of the model") }
  /// An input, an entry or a result.
  func value(_ node: Node) throws(DocumentError) -> TensorID { try find(node, in: values, "the name of a computed tensor of the model") }

  private func find(_ node: Node, in names: [String: Int], _ expected: String) throws(DocumentError) -> Int {
    guard let id = names[try node.string()] else { throw node.invalid(expected: expected) }
    return id
  }
}
