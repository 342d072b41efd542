// SPDX-License-Identifier: GPL-3.0-or-later

/// The shapes of what nodes compute of data. An operator that is not in these tables is refused, by name.
enum DataShapes {
  /// Element by element, with broadcasting.
  static let elementwise: Set<String> = [
    "Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Where", "Sqrt", "Exp", "Log", "Erf", "Tanh", "Sigmoid", "Relu", "Neg", "Abs", "Reciprocal",
    "Gelu",
    "com.microsoft.Gelu", "com.microsoft.FastGelu", "com.microsoft.QuickGelu", "IsNaN", "Not", "And", "Or",
    "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual",
  ]

  /// The shape of the first operand.
  private static let keeping: Set<String> = ["Softmax", "LogSoftmax", "LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"]

  /// What messages list.
  static var known: String {
    (Array(elementwise) + Array(keeping) + [
      "MatMul", "Gemm", "Conv", "Gather", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Split", "Slice", "Concat", "Expand",
      "ReduceMean",
      "Attention",
    ]).sorted().joined(separator: ", ")
  }

  /// The shapes of a node's results.
  ///
  /// - Throws: `ModelError.unmapped`.
  static func results(_ node: ONNXNode, _ x: [ONNXValue], _ evaluation: ONNXEvaluation) throws -> [[Int]] {
    func operand(_ index: Int) throws -> [Int] {
      guard index < x.count, !x[index].isAbsent else { throw node.refusal("operand \(index) is missing", expected: "the operator's operands") }
      return evaluation.shape(x[index])
    }
    let others = { x.dropFirst().map(evaluation.literal) }
    let shapes: [[Int]]
    switch node.op {
    case let op where elementwise.contains(op): shapes = [try LiteralOperators.commonShape(node, x.filter { !$0.isAbsent }.map(evaluation.shape))]
    case let op where keeping.contains(op): shapes = [try operand(0)]
    case "MatMul": shapes = [try product(node, operand(0), operand(1))]
    case "Gemm":
      let (a, b) = (try operand(0), try operand(1))
      guard a.count == 2, b.count == 2 else { throw node.refusal("products of \(a) and \(b)", expected: "matrices") }
      shapes = [try product(node, node.int("transA", default: 0) != 0 ? a.reversed() : a, node.int("transB", default: 0) != 0 ? b.reversed() : b)]
    case "Conv": shapes = [try convolution(node, operand(0), operand(1))]
    case "Gather":
      let (value, indices) = (try operand(0), try operand(1))
      let axis = try node.axis(node.int("axis", default: 0), of: value.count)
      shapes = [Array(value[..<axis]) + indices + Array(value[(axis + 1)...])]
    case "Reshape", "Flatten", "Squeeze", "Unsqueeze":
      guard let shape = try ViewOperators.newShape(node, of: operand(0), others()) else {
        throw node.refusal("its shape is computed of data", expected: "a shape that the extents of the inputs determine")
      }
      shapes = [shape]
    case "Transpose", "Split", "Slice":
      guard let views = try ViewOperators.views(node, StridedView(whole: operand(0)), others()) else {
        throw node.refusal("what it takes is computed of data", expected: "numbers that the extents of the inputs determine")
      }
      shapes = views.map(\.shape)
    case "Expand":
      guard let target = others().first ?? nil else { throw node.refusal("its shape is computed of data", expected: "a known shape") }
      shapes = [try LiteralOperators.commonShape(node, [operand(0), LiteralOperators.checked(node, target.integers)])]
    case "Concat":
      let all = x.map(evaluation.shape)
      guard let first = all.first else { throw node.refusal("it has no operands", expected: "one or more") }
      shapes = [try ViewOperators.concatenatedShape(node, all, node.axis(node.int("axis", default: 0), of: first.count))]
    case "ReduceMean":
      let shape = try operand(0)
      let given = node.ints("axes") ?? others().first.flatMap { $0?.integers } ?? Array(shape.indices)
      let axes = Set(try given.map { try node.axis($0, of: shape.count) })
      let keeps = node.int("keepdims", default: 1) != 0
      shapes = [shape.indices.filter { keeps || !axes.contains($0) }.map { axes.contains($0) ? 1 : shape[$0] }]
    case "Attention": shapes = [try attention(node, operand(0), operand(1), operand(2))]
    default: throw node.refusal("the operator \(node.op) is not known", expected: "one of \(known)")
    }
    for shape in shapes { try checkCount(node, shape) }
    return shapes
  }

