// SPDX-License-Identifier: GPL-3.0-or-later
import Search

extension FoldedModel {
  /// Whether every operator and every shared tensor has a strategy. Readers that want a tensor in more layouts than are held at once leave it none.
  var isPossible: Bool { !nodes.contains { $0.count == 0 } }

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
