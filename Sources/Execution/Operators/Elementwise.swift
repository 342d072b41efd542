// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import ModelGraph

/// Element-wise operators. Gradients that are copies of one another are one block of memory.
extension OperatorCall {
  func activationForward(_ function: ActivationFunction) throws(ExecutionError) {
    let x = operand(0)
    function.kernel.forward(x, into: try newResult(), count: resultCount)
  }

  func activationBackward(_ function: ActivationFunction) throws(ExecutionError) {
    guard let dx = try newGradient(0) else { return }
    let kernel = function.kernel
    kernel.backward(saved: kernel.savesOutput ? result : operand(0), dy: resultGradient, dx: dx, count: resultCount)
  }

  func scaleForward(by factor: Float) throws(ExecutionError) {
    let x = operand(0)
    Elementwise.scale(x, by: factor, into: try newResult(), count: resultCount)
  }

  func scaleBackward(by factor: Float) throws(ExecutionError) {
    guard let dx = try newGradient(0) else { return }
    Elementwise.scale(resultGradient, by: factor, into: dx, count: resultCount)
  }

  /// y = a + b; b may lack leading dimensions of a
  func addForward() throws(ExecutionError) {
    let columns = memory.count(call.operands[1])
    let (a, b) = (operand(0), operand(1))
    let result = try newResult()
    if columns == resultCount {
      Elementwise.add(a, b, into: result, count: columns)
    } else {
      Elementwise.addBias(a, b, into: result, rows: resultCount / columns, columns: columns)
    }
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

  func multiplyForward() throws(ExecutionError) {
    let (a, b) = (operand(0), operand(1))
    Elementwise.multiply(a, b, into: try newResult(), count: resultCount)
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
