// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// What one pass of an operator computes and moves on the rank with the largest part, for one micro-batch.
package struct OperatorWork: Hashable, Sendable {
  package var operations = FLOPs(0)
  /// Between the device's memory and its processors.
  package var moved = Bytes.zero

  package init() {}

  package init(operations: FLOPs, moved: Bytes) { (self.operations, self.moved) = (operations, moved) }
}

extension Pricing {
  /// The operations of a pass's products, or, where an operator has none, one for each element that it reads or writes of its largest tensor; and its
  /// operands and results, each once for each product.
  package func work(_ op: OperatorID, _ strategy: Strategy, isBackward: Bool) -> OperatorWork {
    let (rule, own) = (rules[op], graph.operators[op])
    let local = largestExtents(op, strategy)
    func product(_ axes: [Int]) -> Double { axes.reduce(1) { $0 * Double(local[$1]) } }
    let (read, result) = (own.operands.indices.map { bytes(own.operands[$0], strategy.operands[$0].forward) }, bytes(own.result, strategy.result))
    let moved = read.reduce(result, +)
    let wanted = own.operands.indices.filter { wants(op, operand: $0) }
    func elements(_ bytes: Bytes, _ tensor: TensorID) -> Double { bytes.value / Double(elementBytes(tensor)) }

    switch rule.work {
    case .product(let batch, let m, let n, let k):
      let one = 2 * product(batch + m) * product(n) * product(k)
      let count = isBackward ? Double(wanted.count) : 1
      return OperatorWork(operations: FLOPs(one * count), moved: moved * count)
    case .attention(let attention):
      let scores = product(attention.samples) * Double(local[attention.queries]) * Double(local[attention.keys])
      let ring = rule.ring.map { strategy.meshAxes(on: $0.axis).reduce(1) { $0 * mesh[$1] } } ?? 1
      let isWhole = job.software.attention == .unfused && ring == 1
      // A ring's rank works on the keys of every rank, its own among them.
      let share = attention.isCausal && !isWhole ? causalShare(of: op, queries: attention.queries, strategy) : 1
      let forward = FLOPs(4 * scores * Double(local[attention.depth]) * Double(ring) * share)
      // Backward five products for two, or four where the scores were kept.
      return isBackward ? OperatorWork(operations: forward * (isWhole ? 2 : 2.5), moved: moved * 2) : OperatorWork(operations: forward, moved: moved)
    case .gather:
      return OperatorWork(operations: FLOPs(elements(result, own.result)), moved: result * (isBackward ? 3 : 2))
    case .stream, .crossEntropy:
      let largest = own.operands.indices.reduce(elements(result, own.result)) { max($0, elements(read[$1], own.operands[$1])) }
      return OperatorWork(operations: FLOPs(largest), moved: isBackward ? wanted.reduce(moved) { $0 + read[$1] } : moved)
    case .free: return OperatorWork()
    }
  }
}
