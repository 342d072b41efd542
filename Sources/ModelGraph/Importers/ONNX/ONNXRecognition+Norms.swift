// SPDX-License-Identifier: GPL-3.0-or-later

/// Norms and activation functions, as operators of ONNX or in the steps that exporters write.
extension ONNXRecognition {
  /// LayerNormalization and RMSNormalization over the last axis.
  mutating func norm(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count >= 2, let x = try placed(value.operands[0]) else { return nil }
    let axis = try node.axis(node.int("axis", default: -1), of: value.shape.count)
    guard axis == value.shape.count - 1 else { throw node.refusal("a norm over axes \(axis) to \(value.shape.count - 1)", expected: "the last axis") }
    let epsilon = node.float("epsilon") ?? 1e-5
    if node.op == "LayerNormalization" {
      let bias = value.operands.count > 2 && !value.operands[2].isAbsent ? value.operands[2] : nil
      return try layerNorm(x, scale: value.operands[1], bias: bias, epsilon: epsilon, node)
    }
    return try rmsNorm(x, scale: value.operands[1], epsilon: epsilon, node)
  }

  /// (x − mean) / √(variance + ε) · scale + bias, or x / √(mean of squares + ε) · scale, in steps.
  mutating func normInSteps(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count == 2 else { return nil }
    if node.op == "Mul" {
      guard let (core, scale) = vectorOperand(value), let (leaf, epsilon) = normalised(core, subtractsMean: false),
        let x = try placed(.data(leaf))
      else { return nil }
      return try rmsNorm(x, scale: scale, epsilon: epsilon, node)
    }
    guard let (sum, bias) = vectorOperand(value), self.node(sum).op == "Mul", let (core, scale) = vectorOperand(self.node(sum)),
      let (leaf, epsilon) = normalised(core, subtractsMean: true), let x = try placed(.data(leaf))
    else { return nil }
    return try layerNorm(x, scale: scale, bias: bias, epsilon: epsilon, node)
  }

  /// The operand that is data, and the other, which is known and of the last axis's length.
  private func vectorOperand(_ value: DataNode) -> (data: Int, weight: ONNXValue)? {
    for (data, other) in [(0, 1), (1, 0)] {
      guard let x = value.operands[data].data, let width = value.shape.last, width > 1 else { continue }
      switch value.operands[other] {
      case .weight(let weight) where weight.view.count == width: return (x, value.operands[other])
      case .literal(let literal) where literal.count == width && literal.inputs.isEmpty: return (x, value.operands[other])
      default: continue
      }
    }
    return nil
  }

  /// The value of which another is the normalised one, and ε.
  private func normalised(_ index: Int, subtractsMean: Bool) -> (leaf: Int, epsilon: Double)? {
    let row = [0.3, -1.2, 0.7, 2.1, -0.4, 0.05, -0.9, 1.6]
    for expression in ONNXExpression.candidates(endingIn: index, evaluation).reversed() {
      for epsilon in Set(expression.constants).sorted() where epsilon > 0 && epsilon < 0.1 {
        // ε is told apart from others where the row's variance is like it.
        let agrees = [1, epsilon.squareRoot()].allSatisfy { size in
          let x = row.map { $0 * size }
          guard let y = expression(x, evaluation), y.count == x.count else { return false }
          let mean = subtractsMean ? x.reduce(0, +) / Double(x.count) : 0
          let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)
          return zip(x, y).allSatisfy { abs(($0 - mean) / (variance + epsilon).squareRoot() - $1) < 1e-6 }
        }
        if agrees { return (expression.leaf, Double(shortest: Float(epsilon))) }
      }
    }
    return nil
  }

  private mutating func layerNorm(_ x: ONNXPlaced, scale: ONNXValue, bias: ONNXValue?, epsilon: Double, _ node: ONNXNode) throws -> ONNXPlaced {
    let weight = try normParameter(x, scale, node, isNormWeight: true)
    let zeros = Literal([axes.extent(weight.dimensions[0].axis)], .reals([Double](repeating: 0, count: axes.extent(weight.dimensions[0].axis))))
    let shift = try normParameter(
      x, bias ?? .weight(store(zeros, named: (node.proto.output.first ?? "") + ".zeros")), node, isNormWeight: false)
    let op = emit(
      .layerNorm(epsilon: epsilon), [.result(x.op), .parameter(weight), .parameter(shift)], operators[x.op].dimensions, node,
      path: modulePath(of: weight.tensor), suffix: "")
    return ONNXPlaced(op: op, axes: x.axes)
  }

  private mutating func rmsNorm(_ x: ONNXPlaced, scale: ONNXValue, epsilon: Double, _ node: ONNXNode) throws -> ONNXPlaced {
    let weight = try normParameter(x, scale, node, isNormWeight: true)
    let op = emit(
      .rmsNorm(epsilon: epsilon), [.result(x.op), .parameter(weight)], operators[x.op].dimensions, node, path: modulePath(of: weight.tensor),
      suffix: "")
    return ONNXPlaced(op: op, axes: x.axes)
  }

  private mutating func normParameter(_ x: ONNXPlaced, _ value: ONNXValue, _ node: ONNXNode, isNormWeight: Bool) throws -> ONNXParameter {
    var weight = value.weight
    if weight == nil, let known = evaluation.literal(value) { weight = store(known, named: node.proto.output.first ?? "") }
    let features = axes.leaves(x.axes.last ?? [])
    guard let weight, features.count == 1, dimensions(x.op).last == features[0], let extent = weight.view.shape.last, weight.view.count == extent,
      extent == axes.extent(features[0]), let stride = weight.view.strides.last
    else { throw node.refusal("a norm of other features than those that a layer gives last", expected: "one weight for each of them") }
    return ONNXParameter(
      tensor: weight.tensor, offset: weight.view.offset, dimensions: [.init(axis: features[0], stride: stride)], isNormWeight: isNormWeight)
  }

  /// An activation function, in any steps.
  mutating func activation(_ index: Int) throws -> ONNXPlaced? {
    guard let node = node(index).node else { return nil }
    let points = (-24...24).map { Double($0) / 4 }
    for expression in ONNXExpression.candidates(endingIn: index, evaluation).reversed() {
      guard let y = expression(points, evaluation), y.count == points.count, self.node(expression.leaf).shape == self.node(index).shape else {
        continue
      }
      let isSame = { (function: ActivationFunction) in
        zip(points, y).allSatisfy { abs(function.value($0) - $1) <= 1e-5 * (1 + abs($1)) }
      }
      guard let function = ActivationFunction.allCases.first(where: isSame), let x = try placed(.data(expression.leaf)) else { continue }
      let op = emit(.activation(function), [.result(x.op)], operators[x.op].dimensions, node, suffix: "act")
      return ONNXPlaced(op: op, axes: x.axes)
    }
    return nil
  }
}
