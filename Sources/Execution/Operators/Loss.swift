// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels

/// The loss: softmax cross-entropy, also over a vocabulary that is split over ranks.
extension OperatorCall {
  /// Writes this rank's addend of the mean loss, and keeps each row's maximum and sum of exponentials.
  func crossEntropyForward() throws(ExecutionError) {
    let vocabulary = region(0)[region(0).count - 1]
    let rows = memory.count(call.operands[1])
    let (maximum, sumExp, loss) = (try newExtra(0), try newExtra(1), try newResult())
    let labels = wholeNumbers(1)
    let group = groups.communicator(over: program.meshAxes(of: call.op, on: program.rules[call.op].operands[0].last ?? 0))
    try withScratch(rows) { (target) throws(ExecutionError) in
      CrossEntropy.rowMaximum(operand(0), into: maximum, rows: rows, columns: vocabulary.count)
      try group?.allReduce(maximum, count: rows, .max)
      CrossEntropy.sumExpAndTarget(
        operand(0), rowMaximum: maximum, labels: labels, vocabulary: vocabulary, sumExp: sumExp, target: target, rows: rows)
      try group?.allReduce(sumExp, count: rows)
      try group?.allReduce(target, count: rows)
      let sum = CrossEntropy.lossSum(rowMaximum: maximum, sumExp: sumExp, target: target, labels: labels, rows: rows).sum
      loss.pointee = Float(sum * Double(lossScale))
    }
  }

  func crossEntropyBackward() throws(ExecutionError) {
    let vocabulary = region(0)[region(0).count - 1]
    let logits = operand(0)
    guard let gradient = try newGradient(0) else { return }
    CrossEntropy.backward(
      logits, rowMaximum: extra(0), sumExp: extra(1), labels: wholeNumbers(1), vocabulary: vocabulary, scale: lossScale,
      into: gradient, rows: memory.count(call.operands[1]))
  }
}
