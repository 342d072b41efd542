// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import ModelGraph

/// Matrix products and their biases. x is [rows, inputs], y [rows, outputs]; the weight stands as the checkpoint has it, inputs or
/// outputs first, and the product takes it as it is.
extension OperatorCall {
  private struct Product {
    let rows: Int
    let inputs: Int
    let outputs: Int
    /// Whether the weight is [inputs, outputs], not [outputs, inputs].
    let isInputFirst: Bool
  }

  private var product: Product {
    let (x, weight) = (program.graph.tensors[op.operands[0]].dimensions, program.graph.tensors[op.operands[1]].dimensions)
    let extents = extents(1)
    let isInput = weight.map(x.contains)
    let inputs = zip(extents, isInput).reduce(1) { $1.1 ? $0 * $1.0 : $0 }
    return Product(
      rows: memory.count(call.operands[0]) / inputs, inputs: inputs, outputs: extents.reduce(1, *) / inputs, isInputFirst: isInput[0])
  }

  /// y = x W
  func linearForward() throws(ExecutionError) {
    let p = product
    BLAS.gemm(
      .no, p.isInputFirst ? .no : .yes, m: p.rows, n: p.outputs, k: p.inputs, a: operand(0), lda: p.inputs, b: operand(1),
      ldb: p.isInputFirst ? p.outputs : p.inputs, c: try newResult(), ldc: p.outputs)
  }

  /// dx = dy Wᵀ, dW += xᵀ dy
  func linearBackward() throws(ExecutionError) {
    let p = product
    let dy = resultGradient
    let dx = try newGradient(0)
    if let (dw, isZero) = try gradientToAddTo(1).map(memory.accumulator) {
      if p.isInputFirst {
        BLAS.gemm(
          .yes, .no, m: p.inputs, n: p.outputs, k: p.rows, a: operand(0), lda: p.inputs, b: dy, ldb: p.outputs, beta: isZero ? 0 : 1, c: dw,
          ldc: p.outputs)
      } else {
        BLAS.gemm(
          .yes, .no, m: p.outputs, n: p.inputs, k: p.rows, a: dy, lda: p.outputs, b: operand(0), ldb: p.inputs, beta: isZero ? 0 : 1, c: dw,
          ldc: p.inputs)
      }
    }
    if let dx {
      BLAS.gemm(
        .no, p.isInputFirst ? .yes : .no, m: p.rows, n: p.inputs, k: p.outputs, a: dy, lda: p.outputs, b: operand(1),
        ldb: p.isInputFirst ? p.outputs : p.inputs, c: dx, ldc: p.inputs)
    }
  }

  /// y = x + b, b along the last dimensions
  func biasForward() throws(ExecutionError) -> RowPass {
    let (x, bias, columns) = (operand(0), operand(1), memory.count(call.operands[1]))
    let y = try newResult()
    return pass(over: columns, reading: [x], into: y, beside: [side(bias, columns)]) {
      Elementwise.addBias(x + $0.lowerBound, bias, into: y + $0.lowerBound, rows: $0.count / columns, columns: columns)
    }
  }

  /// dx = dy, db += Σ dy
  func biasBackward() throws(ExecutionError) -> RowPass {
    let (dy, columns) = (resultGradient, memory.count(call.operands[1]))
    let sums = try gradientToAddTo(1).map(memory.accumulator)
    try newGradient(0)
    return pass(over: columns, reading: [dy], into: nil, beside: sums.map { [side($0.address, columns)] } ?? []) {
      guard let (db, isZero) = sums else { return }
      // Not before: a pass that is to come first may read what lay here.
      if isZero, $0.lowerBound == 0 { Elementwise.fill(db, count: columns, with: 0) }
      Elementwise.accumulateBiasGradient(dy + $0.lowerBound, into: db, rows: $0.count / columns, columns: columns)
    }
  }
}
