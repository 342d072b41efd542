// SPDX-License-Identifier: GPL-3.0-or-later
import TestSupport

@testable import Search

/// A problem with the shape of a planner's: transformer blocks over a mesh of two axes.
///
/// A strategy assigns each mesh axis to one of an operator's iteration axes; its layouts say what each axis does to the operator's input and
/// output. An edge costs what the conversion between two layouts moves (0 where they agree), so that strategies with equal layouts have equal
/// rows. A residual joins every block's entry with its two adds, and gives the graph cycles.
struct BlockProblem {
  var blocks = 1
  /// Strategies of a linear operator: choices per mesh axis, squared (4: 16, 6: 36) or cubed.
  var choicesPerAxis = 4
  var axes = 2
  var objectiveRows = 1
  var memoryRows = 1
  /// Each memory row's limit between its least possible use (0) and the most (1), as if nodes were independent.
  var tightness = 2.0
  var seed = 1

  private static let operators = ["norm", "qkv", "attention", "out", "add", "norm", "up", "act", "down", "add"]

  func problem() throws -> Problem {
    var random = SeededGenerator(seed: seed)
    let layouts = 4
    let perNode = Int(pow(choicesPerAxis, axes))
    var nodes: [(input: [Int], output: [Int], cost: [[Int64]], usage: [Int64])] = []
    var edges: [(Int, Int)] = []
    /// Conversions between the 4 layouts of one axis: 0 replicated, 1 and 2 split, 3 partial.
    let move: [[Int64]] = [[0, 0, 0, -1], [40, 0, 20, -1], [40, 20, 0, -1], [80, 40, 40, 0]]
    for block in 0..<blocks {
      for (position, name) in Self.operators.enumerated() {
        let number = nodes.count
        let isLight = ["norm", "add", "act"].contains(name)
        var node: (input: [Int], output: [Int], cost: [[Int64]], usage: [Int64]) = ([], [], [], [])
        let base = Int64.random(in: 20_000...60_000, using: &random) * (isLight ? 1 : 20)
        for strategy in 0..<perNode {
          var (input, output, work, weights, rest) = (0, 0, base, Int64(isLight ? 10 : 4_000), strategy)
          for _ in 0..<axes {
            let choice = rest % choicesPerAxis
            rest /= choicesPerAxis
            // 0: replicated; 1: column (in replicated, out split); 2: row (in split, out partial); 3: batch; more: other dimensions.
            let (from, to): (Int, Int) = [(0, 0), (0, 2), (2, isLight ? 2 : 3), (1, 1)][min(choice, 3)]
            input = input * layouts + from
            output = output * layouts + to
            if choice > 0 { work = work / 4 + base / 50 * Int64(choice) }
            if choice == 1 || choice == 2 { weights /= 4 }
          }
          node.input.append(input)
          node.output.append(output)
          node.cost.append((0..<objectiveRows).map { row in work / Int64(row + 1) + Int64.random(in: 0...base / 100, using: &random) })
          node.usage.append(weights * 1_000 + Int64.random(in: 0...400, using: &random) * 1_000)
        }
        nodes.append(node)
        if position > 0 || block > 0 { edges.append((number - 1, number)) }
        // Residuals: the first add takes the block's entry, the second the first add.
        if position == 4, block > 0 { edges.append((number - 5, number)) }
        if position == 9 { edges.append((number - 5, number)) }
      }
    }
    func conversion(_ from: Int, _ to: Int) -> Int64? {
      var (from, to, total) = (from, to, Int64(0))
      for _ in 0..<axes {
        let cost = move[from % layouts][to % layouts]
        if cost < 0 { return nil }
        total += cost * 5_000
        from /= layouts
        to /= layouts
      }
      return total
    }
    let least = nodes.reduce(Int64(0)) { $0 + ($1.usage.min() ?? 0) }
    let most = nodes.reduce(Int64(0)) { $0 + ($1.usage.max() ?? 0) }
    let limits = (0..<memoryRows).map { row in Int64(Double(least) + tightness * Double(most - least)) / Int64(row + 1) }
    var builder = try ProblemBuilder(offsets: [Int64](repeating: 0, count: objectiveRows), limits: limits)
    for node in nodes {
      let number = try builder.addNode(costs: node.cost.flatMap { $0 })
      for row in 0..<memoryRows { try builder.addLoad(node: number, rows: row..<row + 1, usages: node.usage.map { $0 / Int64(row + 1) }) }
    }
    for (tail, head) in edges {
      var costs: [Int64] = []
      for from in nodes[tail].output {
        for to in nodes[head].input {
          let cost = conversion(from, to) ?? Problem.forbidden
          costs += (0..<objectiveRows).map { cost < Problem.forbidden ? cost / Int64($0 + 1) : cost }
        }
      }
      try builder.addEdge(tail, head, costs: costs)
    }
    return builder.build()
  }

  private func pow(_ base: Int, _ exponent: Int) -> Int { (0..<exponent).reduce(1) { product, _ in product * base } }
}
