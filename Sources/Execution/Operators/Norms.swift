// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels

/// Normalisation over the last dimension. An operand that is not learned has no gradient; the kernels then write into scratch.
extension OperatorCall {
  func layerNormForward(epsilon: Float) throws(ExecutionError) -> RowPass {
    let (x, weight, bias, columns) = (operand(0), operand(1), operand(2), rowsAndColumns.columns)
    let (y, mean, rstd) = (try newResult(), try newExtra(0), try newExtra(1))
    let rows = resultCount / columns
    return pass(over: columns, reading: [x], into: y, beside: [side(weight, columns), side(bias, columns), side(mean, rows), side(rstd, rows)]) {
      let row = $0.lowerBound / columns
      LayerNorm.forward(
        x + $0.lowerBound, weight: weight, bias: bias, epsilon: epsilon, into: y + $0.lowerBound, mean: mean + row, rstd: rstd + row,
        rows: $0.count / columns, columns: columns)
    }
  }

  func layerNormBackward() throws(ExecutionError) {
    let (rows, columns) = rowsAndColumns
    try withGradientAndScratch(columns) { (dx, scratch) throws(ExecutionError) in
      LayerNorm.backward(
        x: operand(0), weight: operand(1), mean: extra(0), rstd: extra(1), dy: resultGradient, dx: dx, dweight: try accumulator(1) ?? scratch,
        dbias: try accumulator(2), rows: rows, columns: columns)
    }
  }

  func rmsNormForward(epsilon: Float, addsOne: Bool) throws(ExecutionError) -> RowPass {
    let (x, weight, columns) = (operand(0), operand(1), rowsAndColumns.columns)
    let (y, rstd) = (try newResult(), try newExtra(0))
    return pass(over: columns, reading: [x], into: y, beside: [side(weight, columns), side(rstd, resultCount / columns)]) {
      RMSNorm.forward(
        x + $0.lowerBound, weight: weight, addend: addsOne ? 1 : 0, epsilon: epsilon, into: y + $0.lowerBound, rstd: rstd + $0.lowerBound / columns,
        rows: $0.count / columns, columns: columns)
    }
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
