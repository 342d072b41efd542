// SPDX-License-Identifier: GPL-3.0-or-later
import ONNXFormat

/// The operators that a model's outputs need, in an order that keeps layers together, with settled axes.
struct ONNXNetwork {
  struct Output {
    let name: String
    /// A number of `operators`.
    let op: Int
  }

  let recognition: ONNXRecognition
  let operators: [ONNXOperator]
  let outputs: [Output]
  private let products: AxisTable.Products

  /// - Throws: `ModelError.unmapped` for an output that was not found, or is none of an operator's results as it stands.
  init(_ recognition: ONNXRecognition) throws {
    var recognition = recognition
    var roots: [Output] = []
    let file = recognition.evaluation.file.path
    for (name, value) in recognition.evaluation.outputs {
      let place = "output \"\(name)\""
      guard let placed = try recognition.placed(value) else {
        throw ModelError.unmapped(file: file, place: place, problem: "it does not depend on what the model reads", expected: "a result of the model")
      }
      guard recognition.leaves(placed) == recognition.dimensions(placed.op) else {
        throw ModelError.unmapped(
          file: file, place: place, problem: "its axes stand in another order than a layer gives them",
          expected: "a layer's result; keys and values for a cache are none (export with use_cache=False)")
      }
      roots.append(Output(name: name, op: placed.op))
      if name == "logits", let last = placed.axes.last.map(recognition.axes.leaves), last.count == 1 {
        recognition.axes.describe(last[0], .vocabulary, "labels")
      }
    }
    let order = Self.order(recognition.operators, from: roots.map(\.op))
    var numbers = [Int](repeating: -1, count: recognition.operators.count)
    for (new, old) in order.enumerated() { numbers[old] = new }
    operators = order.map { old in
      let op = recognition.operators[old]
      let operands = op.operands.map { operand -> ONNXOperator.Operand in
        switch operand {
        case .result(let result): .result(numbers[result])
        case .parameter(let parameter): .parameter(parameter.expanded(recognition.axes))
        case .input: operand
        }
      }
      return ONNXOperator(
        kind: op.kind, operands: operands, dimensions: recognition.axes.leaves(op.dimensions), path: op.path, suffix: op.suffix, place: op.place)
    }
    outputs = roots.map { Output(name: $0.name, op: numbers[$0.op]) }
    let lists = operators.flatMap { [$0.dimensions] + $0.parameters.map { $0.dimensions.map(\.axis) } }
    products = recognition.axes.products(in: lists, apart: Set(recognition.axes.leaves(recognition.apart)))
    self.recognition = recognition
  }

  /// What the outputs need, each after what it reads; of two operands the first one's part comes first.
  private static func order(_ operators: [ONNXOperator], from roots: [Int]) -> [Int] {
    var (order, isDone) = ([Int](), [Bool](repeating: false, count: operators.count))
    for root in roots {
      var stack: [(op: Int, next: Int)] = isDone[root] ? [] : [(root, 0)]
      while let (op, next) = stack.popLast() {
        let sources = operators[op].results
        if next < sources.count {
          stack.append((op, next + 1))
          if !isDone[sources[next]] { stack.append((sources[next], 0)) }
        } else if !isDone[op] {
          isDone[op] = true
          order.append(op)
        }
      }
    }
    return order
  }

  // MARK: - Axes

  /// The axes of a result, each the leaves that it is a product of.
  func axes(_ op: Int) -> [[AxisTable.Class]] { products.collapse(operators[op].dimensions) }

  func axes(_ input: InputKind) -> [[AxisTable.Class]] {
    var recognition = recognition
    return recognition.inputAxes(input).map { recognition.axes.leaves([$0]) }
  }

  /// The axes of a parameter with their strides.
  func axes(_ parameter: ONNXParameter) -> [(axis: [AxisTable.Class], stride: Int)] {
    var position = 0
    return products.collapse(parameter.dimensions.map(\.axis)).map { axis in
      position += axis.count
      return (axis, parameter.dimensions[position - 1].stride)
    }
  }

  func extent(_ axis: [AxisTable.Class]) -> Int { recognition.axes.product(axis) }

  func role(_ axis: [AxisTable.Class]) -> Axis.Role { products.whole(axis).map(recognition.axes.role) ?? .feature }

  func axisName(_ axis: [AxisTable.Class]) -> String { products.whole(axis).map(recognition.axes.name) ?? "" }

  // MARK: - Names

  /// An operator's name, not unique.
  func name(_ op: Int) -> String {
    let op = operators[op]
    let path = op.path.split(separator: ".").joined(separator: ".")
    if path.isEmpty { return op.suffix.isEmpty ? op.kind.formatName : op.suffix }
    return op.suffix.isEmpty ? path : path + "." + op.suffix
  }
}
