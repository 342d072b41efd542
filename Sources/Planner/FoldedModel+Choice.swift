// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Search
import Strategies

extension FoldedModel {
  /// Whether every operator and every shared tensor has a strategy. Readers that want a tensor in more layouts than are held at once leave it none.
  var isPossible: Bool { !nodes.contains { $0.count == 0 } }

  /// The node of an operator's weights, and for each of the operator's strategies the choices that its weights have with it; nil where they have none
  /// of their own.
  func weightsChoices(of op: OperatorID) -> (node: Int, choices: [[Int]])? {
    guard let (node, options) = weightsUses(of: op) else { return nil }
    var ofUses: [[Strategy.Use]: [Int]] = [:]
    for (number, uses) in options.enumerated() { ofUses[uses, default: []].append(number) }
    return (node, strategies[op].map { ofUses[parameterUses(of: op, $0)] ?? [] })
  }

  /// Whether some choice of strategies takes no forbidden entry.
  var hasChoice: Bool {
    get throws {
      guard isPossible else { return false }
      var builder = try ProblemBuilder()
      for node in nodes { _ = try builder.addNode(costs: [Int64](repeating: 0, count: node.count)) }
      for edge in edges {
        try builder.addEdge(edge.tail, edge.head, costs: edge.forward.map { $0 == Problem.forbidden ? Problem.forbidden : 0 })
      }
      if case .infeasible = try builder.build().solve().status { return false }
      return true
    }
  }
}
