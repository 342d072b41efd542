// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// The operators that are computed while a model is read, where all their operands are known: arithmetic of shapes, masks and positions.
enum LiteralOperators {
  /// (x, y) → f(x, y), with broadcasting; of whole numbers, and of others.
  private static let binary: [String: (integers: @Sendable (Int, Int) -> Int, reals: @Sendable (Double, Double) -> Double)] = [
    "Add": ({ $0 &+ $1 }, { $0 + $1 }), "Sub": ({ $0 &- $1 }, { $0 - $1 }), "Mul": ({ $0 &* $1 }, { $0 * $1 }),
    "Div": ({ $1 == 0 || ($0 == .min && $1 == -1) ? 0 : $0 / $1 }, { $0 / $1 }),
    "Mod": ({ floorModulo($0, $1) }, { $0 - $1 * ($0 / $1).rounded(.down) }),
    "Pow": ({ Int(saturating: pow(Double($0), Double($1))) }, { pow($0, $1) }),
    "Max": ({ max($0, $1) }, { max($0, $1) }), "Min": ({ min($0, $1) }, { min($0, $1) }),
    "And": ({ $0 & $1 }, { $0 != 0 && $1 != 0 ? 1 : 0 }), "Or": ({ $0 | $1 }, { $0 != 0 || $1 != 0 ? 1 : 0 }),
    "Xor": ({ $0 ^ $1 }, { ($0 != 0) != ($1 != 0) ? 1 : 0 }), "BitwiseAnd": ({ $0 & $1 }, { _, _ in .nan }),
    "BitwiseOr": ({ $0 | $1 }, { _, _ in .nan }),
  ]

  /// What is left of x, with the sign of y; 0 where there is nothing to divide by.
  private static func floorModulo(_ x: Int, _ y: Int) -> Int {
    if y == 0 || y == -1 { return 0 }
    let rest = x % y
    return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest
  }

  /// (x, y) → 0 or 1.
  private static let comparisons: [String: @Sendable (Double, Double) -> Bool] = [
    "Equal": { $0 == $1 }, "Less": { $0 < $1 }, "Greater": { $0 > $1 }, "LessOrEqual": { $0 <= $1 }, "GreaterOrEqual": { $0 >= $1 },
  ]

  /// x → f(x), of numbers that are then not whole.
  private static let unary: [String: @Sendable (Double) -> Double] = [
    "Sqrt": { $0.squareRoot() }, "Exp": { exp($0) }, "Log": { log($0) }, "Erf": { erf($0) }, "Tanh": { tanh($0) }, "Reciprocal": { 1 / $0 },
    "Sin": { sin($0) }, "Cos": { cos($0) }, "Floor": { $0.rounded(.down) }, "Ceil": { $0.rounded(.up) }, "Sigmoid": { 1 / (1 + exp(-$0)) },
  ]

  private static let reductions: [String: @Sendable ([Double]) -> Double] = [
    "ReduceSum": { $0.reduce(0, +) }, "ReduceProd": { $0.reduce(1, *) }, "ReduceMax": { $0.max() ?? -.infinity },
    "ReduceMin": { $0.min() ?? .infinity }, "ReduceMean": { $0.reduce(0, +) / Double($0.count) },
  ]

