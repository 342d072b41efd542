// SPDX-License-Identifier: GPL-3.0-or-later

/// The operators that change no number: they take a part, another order, another shape, or repeat.
enum ViewOperators {
  /// What a node takes of an array; nil for an operator of another kind, or where no strides say what it takes.
  ///
  /// - Parameter x: the operands after the first, where they are known.
  /// - Throws: `ModelError.unmapped` where the operands do not fit.
  static func views(_ node: ONNXNode, _ view: StridedView, _ x: [Literal?]) throws -> [StridedView]? {
    func known(_ index: Int) -> [Int]? { index < x.count ? x[index]?.integers : nil }
    let rank = view.shape.count
    switch node.op {
    case "Transpose": return [view.transposed(try permutation(node, rank))]
    case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
      guard let target = try newShape(node, of: view.shape, x) else { return nil }
      return view.reshaped(to: target).map { [$0] }
    case "Expand":
      guard let target = known(0) else { return nil }
      let shape = try LiteralOperators.commonShape(node, [view.shape, LiteralOperators.checked(node, target)])
      return view.broadcast(to: shape).map { [$0] }
    case "Slice":
      return try slices(node, view.shape, x).map { [$0.reduce(view) { $0.sliced($1.axis, from: $1.start, count: $1.count, step: $1.step) }] }
    case "Split":
      let (axis, sizes) = try parts(node, view.shape, x)
      var start = 0
      return sizes.map { size in
        defer { start += size }
        return view.sliced(axis, from: start, count: size)
      }
    case "Gather":
      guard let index = index(node, x) else { return nil }
      let axis = try node.axis(node.int("axis", default: 0), of: rank)
      let extent = view.shape[axis]
      guard -extent..<extent ~= index else { throw node.refusal("index \(index) of an axis of \(extent)", expected: "an index in it") }
      return [view.selecting(axis, index < 0 ? index + extent : index)]
    default: return nil
    }
  }

  /// The one index that a Gather takes of an axis, which it then removes; nil where it takes several or they are not known.
  static func index(_ node: ONNXNode, _ x: [Literal?]) -> Int? {
    guard node.op == "Gather", let given = x.first, let indices = given, indices.shape.isEmpty, indices.inputs.isEmpty else { return nil }
    return indices.integers.first
  }

  static func permutation(_ node: ONNXNode, _ rank: Int) throws -> [Int] {
    let order = node.ints("perm") ?? Array((0..<rank).reversed())
    guard order.sorted() == Array(0..<rank) else { throw node.refusal("its perm is \(order)", expected: "an order of \(rank) axes") }
    return order
  }

  /// The shape that Reshape, Flatten, Squeeze or Unsqueeze give; nil for another operator, or where it is not known.
  static func newShape(_ node: ONNXNode, of shape: [Int], _ x: [Literal?]) throws -> [Int]? {
    let given = x.first.flatMap { $0?.integers }
    switch node.op {
    case "Reshape": return try given.map { try self.shape(node, of: shape, $0) }
    case "Flatten":
      let axis = node.int("axis", default: 1)
      let place = axis == shape.count ? axis : try node.axis(axis, of: shape.count)
      return [shape[..<place].reduce(1, *), shape[place...].reduce(1, *)]
    case "Squeeze":
      let axes = try (node.ints("axes") ?? given).map { try $0.map { try node.axis($0, of: shape.count) } }
      let dropped = Set(axes ?? shape.indices.filter { shape[$0] == 1 })
      for axis in dropped where shape[axis] != 1 { throw node.refusal("axis \(axis) of \(shape) is not 1", expected: "axes of 1") }
      return shape.indices.filter { !dropped.contains($0) }.map { shape[$0] }
    case "Unsqueeze":
      guard let axes = node.ints("axes") ?? given else { return nil }
      guard axes.count <= LiteralOperators.mostAxes else {
        throw node.refusal("\(axes.count) axes", expected: "at most \(LiteralOperators.mostAxes)")
      }
      var result = shape
      for axis in Set(try axes.map { try node.axis($0, of: shape.count + axes.count) }).sorted() {
        guard axis <= result.count else { throw node.refusal("its axes are \(axes)", expected: "different axes") }
        result.insert(1, at: axis)
      }
      return result
    default: return nil
    }
  }

  /// What a Reshape's operand asks for: −1 stands for what is left, and 0 for the extent that is there.
  static func shape(_ node: ONNXNode, of shape: [Int], _ target: [Int]) throws -> [Int] {
    var result = target
    guard target.count <= LiteralOperators.mostAxes else {
      throw node.refusal("a shape of \(target.count) axes", expected: "at most \(LiteralOperators.mostAxes)")
    }
    if node.int("allowzero", default: 0) == 0 {
      for (axis, extent) in target.enumerated() where extent == 0 && axis < shape.count { result[axis] = shape[axis] }
    }
    let count = shape.reduce(1, *)
    if let open = result.firstIndex(of: -1) {
      let others = result.enumerated().filter { $0.offset != open }.map(\.element)
      let product = others.reduce(1) { $0.multipliedReportingOverflow(by: $1).overflow ? 0 : $0 * $1 }
      result[open] = product > 0 ? count / product : 0
    }
    let product = result.reduce(1) { $0.multipliedReportingOverflow(by: $1).overflow ? -1 : $0 * $1 }
    guard result.allSatisfy({ $0 >= 0 }), product == count else {
      throw node.refusal("\(shape) cannot have the shape \(target)", expected: "a shape of as many elements")
    }
    return result
  }

