// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels

/// Operators that bring sequences of different origin together.
extension OperatorCall {
  /// y[b] = table
  func broadcastForward() throws(ExecutionError) {
    let count = memory.count(call.operands[0])
    let (table, result) = (operand(0), try newResult())
    for sample in 0..<resultCount / count { (result + sample * count).update(from: table, count: count) }
  }

  func broadcastBackward() throws(ExecutionError) {
    guard let gradient = try accumulator(0) else { return }
    let count = memory.count(call.operands[0])
    Elementwise.accumulateBiasGradient(resultGradient, into: gradient, rows: resultCount / count, columns: count)
  }

  /// Samples, and the elements of x, of y and of both in each.
  private var sequences: (samples: Int, first: Int, second: Int, both: Int) {
    let (x, y) = (extents(0), extents(1))
    return (x[0], x[1] * x[2], y[1] * y[2], (x[1] + y[1]) * x[2])
  }

  /// z[b] = x[b], y[b]
  func concatenateForward() throws(ExecutionError) {
    let (samples, first, second, both) = sequences
    let (x, y, result) = (operand(0), operand(1), try newResult())
    for sample in 0..<samples {
      (result + sample * both).update(from: x + sample * first, count: first)
      (result + sample * both + first).update(from: y + sample * second, count: second)
    }
  }

  func concatenateBackward() throws(ExecutionError) {
    let (samples, first, second, both) = sequences
    let dz = resultGradient
    if let dx = try newGradient(0) { for sample in 0..<samples { (dx + sample * first).update(from: dz + sample * both, count: first) } }
    if let dy = try newGradient(1) {
      for sample in 0..<samples { (dy + sample * second).update(from: dz + sample * both + first, count: second) }
    }
  }
}
