// SPDX-License-Identifier: GPL-3.0-or-later

/// What a choice costs and uses. It is computed from the problem alone and shares nothing with the solvers, so that it can check them.
package struct Evaluation: Equatable, Sendable {
  /// Why a choice must not be used; the first reason found, in this order.
  package enum Violation: Equatable, Sendable {
    case forbiddenStrategy(node: Int)
    case forbiddenEntry(edge: Int)
    /// The memory row is exceeded by `excess`.
    case memory(row: Int, excess: Int128)
  }

  /// The value of each objective row, forbidden entries counted as 10^18.
  package let rowValues: [Int128]
  /// The use of each memory row.
  package let memory: [Int128]
  package let violation: Violation?

  package var isLegal: Bool { violation == nil }
  /// The largest of `rowValues`.
  package var objective: Int128 { rowValues.max() ?? 0 }
}

extension Problem {
  /// The cost, memory and legality of `choice`, one strategy for each node, in 128 bits that saturate.
  package func evaluate(_ choice: [Int]) -> Evaluation {
    precondition(choice.count == nodeCount, "a choice has one strategy for each node")
    var rowValues = offsets.map { Int128($0) }
    var violation: Evaluation.Violation?
    for (node, strategy) in choice.enumerated() {
      precondition(strategy >= 0 && strategy < strategyCount(of: node), "the strategy exists")
      for row in rowValues.indices { rowValues[row].addSaturating(cost(node: node, strategy: strategy, row: row)) }
      if violation == nil, cost(node: node, strategy: strategy) >= Problem.forbidden { violation = .forbiddenStrategy(node: node) }
    }
    for (number, edge) in edges.enumerated() {
      let (p, q) = (choice[edge.tail], choice[edge.head])
      for row in rowValues.indices { rowValues[row].addSaturating(cost(edge: number, p, q, row: row)) }
      if violation == nil, cost(edge: number, p, q) >= Problem.forbidden { violation = .forbiddenEntry(edge: number) }
    }
    let memory = memoryUse(of: choice)
    if violation == nil, let row = memory.indices.first(where: { memory[$0] > Int128(limits[$0]) }) {
      violation = .memory(row: row, excess: memory[row] - Int128(limits[row]))
    }
    return Evaluation(rowValues: rowValues, memory: memory, violation: violation)
  }

  /// The use of each memory row: a running sum over where loads begin and end.
  private func memoryUse(of choice: [Int]) -> [Int128] {
    guard !limits.isEmpty else { return [] }
    var change = [Int128](repeating: 0, count: limits.count + 1)
    for (number, load) in loads.enumerated() {
      let usage = usage(load: number, strategy: choice[load.node])
      change[load.rows.lowerBound].addSaturating(usage)
      change[load.rows.upperBound].addSaturating(-usage)
    }
    var current: Int128 = 0
    return limits.indices.map { row in
      current += change[row]
      return current
    }
  }
}

extension Int128 {
  fileprivate mutating func addSaturating(_ value: Int64) {
    let (sum, overflow) = addingReportingOverflow(Int128(value))
    self = overflow ? (value < 0 ? .min : .max) : sum
  }
}
