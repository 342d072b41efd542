// SPDX-License-Identifier: GPL-3.0-or-later

extension Presolve {
  /// Adds a matrix (row-major, `tail` × `head`) to the one edge that joins the two nodes.
  mutating func add(_ matrix: [Int64], from tail: Int, to head: Int) {
    enqueue(tail)
    enqueue(head)
    guard let edge = edgeOfPair[Pair(tail, head)] else {
      edgeOfPair[Pair(tail, head)] = edges.count
      nodes[tail].edges.append(edges.count)
      nodes[head].edges.append(edges.count)
      edges.append(Edge(tail: tail, head: head, matrix: matrix))
      return
    }
    let added = edges[edge].tail == tail ? matrix : transposed(matrix, rows: nodes[tail].count, columns: nodes[head].count)
    for index in added.indices {
      let old = edges[edge].matrix[index]
      edges[edge].matrix[index] = old >= Problem.forbidden || added[index] >= Problem.forbidden ? Problem.forbidden : plus(old, added[index])
    }
    edges[edge].isSeparated = false
  }

  func transposed(_ matrix: [Int64], rows count: Int, columns: Int) -> [Int64] {
    var result: [Int64] = []
    result.reserveCapacity(matrix.count)
    for q in 0..<columns {
      for p in 0..<count { for row in 0..<rows { result.append(matrix[(p * columns + q) * rows + row]) } }
    }
    return result
  }

  /// The matrix of `edge` with `node` along the rows.
  func matrix(of edge: Int, from node: Int) -> [Int64] {
    if edges[edge].tail == node { return edges[edge].matrix }
    return transposed(edges[edge].matrix, rows: nodes[edges[edge].tail].count, columns: nodes[node].count)
  }

  /// Drops forbidden strategies and, with `arcConsistency`, those without an allowed partner on some edge.
  mutating func dropUnsupported(_ node: Int) {
    let count = nodes[node].count
    var isKept = (0..<count).map { nodes[node].costs[$0 * rows] < Problem.forbidden }
    if reductions.contains(.arcConsistency) {
      for edge in nodes[node].edges {
        let isTail = edges[edge].tail == node
        let others = nodes[edges[edge].other(than: node)].count
        let (step, otherStep) = isTail ? (others * rows, rows) : (rows, count * rows)
        edges[edge].matrix.withUnsafeBufferPointer { matrix in
          for p in 0..<count where isKept[p] {
            isKept[p] = (0..<others).contains { matrix[p * step + $0 * otherStep] < Problem.forbidden }
          }
        }
      }
    }
    let kept = (0..<count).filter { isKept[$0] }
    if kept.isEmpty { markInfeasible() } else { keep(kept, of: node) }
  }

  /// Takes out a node with one strategy: its edges become costs of its neighbours.
  mutating func fix(_ node: Int) {
    for row in 0..<rows { offsets[row] += nodes[node].costs[row] }
    for edge in nodes[node].edges {
      let other = edges[edge].other(than: node)
      // With one strategy on this side both orientations list the other side's strategies in order.
      for index in nodes[other].costs.indices {
        let (old, added) = (nodes[other].costs[index], edges[edge].matrix[index])
        nodes[other].costs[index] = old >= Problem.forbidden || added >= Problem.forbidden ? Problem.forbidden : plus(old, added)
      }
    }
    remove(node, .fixed(node: node, strategy: Int(nodes[node].origin[0])))
  }

  /// Moves the least entry of each row and column of an edge into its nodes, and drops the edge where nothing remains.
  mutating func separate(_ edge: Int) {
    let (tail, head) = (edges[edge].tail, edges[edge].head)
    let (m, n) = (nodes[tail].count, nodes[head].count)
    edges[edge].isSeparated = true
    let rows = rows
    var tailCosts = nodes[tail].costs
    var headCosts = nodes[head].costs
    var hasMoved = false
    let isEmpty = edges[edge].matrix.withUnsafeMutableBufferPointer { matrix in
      for row in 0..<rows {
        for p in 0..<m {
          let entries = stride(from: p * n * rows + row, to: (p + 1) * n * rows, by: rows)
          if Presolve.moveLeast(of: entries, in: matrix, to: &tailCosts[p * rows + row]) { hasMoved = true }
        }
        for q in 0..<n {
          let entries = stride(from: q * rows + row, to: matrix.count, by: n * rows)
          if Presolve.moveLeast(of: entries, in: matrix, to: &headCosts[q * rows + row]) { hasMoved = true }
        }
      }
      return matrix.allSatisfy { $0 == 0 }
    }
    nodes[tail].costs = tailCosts
    nodes[head].costs = headCosts
    if isEmpty { return removeEdge(edge) }
    if hasMoved {
      enqueue(tail)
      enqueue(head)
    }
  }

