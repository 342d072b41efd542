// SPDX-License-Identifier: GPL-3.0-or-later

/// Linear layers, embeddings, biases and sums.
extension ONNXRecognition {
  /// MatMul with a matrix of the file, or Gemm: a product, and for Gemm a bias.
  mutating func linear(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count >= 2, let x = try placed(value.operands[0]), var matrix = value.operands[1].weight else {
      return nil
    }
    guard matrix.view.shape.count == 2 else { throw node.refusal("a product with a weight of shape \(matrix.view.shape)", expected: "a matrix") }
    guard node.int("transA", default: 0) == 0 else { throw node.refusal("a transposed product", expected: "transA 0") }
    if node.int("transB", default: 0) != 0 { matrix.view = matrix.view.transposed([1, 0]) }
    guard let product = product(x, matrix, node) else {
      throw node.refusal(
        "a product that contracts other axes than the last ones of a layer's result", expected: "features in the order in which they were computed")
    }
    var result = product
    if node.op == "Gemm" {
      if let alpha = node.float("alpha"), alpha != 1 { result = scaled(result, by: alpha, node) }
      if value.operands.count > 2, !value.operands[2].isAbsent {
        guard node.float("beta") ?? 1 == 1, let bias = value.operands[2].weight else {
          throw node.refusal("beta \(node.float("beta") ?? 1), or a sum with data", expected: "a bias")
        }
        guard let sum = try biased(result, bias, value.shape, node) else {
          throw node.refusal("a sum with a weight of shape \(bias.view.shape)", expected: "a bias")
        }
        result = sum
      }
    }
    return result
  }

  /// x · matrix `[in, out]`; nil where the last axis of x is not what the operator gives last.
  mutating func product(_ x: ONNXPlaced, _ matrix: WeightView, _ node: ONNXNode) -> ONNXPlaced? {
    let input = axes.leaves(x.axes.last ?? [])
    let leading = axes.leaves(x.axes.dropLast().flatMap { $0 })
    let dimensions = self.dimensions(x.op)
    guard !input.isEmpty, dimensions == leading + input else { return nil }
    var output = axes.add(matrix.view.shape[1])
    let path = modulePath(of: matrix.tensor)
    let order: [(axes: [AxisTable.Class], stride: Int)] = [(input, matrix.view.strides[0]), ([output], matrix.view.strides[1])]
    var weight = ONNXParameter(tensor: matrix.tensor, offset: matrix.view.offset, dimensions: [])
    for part in matrix.view.strides[0] >= matrix.view.strides[1] ? order : order.reversed() {
      let strides = rowMajorStrides(part.axes.map(axes.extent))
      weight.dimensions += zip(part.axes, strides).map { ONNXParameter.Dimension(axis: $0, stride: $1 * part.stride) }
    }
    if let table = tied(matrix, input) {
      (weight, output) = (table, table.dimensions[0].axis)
    }
    let op = emit(.linear, [.result(x.op), .parameter(weight)], leading + [output], node, path: path, suffix: "")
    return ONNXPlaced(op: op, axes: x.axes.dropLast() + [[output]])
  }

  /// The table of an embedding that a matrix `[in, out]` is the transpose of: exporters write tied heads as copies.
  private func tied(_ matrix: WeightView, _ input: [AxisTable.Class]) -> ONNXParameter? {
    tables.first { table in
      let strides = [table.dimensions[1].stride, table.dimensions[0].stride]
      let view = StridedView(offset: table.offset, shape: matrix.view.shape, strides: strides)
      guard table.dimensions.map({ axes.extent($0.axis) }) == [matrix.view.shape[1], matrix.view.shape[0]],
        axes.leaves([table.dimensions[1].axis]) == input
      else { return false }
      if table.tensor == matrix.tensor { return view == matrix.view }
      return stored[table.tensor].equals(view, stored[matrix.tensor], matrix.view)
    }
  }

  /// x + bias, of the last axis; nil where the weight has other axes.
  mutating func biased(_ x: ONNXPlaced, _ weight: WeightView, _ shape: [Int], _ node: ONNXNode) throws -> ONNXPlaced? {
    guard let view = weight.view.broadcast(to: shape) else { return nil }
    guard view.strides.dropLast().enumerated().allSatisfy({ $1 == 0 || shape[$0] == 1 }), let last = x.axes.last else { return nil }
    let features = axes.leaves(last)
    guard Array(dimensions(x.op).suffix(features.count)) == features else { return nil }
    let stride = view.strides.last ?? 0
    let strides = rowMajorStrides(features.map(axes.extent))
    let bias = ONNXParameter(
      tensor: weight.tensor, offset: view.offset, dimensions: zip(features, strides).map { ONNXParameter.Dimension(axis: $0, stride: $1 * stride) })
    let source = operators[x.op]
    let isLinear = source.kind == .linear
    if isLinear, modulePath(of: source.parameters[0].tensor) == nil, let path = modulePath(of: weight.tensor) { operators[x.op].path = path }
    let path = isLinear ? operators[x.op].path : modulePath(of: weight.tensor)
    let op = emit(.bias, [.result(x.op), .parameter(bias)], operators[x.op].dimensions, node, path: path, suffix: "bias")
    return ONNXPlaced(op: op, axes: x.axes)
  }

  /// x + weight: a bias, or the rows of a table of positions.
  mutating func addWeight(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count == 2 else { return nil }
    for (data, other) in [(0, 1), (1, 0)] {
      guard let x = try placed(value.operands[data]) else { continue }
      var weight = value.operands[other].weight
      if weight == nil, case .literal(let literal) = value.operands[other], literal.inputs.isEmpty {
        weight = store(literal, named: node.proto.output.first ?? "")
      }
      guard let weight else { continue }
      if let sum = try biased(x, weight, value.shape, node) { return sum }
      return try positioned(x, weight, value.shape, node)
    }
    return nil
  }

