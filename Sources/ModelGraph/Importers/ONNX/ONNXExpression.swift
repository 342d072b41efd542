// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// A function of one value, in as many steps as an exporter wrote it. It is known by what it computes, not by its steps: exporters write GELU
/// and norms in many ways.
struct ONNXExpression {
  /// The value that it is a function of.
  let leaf: Int
  /// The values that are computed, in order; the last is the function's.
  let steps: [Int]
  /// The numbers that it uses.
  let constants: [Double]

  private static let longest = 24

  private static let unary: [String: @Sendable (Double) -> Double] = [
    "Sqrt": { $0.squareRoot() }, "Exp": { exp($0) }, "Erf": { erf($0) }, "Tanh": { tanh($0) }, "Sigmoid": { 1 / (1 + exp(-$0)) },
    "Relu": { max($0, 0) }, "Neg": { -$0 }, "Abs": { abs($0) }, "Reciprocal": { 1 / $0 }, "com.microsoft.Gelu": ActivationFunction.gelu.value,
    "com.microsoft.FastGelu": ActivationFunction.geluTanh.value,
  ]

  private static let binary: [String: @Sendable (Double, Double) -> Double] = [
    "Add": { $0 + $1 }, "Sub": { $0 - $1 }, "Mul": { $0 * $1 }, "Div": { $0 / $1 }, "Pow": { pow($0, $1) }, "Max": { max($0, $1) },
    "Min": { min($0, $1) },
  ]

  /// The expressions that end in a value, the shortest first: of each value that everything before it goes through.
  static func candidates(endingIn root: Int, _ evaluation: ONNXEvaluation) -> [ONNXExpression] {
    var (frontier, steps, constants, result): (Set<Int>, [Int], [Double], [ONNXExpression]) = ([root], [], [], [])
    while let last = frontier.max(), steps.count < longest {
      if frontier.count == 1, !steps.isEmpty { result.append(ONNXExpression(leaf: last, steps: steps.reversed(), constants: constants)) }
      let value = evaluation.data[last]
      guard isStep(value, evaluation) else { break }
      frontier.remove(last)
      steps.append(last)
      for operand in value.operands {
        if let data = operand.data { frontier.insert(data) } else if let number = evaluation.literal(operand)?.scalar { constants.append(number) }
      }
    }
    return result
  }

  /// Whether a value is computed element by element of others and of single numbers, or is the mean over the last axis.
  private static func isStep(_ value: DataNode, _ evaluation: ONNXEvaluation) -> Bool {
    guard let node = value.node else { return false }
    if node.op == "ReduceMean" { return isMean(value, evaluation) }
    guard unary[node.op] != nil || binary[node.op] != nil || ["Gelu", "com.microsoft.QuickGelu"].contains(node.op) else { return false }
    return value.operands.count <= 2
      && value.operands.allSatisfy { operand in
        switch operand {
        case .data: true
        case .literal(let literal): literal.count == 1 && literal.inputs.isEmpty
        case .weight(let weight): weight.view.count == 1
        case .absent: false
        }
      }
  }

  private static func isMean(_ value: DataNode, _ evaluation: ONNXEvaluation) -> Bool {
    guard let node = value.node, let x = value.operands.first?.data else { return false }
    let rank = evaluation.data[x].shape.count
    let axes = node.ints("axes") ?? (value.operands.count > 1 ? evaluation.literal(value.operands[1])?.integers : nil)
    return node.int("keepdims", default: 1) != 0 && (axes == [-1] || axes == [rank - 1])
  }

  /// The function of a row of numbers.
  func callAsFunction(_ row: [Double], _ evaluation: ONNXEvaluation) -> [Double]? {
    var values = [leaf: row]
    for step in steps {
      guard let node = evaluation.data[step].node else { return nil }
      let operands = evaluation.data[step].operands.compactMap { operand in
        operand.data.map { values[$0] } ?? evaluation.literal(operand)?.scalar.map { [$0] }
      }
      let x = operands.compactMap { $0 }
      guard let first = x.first else { return nil }
      if let function = Self.unary[node.op] {
        values[step] = first.map(function)
      } else if let function = Self.binary[node.op], x.count == 2 {
        let count = max(x[0].count, x[1].count)
        values[step] = (0..<count).map { function(x[0][x[0].count == 1 ? 0 : $0], x[1][x[1].count == 1 ? 0 : $0]) }
      } else if node.op == "Gelu" {
        let function: ActivationFunction = node.string("approximate") == "tanh" ? .geluTanh : .gelu
        values[step] = first.map(function.value)
      } else if node.op == "com.microsoft.QuickGelu" {
        let alpha = node.float("alpha") ?? 1.702
        values[step] = first.map { $0 / (1 + exp(-alpha * $0)) }
      } else if node.op == "ReduceMean" {
        values[step] = [first.reduce(0, +) / Double(first.count)]
      } else {
        return nil
      }
    }
    return steps.last.flatMap { values[$0] }
  }
}

extension ActivationFunction {
  /// f(x).
  var value: @Sendable (Double) -> Double {
    switch self {
    case .gelu: { 0.5 * $0 * (1 + erf($0 / 2.0.squareRoot())) }
    case .geluTanh: { 0.5 * $0 * (1 + Foundation.tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0))) }
    case .silu: { $0 / (1 + exp(-$0)) }
    case .quickGelu: { $0 / (1 + exp(-1.702 * $0)) }
    case .relu: { max($0, 0) }
    case .squaredRelu: { max($0, 0) * max($0, 0) }
    case .tanh: { Foundation.tanh($0) }
    }
  }
}