  /// The results of a node; nil for an operator that is not computed here.
  ///
  /// - Throws: `ModelError.unmapped` where the operands do not fit together.
  static func results(_ node: ONNXNode, _ x: [Literal?]) throws -> [Literal]? {
    let op = node.op
    func operand(_ index: Int) throws -> Literal {
      guard index < x.count, let value = x[index] else { throw node.refusal("operand \(index) is missing", expected: "the operator's operands") }
      return value
    }
    let inputs = x.reduce(into: Set<InputKind>()) { $0.formUnion($1?.inputs ?? []) }
    func result(_ shape: [Int], _ elements: Literal.Elements) -> [Literal] { [Literal(shape, elements, inputs: inputs)] }

    if let (integers, reals) = binary[op] {
      var sum = try operand(0)
      for next in x.dropFirst() {
        guard let next else { continue }
        let (a, b) = try broadcast(node, [sum, next])
        if case (.integers(let p), .integers(let q)) = (a.elements, b.elements) {
          sum = Literal(a.shape, .integers(zip(p, q).map(integers)))
        } else {
          sum = Literal(a.shape, .reals(zip(a.reals, b.reals).map(reals)))
        }
      }
      return result(sum.shape, sum.elements)
    }
    if let holds = comparisons[op] {
      let (a, b) = try broadcast(node, [operand(0), operand(1)])
      return result(a.shape, .integers(zip(a.reals, b.reals).map { holds($0, $1) ? 1 : 0 }))
    }
    if let function = unary[op] { return result(try operand(0).shape, .reals(try operand(0).reals.map(function))) }
    if let reduce = reductions[op] { return [try reduced(node, x, operand(0), reduce)] }
    switch op {
    case "Not": return result(try operand(0).shape, .integers(try operand(0).integers.map { $0 == 0 ? 1 : 0 }))
    case "IsNaN": return result(try operand(0).shape, .integers(try operand(0).reals.map { $0.isNaN ? 1 : 0 }))
    case "Neg":
      if case .integers(let values) = try operand(0).elements { return result(try operand(0).shape, .integers(values.map { 0 &- $0 })) }
      return result(try operand(0).shape, .reals(try operand(0).reals.map { -$0 }))
    case "Abs":
      if case .integers(let values) = try operand(0).elements {
        return result(try operand(0).shape, .integers(values.map { Int(clamping: $0.magnitude) }))
      }
      return result(try operand(0).shape, .reals(try operand(0).reals.map(abs)))
    case "Cast": return result(try operand(0).shape, cast(try operand(0), to: node.int("to", default: 1)))
    case "CastLike": return [try operand(0)]
    case "Where":
      let shape = try commonShape(node, x.compactMap { $0?.shape })
      let (condition, a, b) = try (spread(node, operand(0), shape), spread(node, operand(1), shape), spread(node, operand(2), shape))
      if case (.integers(let p), .integers(let q)) = (a.elements, b.elements) {
        return result(shape, .integers(zip(condition.integers, zip(p, q)).map { $0 != 0 ? $1.0 : $1.1 }))
      }
      return result(shape, .reals(zip(condition.integers, zip(a.reals, b.reals)).map { $0 != 0 ? $1.0 : $1.1 }))
    case "Range":
      let (start, limit, step) = try (operand(0), operand(1), operand(2))
      guard let first = start.scalar, let last = limit.scalar, let distance = step.scalar, distance != 0,
        (last - first) / distance <= Double(Literal.mostElements)
      else { throw node.refusal("a range from \(start.reals) to \(limit.reals)", expected: "at most \(Literal.mostElements) elements") }
      let count = max(0, Int(saturating: ((last - first) / distance).rounded(.up)))
      let values = (0..<count).map { first + Double($0) * distance }
      if case .integers = start.elements { return result([count], .integers(values.map { Int(saturating: $0) })) }
      return result([count], .reals(values))
    case "ConstantOfShape":
      let shape = try checked(node, operand(0).integers)
      return result(shape, .reals([Double](repeating: 0, count: shape.reduce(1, *))))
    case "CumSum": return result(try operand(0).shape, try cumulated(node, operand(0), along: operand(1)))
    case "Trilu":
      let (value, k) = (try operand(0), x.count > 1 ? try operand(1).integers.first ?? 0 : 0)
      guard value.shape.count >= 2 else { throw node.refusal("a triangle of an array of shape \(value.shape)", expected: "two axes or more") }
      let (rows, columns) = (value.shape[value.shape.count - 2], value.shape[value.shape.count - 1])
      let isUpper = node.int("upper", default: 1) != 0
      let keeps = { (i: Int) -> Bool in
        let (row, column) = (i / max(columns, 1) % max(rows, 1), i % max(columns, 1))
        return isUpper ? column - row >= k : column - row <= k
      }
      if case .integers(let values) = value.elements { return result(value.shape, .integers(values.enumerated().map { keeps($0) ? $1 : 0 })) }
      return result(value.shape, .reals(value.reals.enumerated().map { keeps($0) ? $1 : 0 }))
    case "GatherElements": return [try gatherElements(node, operand(0), operand(1), inputs)]
    case "Tile": return [try tiled(node, operand(0), operand(1).integers)]
    case "GatherND": return [try gatherND(node, operand(0), operand(1), inputs)]
    default: return nil
    }
  }

  /// No array may have more axes.
  static let mostAxes = 32