  /// x `[b, s, h]` + rows of a table, one for each position.
  private mutating func positioned(_ x: ONNXPlaced, _ weight: WeightView, _ shape: [Int], _ node: ONNXNode) throws -> ONNXPlaced? {
    let dimensions = self.dimensions(x.op)
    guard let view = weight.view.broadcast(to: shape), shape.count == 3, dimensions.count == 3, leaves(x) == dimensions,
      view.strides[0] == 0 || shape[0] == 1, axes.role(dimensions[1]).isPosition
    else { return nil }
    let table = stored[weight.tensor]
    let row = view.strides[1]
    guard row > 0, view.strides[2] == 1, row == shape[2], view.offset % row == 0, table.count % row == 0 else { return nil }
    let (offset, rows) = (view.offset / row, table.count / row)
    if axes.role(dimensions[1]) == .sequence, evaluation.inputs[.inputIDs] != nil { maximumSequence = min(maximumSequence ?? .max, rows - offset) }
    let positions = axes.add(rows, .whole, "positions")
    let parameter = ONNXParameter(
      tensor: weight.tensor, offset: 0, dimensions: [.init(axis: positions, stride: row), .init(axis: dimensions[2], stride: 1)])
    let path = modulePath(of: weight.tensor) ?? table.name
    let rowsOp = emit(.positionEmbedding(offset: offset), [.parameter(parameter)], Array(dimensions[1...]), node, path: path, suffix: "")
    let op = emit(.add, [.result(x.op), .result(rowsOp)], operators[x.op].dimensions, node, path: path, suffix: "add")
    return ONNXPlaced(op: op, axes: x.axes)
  }

  /// Rows of a table at the numbers of an input.
  mutating func embedding(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count == 2, let table = value.operands[0].weight, let ids = evaluation.literal(value.operands[1])
    else { return nil }
    guard let kind = ids.inputs.first, ids.inputs.count == 1, let input = evaluation.inputs[kind], ids.integers == input.integers else {
      let names = ids.inputs.map(\.rawValue).sorted().joined(separator: ", ")
      throw node.refusal(
        "rows of a table at numbers that are \(names.isEmpty ? "not evenly spaced" : "computed of \(names)")",
        expected: "those of an input as it is, or positions that count up from a number")
    }
    guard table.view.shape.count == 2, try node.axis(node.int("axis", default: 0), of: 2) == 0, input.shape.count == 2 else {
      throw node.refusal("a table of shape \(table.view.shape)", expected: "a matrix, of which rows are taken")
    }
    let known = tables.first { $0.tensor == table.tensor && $0.offset == table.view.offset && $0.dimensions.map(\.stride) == table.view.strides }
    let parameter =
      known
      ?? {
        let rows = axes.add(table.view.shape[0], kind == .inputIDs ? .vocabulary : .whole, kind == .inputIDs ? "vocab" : "token_types")
        let features = axes.add(table.view.shape[1], .feature, "hidden")
        return ONNXParameter(
          tensor: table.tensor, offset: table.view.offset,
          dimensions: zip([rows, features], table.view.strides).map { ONNXParameter.Dimension(axis: $0, stride: $1) })
      }()
    if known == nil { tables.append(parameter) }
    let result = [batch, sequence, parameter.dimensions[1].axis]
    let op = emit(.embedding, [.input(kind), .parameter(parameter)], result, node, path: modulePath(of: table.tensor), suffix: "")
    guard let groups = axes.regroup(result.map { [$0] }, to: value.shape) else { return nil }
    return ONNXPlaced(op: op, axes: groups)
  }

  /// x · one number.
  mutating func scale(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count == 2 else { return nil }
    for (data, other) in node.op == "Div" ? [(0, 1)] : [(0, 1), (1, 0)] {
      guard let factor = evaluation.literal(value.operands[other])?.scalar, let x = try placed(value.operands[data]) else { continue }
      guard value.shape.count == x.axes.count, factor.isFinite, factor != 0 else { return nil }
      return scaled(x, by: node.op == "Div" ? 1 / factor : factor, node)
    }
    return nil
  }

  mutating func scaled(_ x: ONNXPlaced, by factor: Double, _ node: ONNXNode) -> ONNXPlaced {
    ONNXPlaced(
      op: emit(.scale(factor: Double(shortest: Float(factor))), [.result(x.op)], operators[x.op].dimensions, node, suffix: "scale"), axes: x.axes)
  }

  /// x + y or x · y, of one shape; of a sum y may lack leading axes.
  mutating func pair(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count == 2, var x = try placed(value.operands[0]), var y = try placed(value.operands[1]) else {
      return nil
    }
    if leaves(y).count > leaves(x).count { swap(&x, &y) }
    func same() -> Bool {
      let (a, b) = (dimensions(x.op), dimensions(y.op))
      return node.op == "Add" ? Array(a.suffix(b.count)) == b : a == b
    }
    let pairs = zip(x.axes.suffix(y.axes.count), y.axes)
    for (a, b) in pairs where !b.isEmpty {
      guard axes.unify(a, b) else {
        throw node.refusal("operands of \(evaluation.shape(value.operands[0])) and \(evaluation.shape(value.operands[1]))", expected: "equal axes")
      }
    }
    guard same() else { throw node.refusal("operands whose axes stand in different orders", expected: "two results of one order of axes") }
    let path = node.modulePath
    let op = emit(
      node.op == "Add" ? .add : .multiply, [.result(x.op), .result(y.op)], operators[x.op].dimensions, node, path: path,
      suffix: node.op == "Add" ? "add" : "multiply")
    return ONNXPlaced(op: op, axes: x.axes)
  }
}
