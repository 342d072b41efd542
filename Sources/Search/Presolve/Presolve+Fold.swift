// SPDX-License-Identifier: GPL-3.0-or-later

extension Presolve {
  /// Takes out a node with at most two neighbours where for every combination of their strategies one response is at least as good as every
  /// other in all objective rows and all memory rows. True where it was taken out.
  ///
  /// With one neighbour the response's costs and usage go to it; with two the costs become an edge between them, and the node must use no
  /// memory (beyond what all its strategies use).
  mutating func fold(_ node: Int) -> Bool {
    switch nodes[node].edges.count {
    case 0:
      guard let best = response(of: node, to: nodes[node].costs) else { return false }
      keep([best], of: node)
      if nodes[node].isAlive { fix(node) }
      return true
    case 1: return foldIntoNeighbour(node)
    case 2 where nodes[node].segments.isEmpty: return foldIntoEdge(node)
    default: return false
    }
  }

  /// The first strategy that is at least as good as every other one under `costs` (this node's own plus what its neighbours' strategies
  /// add); nil where there is none, or where all are forbidden.
  private func response(of node: Int, to costs: [Int64]) -> Int? {
    let count = nodes[node].count
    var best = 0
    for q in 1..<count where isBetter(q, than: best, node: node, costs: costs) { best = q }
    guard costs[best * rows] < Problem.forbidden else { return nil }
    guard rows > 1 || !nodes[node].segments.isEmpty else { return best }
    for q in 0..<count where costs[q * rows] < Problem.forbidden {
      for row in 0..<rows where costs[best * rows + row] > costs[q * rows + row] { return nil }
      for segment in 0..<nodes[node].segments.count where nodes[node].segments[segment, best] > nodes[node].segments[segment, q] { return nil }
    }
    return best
  }

  /// An order in which a strategy that dominates all others comes first.
  private func isBetter(_ q: Int, than best: Int, node: Int, costs: [Int64]) -> Bool {
    for row in 0..<rows {
      let (a, b) = (costs[q * rows + row], costs[best * rows + row])
      if a != b { return a < b }
    }
    let segments = nodes[node].segments
    for segment in 0..<segments.count where segments[segment, q] != segments[segment, best] { return segments[segment, q] < segments[segment, best] }
    return false
  }

  private mutating func foldIntoNeighbour(_ node: Int) -> Bool {
    let edge = nodes[node].edges[0]
    let neighbour = edges[edge].other(than: node)
    let matrix = matrix(of: edge, from: neighbour)
    let width = nodes[node].count * rows
    var responses: [Int?] = []
    var costs = [Int64](repeating: 0, count: width)
    for p in 0..<nodes[neighbour].count {
      var isAnyAllowed = false
      for index in 0..<width {
        costs[index] = sum(nodes[node].costs[index], matrix[p * width + index])
        if costs[index] < Problem.forbidden { isAnyAllowed = true }
      }
      let best = response(of: node, to: costs)
      guard best != nil || !isAnyAllowed else { return false }
      responses.append(best)
    }
    var strategies = [Int32](repeating: 0, count: nodes[neighbour].originalCount)
    for (p, best) in responses.enumerated() {
      strategies[Int(nodes[neighbour].origin[p])] = nodes[node].origin[best ?? 0]
      for row in 0..<rows {
        let added = best.map { sum(nodes[node].costs[$0 * rows + row], matrix[p * width + $0 * rows + row]) } ?? Problem.forbidden
        nodes[neighbour].costs[p * rows + row] = sum(nodes[neighbour].costs[p * rows + row], added)
      }
    }
    addSegments(of: node, to: neighbour, strategies: responses.map { $0 ?? 0 })
    remove(node, .following(node: node, neighbour: neighbour, strategies: strategies))
    return true
  }

  private mutating func foldIntoEdge(_ node: Int) -> Bool {
    let (first, second) = (edges[nodes[node].edges[0]].other(than: node), edges[nodes[node].edges[1]].other(than: node))
    let fromFirst = matrix(of: nodes[node].edges[0], from: first)
    let fromSecond = matrix(of: nodes[node].edges[1], from: second)
    let (m, n, count) = (nodes[first].count, nodes[second].count, nodes[node].count)
    if rows == 1 {
      let between = Reconstruction.Between(
        node: node, first: first, second: second, origins: (nodes[node].origin, nodes[first].origin, nodes[second].origin),
        costs: nodes[node].costs, fromFirst: fromFirst, bySecond: transposed(fromSecond, rows: n, columns: count))
      remove(node, .least(between))
      add(between.folded(), from: first, to: second)
      return true
    }
    let width = count * rows
    var folded = [Int64](repeating: Problem.forbidden, count: m * n * rows)
    var responses = [Int32](repeating: 0, count: m * n)
    var costs = [Int64](repeating: 0, count: width)
    for p in 0..<m {
      for s in 0..<n {
        var isAnyAllowed = false
        for index in 0..<width {
          costs[index] = sum(nodes[node].costs[index], sum(fromFirst[p * width + index], fromSecond[s * width + index]))
          if costs[index] < Problem.forbidden { isAnyAllowed = true }
        }
        guard let best = response(of: node, to: costs) else {
          if isAnyAllowed { return false }
          continue
        }
        responses[p * n + s] = Int32(best)
        for row in 0..<rows { folded[(p * n + s) * rows + row] = costs[best * rows + row] }
      }
    }
    let fullWidth = nodes[second].originalCount
    var strategies = [Int32](repeating: 0, count: nodes[first].originalCount * fullWidth)
    for p in 0..<m {
      for s in 0..<n {
        strategies[Int(nodes[first].origin[p]) * fullWidth + Int(nodes[second].origin[s])] = nodes[node].origin[Int(responses[p * n + s])]
      }
    }
    remove(node, .between(node: node, first: first, second: second, width: fullWidth, strategies: strategies))
    add(folded, from: first, to: second)
    return true
  }

  /// The sum of two costs of either sign; forbidden where one is.
  @inline(__always)
  private func sum(_ a: Int64, _ b: Int64) -> Int64 {
    a >= Problem.forbidden || b >= Problem.forbidden ? Problem.forbidden : plus(a, b)
  }
}
