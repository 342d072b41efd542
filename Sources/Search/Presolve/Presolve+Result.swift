// SPDX-License-Identifier: GPL-3.0-or-later

extension Presolve {
  /// What is left as a problem of its own, and the way back from its choices.
  func result() -> (problem: Problem, reconstruction: Reconstruction, rowOrigins: [Int]) {
    var problem = Problem(offsets: offsets, limits: limits)
    // Empty unless the search was stopped between two rounds.
    var change: Int64 = 0
    for row in limits.indices {
      change += limitChanges[row]
      problem.limits[row] += change
    }
    var reconstruction = reconstruction
    var numbers = [Int](repeating: -1, count: nodes.count)
    for node in nodes.indices where nodes[node].isAlive {
      numbers[node] = reconstruction.nodes.count
      reconstruction.nodes.append(node)
      reconstruction.strategies.append(nodes[node].origin)
      problem.nodeCosts += nodes[node].costs
      problem.strategyStarts.append(problem.strategyCount + nodes[node].count)
      var segments = nodes[node].segments
      segments.merge()
      for segment in 0..<segments.count {
        problem.loads.append(Problem.Load(node: numbers[node], rows: segments.rows[segment], start: problem.usages.count))
        problem.usages += segments.usages(of: segment)
      }
    }
    for edge in edges where edge.isAlive {
      problem.edges.append(Problem.Edge(tail: numbers[edge.tail], head: numbers[edge.head], start: problem.edgeCosts.count))
      problem.edgeCosts += edge.matrix
    }
    return (problem, reconstruction, rowOrigins)
  }
}
