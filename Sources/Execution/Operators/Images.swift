// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph

/// Convolution, pooling and batch norm.
extension OperatorCall {
  func convolutionForward(stride: Int, padding: Int) throws(ExecutionError) {
    let kernel = Convolution(for: call, in: program, stride: stride, padding: padding)
    let y = try newResult()
    try withScratch(kernel.scratchCount) { (scratch) throws(ExecutionError) in
      kernel.forward(operand(0), weight: operand(1), into: y, batch: extents(0)[0], scratch: scratch)
    }
  }

  func convolutionBackward(stride: Int, padding: Int) throws(ExecutionError) {
    let kernel = Convolution(for: call, in: program, stride: stride, padding: padding)
    let (dy, batch) = (resultGradient, extents(0)[0])
    let dx = try newGradient(0)
    let sums = try gradientToAddTo(1).map(memory.accumulator)
    try withScratch(kernel.scratchCount) { (scratch) throws(ExecutionError) in
      if let (dw, isZero) = sums {
        kernel.accumulateWeightGradient(operand(0), dy: dy, into: dw, replaces: isZero, batch: batch, scratch: scratch)
      }
      if let dx { kernel.inputGradient(dy: dy, weight: operand(1), into: dx, batch: batch, scratch: scratch) }
    }
  }

  private var batchNorm: BatchNorm {
    let x = extents(0)
    return BatchNorm(batch: x[0], channels: x[1], positions: x[2] * x[3])
  }

  /// The values that one channel has on all ranks together.
  private var valuesPerChannel: Int {
    let x = program.graph.shape(op.operands[0])
    return x[0] * x[2] * x[3]
  }

  private var sampleGroup: Communicator? { groups.communicator(over: program.meshAxes(of: call.op, on: program.rules[call.op].operands[0][0])) }

  /// Keeps each channel's mean and 1 / standard deviation over all ranks' samples.
  func batchNormForward(epsilon: Float) throws(ExecutionError) {
    let kernel = batchNorm
    let (mean, rstd) = (try newExtra(0), try newExtra(1))
    let count = Float(valuesPerChannel)
    kernel.sum(operand(0), into: mean)
    try sampleGroup?.allReduce(mean, count: kernel.channels)
    for channel in 0..<kernel.channels { mean[channel] /= count }
    kernel.sumOfSquares(operand(0), mean: mean, into: rstd)
    try sampleGroup?.allReduce(rstd, count: kernel.channels)
    for channel in 0..<kernel.channels { rstd[channel] = 1 / (rstd[channel] / count + epsilon).squareRoot() }
    kernel.forward(operand(0), weight: operand(1), bias: operand(2), mean: mean, rstd: rstd, into: try newResult())
  }

  func batchNormBackward() throws(ExecutionError) {
    let kernel = batchNorm
    let channels = kernel.channels
    try withScratch(2 * channels) { (sums) throws(ExecutionError) in
      kernel.gradientSums(operand(0), mean: extra(0), rstd: extra(1), dy: resultGradient, sum: sums, projection: sums + channels)
      // The gradients of weight and bias are this rank's addends; x's takes all ranks' sums.
      if let db = try accumulator(2) { Elementwise.accumulate(sums, into: db, count: channels) }
      if let dw = try accumulator(1) { Elementwise.accumulate(sums + channels, into: dw, count: channels) }
      try sampleGroup?.allReduce(sums, count: channels)
      try sampleGroup?.allReduce(sums + channels, count: channels)
      guard let dx = try newGradient(0) else { return }
      kernel.inputGradient(
        operand(0), weight: operand(1), mean: extra(0), rstd: extra(1), dy: resultGradient, sum: sums, projection: sums + channels,
        count: valuesPerChannel, into: dx)
    }
  }

  func maxPoolForward(size: Int, stride: Int, padding: Int) throws(ExecutionError) {
    let (x, y) = (extents(0), resultExtents)
    Pooling.maximum(
      operand(0), into: try newResult(), planes: x[0] * x[1], height: x[2], width: x[3], rows: y[2], columns: y[3], size: size, stride: stride,
      padding: padding)
  }

  func maxPoolBackward(size: Int, stride: Int, padding: Int) throws(ExecutionError) {
    guard let dx = try newGradient(0) else { return }
    let (x, y) = (extents(0), resultExtents)
    Pooling.maximumGradient(
      operand(0), dy: resultGradient, into: dx, planes: x[0] * x[1], height: x[2], width: x[3], rows: y[2], columns: y[3], size: size, stride: stride,
      padding: padding)
  }

  func averagePoolForward() throws(ExecutionError) {
    let x = extents(0)
    Pooling.average(operand(0), into: try newResult(), planes: x[0] * x[1], positions: x[2] * x[3])
  }

  func averagePoolBackward() throws(ExecutionError) {
    guard let dx = try newGradient(0) else { return }
    let x = extents(0)
    Pooling.averageGradient(resultGradient, into: dx, planes: x[0] * x[1], positions: x[2] * x[3])
  }
}

extension Convolution {
  /// Of an operator's local part.
  init(for call: KernelCall, in program: Program, stride: Int, padding: Int) {
    let (x, weight) = (program.buffers[call.operands[0]].region.map(\.count), program.buffers[call.operands[1]].region.map(\.count))
    self.init(
      inputs: x[1], height: x[2], width: x[3], outputs: weight[0], kernelHeight: weight[2], kernelWidth: weight[3], stride: stride, padding: padding)
  }
}