  /// A shape that can be kept in memory.
  static func checked(_ node: ONNXNode, _ shape: [Int]) throws -> [Int] {
    var count = 1
    guard shape.count <= mostAxes else { throw node.refusal("an array of \(shape.count) axes", expected: "at most \(mostAxes)") }
    for extent in shape {
      guard extent >= 0, count.multipliedReportingOverflow(by: extent).overflow == false, count * extent <= Literal.mostElements else {
        throw node.refusal(
          "an array of shape \(shape)", expected: "at most \(Literal.mostElements) elements where values are computed as the model is read")
      }
      count *= extent
    }
    return shape
  }

  /// The shape that operands are repeated to.
  ///
  /// - Throws: `ModelError.unmapped`.
  static func commonShape(_ node: ONNXNode, _ shapes: [[Int]]) throws -> [Int] {
    var common: [Int] = []
    for shape in shapes {
      let rank = max(common.count, shape.count)
      let (a, b) = ([Int](repeating: 1, count: rank - common.count) + common, [Int](repeating: 1, count: rank - shape.count) + shape)
      common = zip(a, b).map { $0 == 1 ? $1 : $0 }
      for (x, y) in zip(a, b) where x != y && x != 1 && y != 1 {
        throw node.refusal(
          "operands of shapes \(shapes.map { "\($0)" }.joined(separator: " and "))", expected: "shapes that can be repeated to one another")
      }
    }
    return common
  }

  private static func spread(_ node: ONNXNode, _ value: Literal, _ shape: [Int]) throws -> Literal {
    _ = try checked(node, shape)
    guard let view = StridedView(whole: value.shape).broadcast(to: shape) else {
      throw node.refusal("an array of shape \(value.shape) where \(shape) is needed", expected: "a shape that can be repeated to it")
    }
    return value.viewed(view)
  }

  private static func broadcast(_ node: ONNXNode, _ x: [Literal]) throws -> (Literal, Literal) {
    let shape = try commonShape(node, x.map(\.shape))
    return (try spread(node, x[0], shape), try spread(node, x[1], shape))
  }

  private static func cast(_ value: Literal, to type: Int) -> Literal.Elements {
    switch type {
    case 9: .integers(value.reals.map { $0 != 0 ? 1 : 0 })
    case 1, 10, 11, 16: .reals(value.reals)
    default: .integers(value.integers)
    }
  }

  private static func reduced(_ node: ONNXNode, _ x: [Literal?], _ value: Literal, _ reduce: ([Double]) -> Double) throws -> Literal {
    let given = node.ints("axes") ?? (x.count > 1 ? x[1]?.integers : nil) ?? Array(value.shape.indices)
    let axes = Set(try given.map { try node.axis($0, of: value.shape.count) })
    let kept = value.shape.indices.filter { !axes.contains($0) }
    let order = kept + axes.sorted()
    let sorted = value.viewed(StridedView(whole: value.shape).transposed(order)).reals
    let width = axes.reduce(1) { $0 * value.shape[$1] }
    let count = kept.reduce(1) { $0 * value.shape[$1] }
    let values = (0..<count).map { reduce(Array(sorted[$0 * width..<($0 + 1) * width])) }
    let shape =
      node.int("keepdims", default: 1) != 0 ? value.shape.indices.map { axes.contains($0) ? 1 : value.shape[$0] } : kept.map { value.shape[$0] }
    if case .integers = value.elements, node.op != "ReduceMean" {
      return Literal(shape, .integers(values.map { Int(saturating: $0) }), inputs: value.inputs)
    }
    return Literal(shape, .reals(values), inputs: value.inputs)
  }

  private static func cumulated(_ node: ONNXNode, _ value: Literal, along axis: Literal) throws -> Literal.Elements {
    guard let given = axis.scalar, node.int("reverse", default: 0) == 0, node.int("exclusive", default: 0) == 0 else {
      throw node.refusal("a sum that is reverse or exclusive", expected: "neither")
    }
    let place = try node.axis(Int(saturating: given), of: value.shape.count)
    let (extent, stride) = (value.shape[place], rowMajorStrides(value.shape)[place])
    var sums = value.reals
    for i in sums.indices where i / stride % extent > 0 { sums[i] += sums[i - stride] }
    if case .integers = value.elements { return .integers(sums.map { Int(saturating: $0) }) }
    return .reals(sums)
  }
}
