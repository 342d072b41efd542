// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels
import ModelGraph

/// Operators of models that pair samples with samples: two towers and a contrastive loss.
extension OperatorCall {
  /// For each sample the position that is selected: the first of an id, or of the largest one.
  private func markedPositions(id: Int?) -> [Int] {
    let (samples, positions) = (extents(1)[0], extents(1)[1])
    let ids = wholeNumbers(1)
    return (0..<samples).map { sample in
      let row = ids + sample * positions
      let wanted = id.map { Int32(truncatingIfNeeded: $0) } ?? (0..<positions).reduce(Int32.min) { max($0, row[$1]) }
      return (0..<positions).first { row[$0] == wanted } ?? 0
    }
  }

  /// y[b] = x[b, position of b]
  func selectMarkedTokenForward(id: Int?) throws(ExecutionError) {
    let x = extents(0)
    let (source, result) = (operand(0), try newResult())
    for (sample, position) in markedPositions(id: id).enumerated() {
      (result + sample * x[2]).update(from: source + (sample * x[1] + position) * x[2], count: x[2])
    }
  }

  func selectMarkedTokenBackward(id: Int?) throws(ExecutionError) {
    guard let dx = try newGradient(0) else { return }
    let x = extents(0)
    Elementwise.fill(dx, count: x.reduce(1, *), with: 0)
    for (sample, position) in markedPositions(id: id).enumerated() {
      (dx + (sample * x[1] + position) * x[2]).update(from: resultGradient + sample * x[2], count: x[2])
    }
  }

  func unitNormForward() throws(ExecutionError) {
    let (rows, columns) = rowsAndColumns
    UnitNorm.forward(operand(0), into: try newResult(), inverse: try newExtra(0), rows: rows, columns: columns)
  }

  func unitNormBackward() throws(ExecutionError) {
    guard let dx = try newGradient(0) else { return }
    let (rows, columns) = rowsAndColumns
    UnitNorm.backward(x: operand(0), inverse: extra(0), dy: resultGradient, dx: dx, rows: rows, columns: columns)
  }

  /// Rows, columns and inner extent of y[b, c] = Σ x[b, h] z[c, h].
  private var pairs: (rows: Int, columns: Int, depth: Int) { (extents(0)[0], extents(1)[0], extents(0)[1]) }

  func similarityForward() throws(ExecutionError) {
    let (rows, columns, depth) = pairs
    BLAS.gemm(
      .no, .yes, m: rows, n: columns, k: depth, a: operand(0), lda: depth, b: operand(1), ldb: depth, c: try newResult(), ldc: columns)
  }

  /// dx = dy z, dz = dyᵀ x
  func similarityBackward() throws(ExecutionError) {
    let (rows, columns, depth) = pairs
    let dy = resultGradient
    if let dx = try newGradient(0) {
      BLAS.gemm(.no, .no, m: rows, n: depth, k: columns, a: dy, lda: columns, b: operand(1), ldb: depth, c: dx, ldc: depth)
    }
    if let dz = try newGradient(1) {
      BLAS.gemm(.yes, .no, m: columns, n: depth, k: rows, a: dy, lda: columns, b: operand(0), ldb: depth, c: dz, ldc: depth)
    }
  }

  func learnedScaleForward(_ function: ScaleFunction) throws(ExecutionError) {
    let (x, factor) = (operand(0), function.factor(operand(1).pointee).value)
    Elementwise.scale(x, by: factor, into: try newResult(), count: resultCount)
  }

  /// dx = f(w) dy, dw += f′(w) Σ dy x
  func learnedScaleBackward(_ function: ScaleFunction) throws(ExecutionError) {
    let (x, factor, dy) = (operand(0), function.factor(operand(1).pointee), resultGradient)
    let dx = try newGradient(0)
    if let dw = try accumulator(1) {
      var sum = 0.0
      for i in 0..<resultCount { sum += Double(dy[i]) * Double(x[i]) }
      dw.pointee += Float(sum * factor.slope)
    }
    if let dx { Elementwise.scale(dy, by: factor.value, into: dx, count: resultCount) }
  }

  /// Writes this rank's addend of the mean loss, and keeps the rows' and columns' maxima and sums of exponentials.
  func contrastiveLossForward() throws(ExecutionError) {
    let (rows, columns) = (region(0)[0], region(0)[1].count)
    let logits = operand(0)
    let (rowMaximum, rowSum, columnMaximum, columnSum) = (try newExtra(0), try newExtra(1), try newExtra(2), try newExtra(3))
    let loss = try newResult()
    let group = groups.communicator(over: program.meshAxes(of: call.op, on: program.rules[call.op].operands[0][0]))
    ContrastiveLoss.rowStatistics(
      logits, rowMaximum: rowMaximum, rowSum: rowSum, columnMaximum: columnMaximum, rows: rows.count, columns: columns)
    try group?.allReduce(columnMaximum, count: columns, .max)
    ContrastiveLoss.columnSums(logits, columnMaximum: columnMaximum, columnSum: columnSum, rows: rows.count, columns: columns)
    try group?.allReduce(columnSum, count: columns)
    let sum = ContrastiveLoss.lossSum(
      logits, rowMaximum: rowMaximum, rowSum: rowSum, columnMaximum: columnMaximum, columnSum: columnSum, rows: rows, columns: columns)
    loss.pointee = Float(sum * Double(lossScale))
  }

  func contrastiveLossBackward() throws(ExecutionError) {
    let (rows, columns) = (region(0)[0], region(0)[1].count)
    let logits = operand(0)
    guard let gradient = try newGradient(0) else { return }
    ContrastiveLoss.backward(
      logits, rowMaximum: extra(0), rowSum: extra(1), columnMaximum: extra(2), columnSum: extra(3), rows: rows, columns: columns,
      scale: lossScale, into: gradient)
  }
}

extension ScaleFunction {
  /// The factor that a number stands for, rounded once, and its derivative.
  fileprivate func factor(_ weight: Float) -> (value: Float, slope: Double) {
    switch self {
    case .exponential: return (Float(exp(Double(weight))), exp(Double(weight)))
    case .tanh:
      let value = Foundation.tanh(Double(weight))
      return (Float(value), 1 - value * value)
    }
  }
}