  /// The parts that a Slice takes of axes of which it does not take everything; nil where they are not known.
  static func slices(_ node: ONNXNode, _ shape: [Int], _ x: [Literal?]) throws -> [(axis: Int, start: Int, count: Int, step: Int)]? {
    func given(_ name: String, _ index: Int) -> [Int]? { node.ints(name) ?? (index < x.count ? x[index]?.integers : nil) }
    guard let starts = given("starts", 0), let ends = given("ends", 1) else { return nil }
    let axes = given("axes", 2) ?? Array(starts.indices)
    let steps = given("steps", 3) ?? starts.map { _ in 1 }
    guard starts.count == ends.count, starts.count == axes.count, starts.count == steps.count else {
      throw node.refusal("\(starts.count) starts, \(ends.count) ends, \(axes.count) axes and \(steps.count) steps", expected: "as many of each")
    }
    var taken: [(axis: Int, start: Int, count: Int, step: Int)] = []
    for (index, given) in axes.enumerated() {
      let axis = try node.axis(given, of: shape.count)
      guard steps[index] > 0 else { throw node.refusal("a step of \(steps[index])", expected: "a positive step") }
      // A longer one than the axis takes the first element alone, as this one does.
      let step = min(steps[index], max(shape[axis], 1))
      func bound(_ value: Int) -> Int { min(max(value < 0 ? value &+ shape[axis] : value, 0), shape[axis]) }
      // A bound far below 0 may not come round to a large one.
      let start = starts[index] < -shape[axis] ? 0 : bound(starts[index])
      let end = ends[index] < -shape[axis] ? 0 : bound(ends[index])
      let length = max(end - start, 0)
      let count = length == 0 ? 0 : (length - 1) / step + 1
      if start == 0 && count == shape[axis] && step == 1 { continue }
      taken.append((axis, start, count, step))
    }
    guard Set(taken.map(\.axis)).count == taken.count else { throw node.refusal("its axes are \(axes)", expected: "different axes") }
    return taken
  }

  /// The axis that a Split cuts, and the parts' extents.
  static func parts(_ node: ONNXNode, _ shape: [Int], _ x: [Literal?]) throws -> (axis: Int, sizes: [Int]) {
    let axis = try node.axis(node.int("axis", default: 0), of: shape.count)
    let outputs = node.proto.output.count
    guard outputs > 0 else { throw node.refusal("it has no outputs", expected: "one for each part") }
    // Where nothing says otherwise the parts are equal, but for the last.
    let size = (shape[axis] + outputs - 1) / outputs
    let equal = (0..<outputs).map { max(0, min(size, shape[axis] - $0 * size)) }
    let sizes = node.ints("split") ?? x.first.flatMap { $0?.integers } ?? equal
    let total = sizes.reduce(0) { $0 &+ $1 }
    guard sizes.count == outputs, sizes.allSatisfy({ 0...shape[axis] ~= $0 }), total == shape[axis] else {
      throw node.refusal("parts of \(sizes) of an axis of \(shape[axis]), and \(outputs) outputs", expected: "parts that add up to it")
    }
    return (axis, sizes)
  }

  /// Known arrays one after the other.
  static func concatenated(_ node: ONNXNode, _ x: [Literal]) throws -> Literal {
    guard let first = x.first else { throw node.refusal("it has no operands", expected: "one or more") }
    let axis = try node.axis(node.int("axis", default: 0), of: first.shape.count)
    let shape = try concatenatedShape(node, x.map(\.shape), axis)
    _ = try LiteralOperators.checked(node, shape)
    let outer = first.shape[..<axis].reduce(1, *)
    let inputs = x.reduce(into: Set<InputKind>()) { $0.formUnion($1.inputs) }
    func joined<Value>(_ values: [[Value]]) -> [Value] {
      (0..<outer).flatMap { row in
        values.flatMap { all in
          let width = all.count / max(outer, 1)
          return all[row * width..<(row + 1) * width]
        }
      }
    }
    let areWhole = x.allSatisfy { if case .integers = $0.elements { true } else { false } }
    return Literal(shape, areWhole ? .integers(joined(x.map(\.integers))) : .reals(joined(x.map(\.reals))), inputs: inputs)
  }

  static func concatenatedShape(_ node: ONNXNode, _ shapes: [[Int]], _ axis: Int) throws -> [Int] {
    var result = shapes[0]
    for shape in shapes.dropFirst() {
      guard shape.count == result.count, shape.indices.allSatisfy({ $0 == axis || shape[$0] == result[$0] }) else {
        throw node.refusal(
          "it joins \(shapes.map { "\($0)" }.joined(separator: " and ")) along axis \(axis)", expected: "equal extents of all other axes")
      }
      result[axis] += shape[axis]
    }
    return result
  }
}