  /// - Throws: `ModelError.unmapped` where an array's elements cannot be counted, or it has none.
  static func checkCount(_ node: ONNXNode, _ shape: [Int]) throws {
    if !isCountable(shape) {
      throw node.refusal(
        "it gives an array of shape \(shape)", expected: "1 to \(GraphBuilder.mostElements) elements on at most \(LiteralOperators.mostAxes) axes")
    }
  }

  static func isCountable(_ shape: [Int]) -> Bool {
    var count = 1
    for extent in shape {
      let (next, overflow) = count.multipliedReportingOverflow(by: extent)
      guard extent > 0, !overflow, next <= GraphBuilder.mostElements else { return false }
      count = next
    }
    return shape.count <= LiteralOperators.mostAxes
  }

  private static func product(_ node: ONNXNode, _ a: [Int], _ b: [Int]) throws -> [Int] {
    guard a.count >= 2, b.count >= 2, a[a.count - 1] == b[b.count - 2] else {
      throw node.refusal("a product of \(a) and \(b)", expected: "matrices whose inner extents are equal")
    }
    return try LiteralOperators.commonShape(node, [Array(a.dropLast(2)), Array(b.dropLast(2))]) + [a[a.count - 2], b[b.count - 1]]
  }

  /// A convolution of images whose windows neither overlap nor leave anything out: patches.
  private static func convolution(_ node: ONNXNode, _ x: [Int], _ weight: [Int]) throws -> [Int] {
    let expected = "a convolution of square patches that do not overlap: strides equal to the kernel, one group, no padding or dilation"
    guard x.count == 4, weight.count == 4, weight[1] == x[1], weight[2] == weight[3], weight[2] > 0,
      node.ints("strides") ?? [1, 1] == [weight[2], weight[2]],
      node.int("group", default: 1) == 1, (node.ints("pads") ?? []).allSatisfy({ $0 == 0 }), (node.ints("dilations") ?? []).allSatisfy({ $0 == 1 }),
      ["NOTSET", "VALID"].contains(node.string("auto_pad") ?? "NOTSET"), x[2] % weight[2] == 0, x[3] % weight[2] == 0
    else { throw node.refusal("a convolution of \(x) by \(weight), strides \(node.ints("strides") ?? [1, 1])", expected: expected) }
    return [x[0], weight[0], x[2] / weight[2], x[3] / weight[2]]
  }

  /// ONNX's Attention (opset 23): query, key and value, of four axes with the heads apart, or of three.
  private static func attention(_ node: ONNXNode, _ q: [Int], _ k: [Int], _ v: [Int]) throws -> [Int] {
    guard node.proto.output.count == 1, q.count == k.count, k.count == v.count else {
      throw node.refusal(
        "query \(q), key \(k) and value \(v), \(node.proto.output.count) outputs", expected: "arrays of as many axes, and one output")
    }
    if q.count == 4 { return Array(q.dropLast()) + [v[3]] }
    let (heads, groups) = (node.int("q_num_heads", default: 0), node.int("kv_num_heads", default: 0))
    guard q.count == 3, heads > 0, groups > 0, v[2] % groups == 0, q[2] % heads == 0, k[2] % groups == 0 else {
      throw node.refusal("query \(q) of \(heads) heads, value \(v) of \(groups)", expected: "extents that the heads divide")
    }
    let (width, overflow) = heads.multipliedReportingOverflow(by: v[2] / groups)
    if overflow { throw node.refusal("\(heads) heads", expected: "fewer") }
    return [q[0], q[1], width]
  }
}
