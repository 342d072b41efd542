// SPDX-License-Identifier: GPL-3.0-or-later

extension Problem {
  /// The problem in which `node` may take only `strategies`; all numbers stay as they are. Pins must be applied this way, before solving:
  /// presolve deletes strategies that are merely no better than others.
  package func restricting(node: Int, to strategies: Set<Int>) -> Problem {
    precondition(node >= 0 && node < nodeCount, "the node exists")
    return restricting { $0 != node || strategies.contains($1) }
  }

  /// The problem without the strategies (node, strategy) for which `isAllowed` is false; all numbers stay as they are.
  package func restricting(_ isAllowed: (_ node: Int, _ strategy: Int) -> Bool) -> Problem {
    var result = self
    let rows = offsets.count
    for node in 0..<nodeCount {
      for strategy in 0..<strategyCount(of: node) where !isAllowed(node, strategy) {
        let start = (strategyStarts[node] + strategy) * rows
        for row in 0..<rows { result.nodeCosts[start + row] = Problem.forbidden }
      }
    }
    return result
  }

  /// The problem without memory rows, whose one objective row is the use of memory row `row`; forbidden entries stay forbidden.
  func minimisingUsage(ofRow memoryRow: Int) -> Problem {
    let rows = offsets.count
    var result = Problem(offsets: [0], limits: [])
    result.strategyStarts = strategyStarts
    result.nodeCosts = (0..<strategyCount).map { nodeCosts[$0 * rows] >= Problem.forbidden ? Problem.forbidden : 0 }
    for load in loads where load.rows.contains(memoryRow) {
      for strategy in 0..<strategyCount(of: load.node) where result.nodeCosts[strategyStarts[load.node] + strategy] < Problem.forbidden {
        result.nodeCosts[strategyStarts[load.node] + strategy] += usages[load.start + strategy]
      }
    }
    for edge in edges {
      let count = strategyCount(of: edge.tail) * strategyCount(of: edge.head)
      let matrix = (0..<count).map { edgeCosts[edge.start + $0 * rows] >= Problem.forbidden ? Problem.forbidden : 0 }
      guard matrix.contains(Problem.forbidden) else { continue }
      result.edges.append(Edge(tail: edge.tail, head: edge.head, start: result.edgeCosts.count))
      result.edgeCosts += matrix
    }
    return result
  }
}
