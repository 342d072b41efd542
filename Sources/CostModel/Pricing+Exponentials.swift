// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

extension Pricing {
  /// How many exponentials an operator that streams computes on the largest part, in each pass: on a processor core they take longer than
  /// the memory traffic beside them. Those of attention are part of its rate.
  ///
  /// - Parameter local: the extents of the largest local iteration space.
  func exponentials(of op: OperatorID, _ local: UnsafeMutableBufferPointer<Double>) -> (forward: Double, backward: Double) {
    guard rates.efficiency.exponentials.isFinite else { return (0, 0) }
    func elements(_ operand: Int) -> Double { rules[op].operands[operand].reduce(1) { $0 * local[$1] } }
    switch graph.operators[op].kind {
    case .activation(let function):
      let counts = function.exponentials
      return (elements(0) * counts.forward, elements(0) * counts.backward)
    case .crossEntropy: return (elements(0), elements(0))
    default: return (0, 0)
    }
  }
}

extension ActivationFunction {
  /// Exponentials of an element. An error function has one inside; its derivative is a second one.
  fileprivate var exponentials: (forward: Double, backward: Double) {
    switch self {
    case .gelu: (1, 2)
    case .geluTanh, .silu, .quickGelu: (1, 1)
    case .tanh: (1, 0)
    case .relu, .squaredRelu: (0, 0)
    }
  }
}
