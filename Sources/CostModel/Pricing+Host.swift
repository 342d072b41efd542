// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// What the host takes to hand kernels over to the device.
///
/// It runs ahead while the device works, so that what counts is a pass as a whole: the longer of what its kernels take and of what it takes to hand all of
/// them over. Kernels that take longer than their hand-over make up for those that take less.
extension Pricing {
  /// Of an operator's kernels, in its forward and in its backward pass, whatever its strategy.
  package func host(_ op: OperatorID) -> (forward: Seconds, backward: Seconds) {
    let dispatch = kinds.reduce(rates.efficiency.dispatch) { max($0, $1.rates.efficiency.dispatch) }
    if dispatch == .zero { return (.zero, .zero) }
    let count = kernels(op)
    return (dispatch * count.forward, dispatch * count.backward)
  }

  private func kernels(_ op: OperatorID) -> (forward: Int, backward: Int) {
    let trains = hasBackward(op)
    if isFusedBias(op) { return (0, trains ? 1 : 0) }
    switch rules[op].work {
    case .product: return (1, (0..<2).filter { wants(op, operand: $0) }.count)
    case .attention(let attention):
      if job.software.attention == .fused { return (1, trains ? 1 : 0) }
      let drops = job.mode == .train && attention.drops ? 1 : 0
      return (ScoreMatrix.forwardKernels + drops, trains ? ScoreMatrix.backwardKernels + drops : 0)
    case .stream, .gather, .crossEntropy: return (1, trains ? 1 : 0)
    case .free: return (0, 0)
    }
  }
}
