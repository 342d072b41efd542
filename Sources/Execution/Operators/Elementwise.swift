// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import ModelGraph

/// Element-wise operators. Gradients that are copies of one another are one block of memory.
extension OperatorCall {
  func activationForward(_ function: ActivationFunction) throws(ExecutionError) -> RowPass {
    let (x, y) = (operand(0), try newResult())
    return pass(reading: [x], into: y) { function.kernel.forward(x + $0.lowerBound, into: y + $0.lowerBound, count: $0.count) }
  }

  func activationBackward(_ function: ActivationFunction) throws(ExecutionError) -> RowPass {
    let kernel = function.kernel
    let (saved, dy) = (kernel.savesOutput ? result : operand(0), resultGradient)
    guard let dx = try newGradient(0) else { return pass(reading: [], into: nil) { _ in } }
    return pass(reading: [saved, dy], into: dx) {
      kernel.backward(saved: saved + $0.lowerBound, dy: dy + $0.lowerBound, dx: dx + $0.lowerBound, count: $0.count)
    }
  }

  func scaleForward(by factor: Float) throws(ExecutionError) -> RowPass {
    let (x, y) = (operand(0), try newResult())
    return pass(reading: [x], into: y) { Elementwise.scale(x + $0.lowerBound, by: factor, into: y + $0.lowerBound, count: $0.count) }
  }

  func scaleBackward(by factor: Float) throws(ExecutionError) -> RowPass {
    let dy = resultGradient
    guard let dx = try newGradient(0) else { return pass(reading: [], into: nil) { _ in } }
    return pass(reading: [dy], into: dx) { Elementwise.scale(dy + $0.lowerBound, by: factor, into: dx + $0.lowerBound, count: $0.count) }
  }

  /// y = a + b; nil where b lacks leading dimensions of a.
  func addForward() throws(ExecutionError) -> RowPass? {
    guard memory.count(call.operands[1]) == resultCount else { return nil }
    let (a, b) = (operand(0), operand(1))
    let y = try newResult()
    return pass(reading: [a, b], into: y) {
      Elementwise.add(a + $0.lowerBound, b + $0.lowerBound, into: y + $0.lowerBound, count: $0.count)
    }
  }

  /// y = a + b, b for each of the leading dimensions that it lacks.
  func broadcastAddForward() throws(ExecutionError) {
    let columns = memory.count(call.operands[1])
    let (a, b) = (operand(0), operand(1))
    Elementwise.addBias(a, b, into: try newResult(), rows: resultCount / columns, columns: columns)
  }

  /// da = dy, db = Σ dy over the dimensions that b lacks
  func addBackward() throws(ExecutionError) {
    try newGradient(0)
    let columns = memory.count(call.operands[1])
    if columns == resultCount, !isParameter(1) {
      try newGradient(1)
    } else if let db = try accumulator(1) {
      Elementwise.accumulateBiasGradient(resultGradient, into: db, rows: resultCount / columns, columns: columns)
    }
  }

  func multiplyForward() throws(ExecutionError) -> RowPass {
    let (a, b) = (operand(0), operand(1))
    let y = try newResult()
    return pass(reading: [a, b], into: y) {
      Elementwise.multiply(a + $0.lowerBound, b + $0.lowerBound, into: y + $0.lowerBound, count: $0.count)
    }
  }

  /// da = dy × b, db = dy × a
  func multiplyBackward() throws(ExecutionError) {
    let dy = resultGradient
    if let db = try newGradient(1) {
      if let da = try newGradient(0) {
        Elementwise.multiplyBackward(a: operand(0), b: operand(1), dy: dy, da: da, db: db, count: resultCount)
      } else {
        Elementwise.multiply(dy, operand(0), into: db, count: resultCount)
      }
    } else if let da = try newGradient(0) {
      Elementwise.multiply(dy, operand(1), into: da, count: resultCount)
    }
  }
}

extension ActivationFunction {
  fileprivate var kernel: Activation {
    switch self {
    case .gelu: .geluErf
    case .geluTanh: .geluTanh
    case .silu: .silu
    case .quickGelu: .quickGelu
    case .relu: .relu
    case .squaredRelu: .squaredRelu
    case .tanh: .tanh
    }
  }
}
