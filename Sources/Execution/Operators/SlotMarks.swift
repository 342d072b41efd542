// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph

/// Marks of the rows that hold tokens: `dispatch`, and backward `combine`, set them by the routes; what works row by row hands them on.
extension OperatorCall {
  func markResult() {
    guard let marks = memory.marks(call.result) else { return }
    if op.kind == .dispatch { return routing(slots: program.buffers[call.result].region).mark(operand(1), into: marks) }
    copyMarks(from: call.operands[0], to: call.result)
  }

  func markGradients() {
    for (operand, gradient) in call.operandGradients.enumerated() {
      guard let gradient, let marks = memory.marks(gradient) else { continue }
      if op.kind == .combine {
        routing(slots: region(operand)).mark(self.operand(1), into: marks)
      } else {
        copyMarks(from: resultGradientBuffer, to: gradient)
      }
    }
  }

  private func copyMarks(from source: BufferID, to destination: BufferID) {
    guard let marks = memory.marks(source), let result = memory.marks(destination) else { preconditionFailure("\(op.name): slots without marks") }
    if marks != result { result.update(from: marks, count: memory.slots.rows[destination]) }
  }
}
