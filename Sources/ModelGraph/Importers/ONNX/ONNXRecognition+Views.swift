// SPDX-License-Identifier: GPL-3.0-or-later

/// Values that are another look at a result: another shape or order, or a part.
extension ONNXRecognition {
  func otherOperands(_ value: DataNode) -> [Literal?] { value.operands.dropFirst().map(evaluation.literal) }

  mutating func reshape(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, var placed = try value.operands.first.flatMap(placed) else { return nil }
    guard let groups = axes.regroup(placed.axes, to: value.shape) else {
      throw node.refusal("a shape of \(value.shape), which mixes axes", expected: "axes that are cut or joined in order")
    }
    placed.axes = groups
    return placed
  }

  func transpose(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, var placed = try value.operands.first.flatMap(placed) else { return nil }
    placed.axes = try ViewOperators.permutation(node, placed.axes.count).map { placed.axes[$0] }
    return placed
  }

  /// An axis of 1 that is repeated: an axis that the result does not have.
  mutating func expand(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard var placed = try value.operands.first.flatMap(placed) else { return nil }
    placed.axes = [[AxisTable.Class]](repeating: [], count: value.shape.count - placed.axes.count) + placed.axes
    for (axis, extent) in value.shape.enumerated() where axes.product(placed.axes[axis]) != extent { placed.axes[axis] = [axes.add(extent)] }
    return placed
  }

  mutating func part(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, let source = value.operands.first, var placed = try placed(source) else { return nil }
    let (shape, others) = (evaluation.shape(source), otherOperands(value))
    switch node.op {
    case "Split":
      let (axis, sizes) = try ViewOperators.parts(node, shape, others)
      let start = sizes.prefix(value.output).reduce(0, +)
      try take(start..<start + sizes[value.output], of: axis, &placed, node)
    case "Slice":
      for slice in try ViewOperators.slices(node, shape, others) ?? [] {
        guard slice.step == 1 else { throw node.refusal("every \(slice.step)th element", expected: "a part without gaps") }
        try take(slice.start..<slice.start + slice.count, of: slice.axis, &placed, node)
      }
    default:
      guard let given = ViewOperators.index(node, others) else {
        // One index that keeps its axis.
        guard let indices = others.first ?? nil, indices.count == 1, indices.inputs.isEmpty, indices.shape.count == 1 else { return nil }
        let axis = try node.axis(node.int("axis", default: 0), of: shape.count)
        let start = indices.integers[0] < 0 ? indices.integers[0] &+ shape[axis] : indices.integers[0]
        guard 0..<shape[axis] ~= start else { throw node.refusal("index \(start) of an axis of \(shape[axis])", expected: "an index in it") }
        try take(start..<start + 1, of: axis, &placed, node)
        return placed
      }
      let axis = try node.axis(node.int("axis", default: 0), of: shape.count)
      let start = given < 0 ? given &+ shape[axis] : given
      guard 0..<shape[axis] ~= start else { throw node.refusal("index \(given) of an axis of \(shape[axis])", expected: "an index in it") }
      try take(start..<start + 1, of: axis, &placed, node)
      placed.axes.remove(at: axis)
    }
    return placed
  }

  /// Restricts one axis of a value: of a linear layer to some of its rows, of a sequence to one position.
  private mutating func take(_ range: Range<Int>, of axis: Int, _ placed: inout ONNXPlaced, _ node: ONNXNode) throws {
    let group = axes.leaves(placed.axes[axis])
    let extent = axes.product(group)
    if range == 0..<extent { return }
    // The outermost leaf that is not 1, and how many elements one of its own stands for.
    guard let place = group.firstIndex(where: { axes.extent($0) > 1 }) else { return }
    let inner = extent / axes.extent(group[place])
    let leaf = group[place]
    let isWhole = range.lowerBound % inner == 0 && range.upperBound % inner == 0
    if isWhole, let part = restrict(placed.op, leaf, range.lowerBound / inner..<range.upperBound / inner, node) {
      placed = ONNXPlaced(op: part.op, axes: placed.axes.map { group in axes.leaves(group).flatMap { part.axes[$0] ?? [$0] } })
      return
    }
    let dimensions = self.dimensions(placed.op)
    if range.count == 1, dimensions.count == 3, group == [dimensions[1]], axes.role(leaf).isPosition {
      let first = emit(
        .selectToken(position: range.lowerBound), [.result(placed.op)], [dimensions[0], dimensions[2]], node, suffix: "token")
      placed = ONNXPlaced(op: first, axes: placed.axes)
      placed.axes[axis] = []
      return
    }
    throw node.refusal(
      "elements \(range) of an axis of \(extent)", expected: "a part of what a linear layer gives, or one position of a sequence")
  }

  /// The operator that gives a part of what another gives, of one of its axes; nil where it has no rows to leave out.
  ///
  /// Its axes are its own, also those that are whole: queries and keys of one layer are not cut alike.
  private mutating func restrict(_ op: Int, _ leaf: AxisTable.Class, _ range: Range<Int>, _ node: ONNXNode) -> Part? {
    let key = PartKey(op: op, leaf: leaf, range: range)
    if let known = parts[key] { return known }
    let old = operators[op]
    guard case .result(let source)? = old.operands.first else { return nil }
    var new: [AxisTable.Class: [AxisTable.Class]] = [:]
    var operands = old.operands
    switch old.kind {
    case .linear:
      let inputs = dimensions(source)
      let outputs = dimensions(op).filter { !inputs.contains($0) }
      guard outputs.contains(leaf) else { return nil }
      for axis in outputs {
        let extent = axis == leaf ? range.count : axes.extent(axis)
        new[axis] = axis == leaf && extent == 1 ? [] : [axes.add(extent)]
      }
    case .bias, .scale, .activation:
      guard let before = restrict(source, leaf, range, node) else { return nil }
      operands[0] = .result(before.op)
      new = before.axes
    default: return nil
    }
    if let parameter = old.parameters.first {
      var own = parameter.expanded(axes)
      for dimension in own.dimensions where dimension.axis == leaf { own.offset += range.lowerBound * dimension.stride }
      own.dimensions = own.dimensions.flatMap { dimension in
        (new[dimension.axis] ?? [dimension.axis]).map { ONNXParameter.Dimension(axis: $0, stride: dimension.stride) }
      }
      operands[1] = .parameter(own)
    }
    let result = dimensions(op).flatMap { new[$0] ?? [$0] }
    operators.append(
      ONNXOperator(kind: old.kind, operands: operands, dimensions: result, path: old.path, suffix: old.suffix, place: old.place))
    parts[key] = Part(op: operators.count - 1, axes: new)
    return parts[key]
  }
}