  /// Subtracts the least of some entries from all allowed ones and adds it to a node's cost; false where it is 0. Where all are forbidden the
  /// cost is too.
  @inline(__always)
  private static func moveLeast(of entries: StrideTo<Int>, in matrix: UnsafeMutableBufferPointer<Int64>, to cost: inout Int64) -> Bool {
    var least = Problem.forbidden
    for index in entries { least = min(least, matrix[index]) }
    guard least != 0 else { return false }
    if least >= Problem.forbidden {
      cost = Problem.forbidden
      return true
    }
    for index in entries where matrix[index] < Problem.forbidden { matrix[index] -= least }
    if cost < Problem.forbidden { cost += least }
    return true
  }

  /// Moves a node's least cost in each objective row into the offset.
  mutating func settleCosts(_ node: Int) {
    for row in 0..<rows {
      var least = Problem.forbidden
      for strategy in 0..<nodes[node].count { least = min(least, nodes[node].costs[strategy * rows + row]) }
      guard least != 0, least < Problem.forbidden else { continue }
      offsets[row] += least
      for strategy in 0..<nodes[node].count where nodes[node].costs[strategy * rows + row] < Problem.forbidden {
        nodes[node].costs[strategy * rows + row] -= least
      }
    }
  }

  /// Contracts an edge in which each strategy of one end has exactly one allowed partner: that partner's node follows it.
  mutating func contractIfTie(_ edge: Int) -> Bool {
    let (tail, head) = (edges[edge].tail, edges[edge].head)
    let headByTail = onlyPartners(edge, of: tail)
    let tailByHead = onlyPartners(edge, of: head)
    // Where both follow, the node with fewer edges is the cheaper one to move.
    if let headByTail, tailByHead == nil || nodes[head].edges.count <= nodes[tail].edges.count {
      return contract(head, into: tail, along: edge, partners: headByTail)
    }
    if let tailByHead { return contract(tail, into: head, along: edge, partners: tailByHead) }
    return false
  }

  /// For each strategy of `node` its one allowed partner on `edge`; nil where some strategy has more.
  private func onlyPartners(_ edge: Int, of node: Int) -> [Int]? {
    let count = nodes[node].count
    let others = nodes[edges[edge].other(than: node)].count
    let (step, otherStep) = edges[edge].tail == node ? (others * rows, rows) : (rows, count * rows)
    var partners: [Int] = []
    partners.reserveCapacity(count)
    for p in 0..<count {
      var partner: Int?
      for q in 0..<others where edges[edge].matrix[p * step + q * otherStep] < Problem.forbidden {
        guard partner == nil else { return nil }
        partner = q
      }
      guard let partner else { return nil }
      partners.append(partner)
    }
    return partners
  }

  private mutating func contract(_ follower: Int, into leader: Int, along edge: Int, partners: [Int]) -> Bool {
    let count = nodes[leader].count
    // Matrices move from the follower's strategies to the leader's, which may be many more.
    let moved = nodes[follower].edges.filter { $0 != edge }
    let growth = moved.reduce(0) { $0 + nodes[edges[$1].other(than: follower)].count * (count - nodes[follower].count) }
    guard growth <= 1 << 16 else { return false }

    let tie = matrix(of: edge, from: leader)
    let width = nodes[follower].count
    for (p, q) in partners.enumerated() {
      for row in 0..<rows {
        let own = nodes[leader].costs[p * rows + row]
        let added = plus(nodes[follower].costs[q * rows + row], tie[(p * width + q) * rows + row])
        nodes[leader].costs[p * rows + row] = own >= Problem.forbidden || added >= Problem.forbidden ? Problem.forbidden : plus(own, added)
      }
    }
    addSegments(of: follower, to: leader, strategies: partners)

    var strategies = [Int32](repeating: 0, count: nodes[leader].originalCount)
    for (p, q) in partners.enumerated() { strategies[Int(nodes[leader].origin[p])] = nodes[follower].origin[q] }
    let additions = moved.map { moved in
      let wide = matrix(of: moved, from: follower)
      let width = wide.count / nodes[follower].count
      return (edges[moved].other(than: follower), partners.flatMap { wide[$0 * width..<($0 + 1) * width] })
    }
    remove(follower, .following(node: follower, neighbour: leader, strategies: strategies))
    for (other, matrix) in additions { add(matrix, from: leader, to: other) }
    enqueue(leader)
    return true
  }
}
