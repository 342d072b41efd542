// SPDX-License-Identifier: GPL-3.0-or-later

/// An operator of the graph while it is found: what it reads and gives, by axes that are not settled.
struct ONNXOperator {
  enum Operand: Hashable {
    /// The result of an operator, by its number.
    case result(Int)
    case input(InputKind)
    case parameter(ONNXParameter)
  }

  let kind: OperatorKind
  let operands: [Operand]
  let dimensions: [AxisTable.Class]
  /// The path of its module, and what it is called in it.
  var path: String
  var suffix: String
  /// How messages name what it was found in.
  let place: String

  var results: [Int] { operands.compactMap { if case .result(let op) = $0 { op } else { nil } } }
  var parameters: [ONNXParameter] { operands.compactMap { if case .parameter(let parameter) = $0 { parameter } else { nil } } }
}

/// A weight of the file, by the axes that an operator sees.
struct ONNXParameter: Hashable {
  struct Dimension: Hashable {
    var axis: AxisTable.Class
    var stride: Int
  }

  let tensor: Int
  var offset: Int
  var dimensions: [Dimension]
  var isNormWeight = false

  /// With the leaves of its axes, each with its own stride.
  func expanded(_ axes: AxisTable) -> ONNXParameter {
    var result = self
    result.dimensions = dimensions.flatMap { dimension in
      let leaves = axes.leaves([dimension.axis])
      let strides = rowMajorStrides(leaves.map(axes.extent))
      return zip(leaves, strides).map { Dimension(axis: $0, stride: $1 * dimension.stride) }
    }
    return result
  }
}

/// The result of an operator, as a value of the ONNX graph shows it: each of its axes is a product of the operator's, in any order.
struct ONNXPlaced {
  let op: Int
  var axes: [[AxisTable.Class]]
}
