// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels

/// Normalisation over the last dimension. An operand that is not learned has no gradient; the kernels then write into scratch.
extension OperatorCall {
  func layerNormForward(epsilon: Float) throws(ExecutionError) {
    let (rows, columns) = rowsAndColumns
    LayerNorm.forward(
      operand(0), weight: operand(1), bias: operand(2), epsilon: epsilon, into: try newResult(), mean: try newExtra(0), rstd: try newExtra(1),
      rows: rows, columns: columns)
  }

  func layerNormBackward() throws(ExecutionError) {
    let (rows, columns) = rowsAndColumns
    try withGradientAndScratch(columns) { (dx, scratch) throws(ExecutionError) in
      LayerNorm.backward(
        x: operand(0), weight: operand(1), mean: extra(0), rstd: extra(1), dy: resultGradient, dx: dx, dweight: try accumulator(1) ?? scratch,
        dbias: try accumulator(2), rows: rows, columns: columns)
    }
  }

  func rmsNormForward(epsilon: Float, addsOne: Bool) throws(ExecutionError) {
    let (rows, columns) = rowsAndColumns
    RMSNorm.forward(
      operand(0), weight: operand(1), addend: addsOne ? 1 : 0, epsilon: epsilon, into: try newResult(), rstd: try newExtra(0), rows: rows,
      columns: columns)
  }

  func rmsNormBackward(addsOne: Bool) throws(ExecutionError) {
    let (rows, columns) = rowsAndColumns
    try withGradientAndScratch(columns) { (dx, scratch) throws(ExecutionError) in
      RMSNorm.backward(
        x: operand(0), weight: operand(1), addend: addsOne ? 1 : 0, rstd: extra(0), dy: resultGradient, dx: dx,
        dweight: try accumulator(1) ?? scratch, rows: rows, columns: columns)
    }
  }

  /// Calls `body` with the gradient of x, over that of y where it dies, and with scratch for `columns` values.
  private func withGradientAndScratch(
    _ columns: Int, _ body: (_ dx: UnsafeMutablePointer<Float>, _ scratch: UnsafeMutablePointer<Float>) throws(ExecutionError) -> Void
  ) throws(ExecutionError) {
    let dx = try newGradient(0)
    try withScratch(columns + (dx == nil ? resultCount : 0)) { (scratch) throws(ExecutionError) in try body(dx ?? scratch + columns, scratch) }
  }
}
