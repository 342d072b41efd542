// SPDX-License-Identifier: GPL-3.0-or-later

extension Presolve {
  /// Drops a strategy p of `node` where another one r is no dearer, whatever the neighbours do, and uses no more memory anywhere:
  ///
  ///     cost_k(r) − cost_k(p) + Σ_edges max_q ( cost_k(r, q) − cost_k(p, q) ) ≤ 0   for every objective row k, q over p's allowed partners
  ///
  /// Of two that dominate each other the later one goes.
  mutating func dropDominated(_ node: Int) {
    let count = nodes[node].count
    guard count > 1 else { return }
    let matrices = nodes[node].edges.map { matrix(of: $0, from: node) }
    var isKept = [Bool](repeating: true, count: count)
    for p in (0..<count).reversed() {
      isKept[p] = !(0..<count).contains { r in r != p && isKept[r] && dominates(r, p, node: node, matrices: matrices) }
    }
    if isKept.contains(false) { keep((0..<count).filter { isKept[$0] }, of: node) }
  }

  private func dominates(_ r: Int, _ p: Int, node: Int, matrices: [[Int64]]) -> Bool {
    // In a separated matrix each row has a 0, so that no edge can make up for a dearer start: the search may stop early.
    let stopsEarly = reductions.contains(.separation)
    for row in 0..<rows where stopsEarly && nodes[node].costs[r * rows + row] > nodes[node].costs[p * rows + row] { return false }
    let segments = nodes[node].segments
    for segment in 0..<segments.count where segments[segment, r] > segments[segment, p] { return false }
    for row in 0..<rows {
      var excess = nodes[node].costs[r * rows + row] - nodes[node].costs[p * rows + row]
      for matrix in matrices {
        let width = matrix.count / nodes[node].count
        let worst = matrix.withUnsafeBufferPointer { matrix in
          var worst = Int64.min
          for q in stride(from: row, to: width, by: rows) where matrix[p * width + q] < Problem.forbidden {
            let own = matrix[r * width + q]
            guard own < Problem.forbidden else { return Problem.forbidden }
            worst = max(worst, own &- matrix[p * width + q])
            if stopsEarly, excess &+ worst > 0 { return Problem.forbidden }
          }
          return worst
        }
        guard worst > Int64.min else { continue }  // p has no partner there: it is dropped elsewhere
        guard worst < Problem.forbidden else { return false }
        excess += worst
      }
      if excess > 0 { return false }
    }
    return true
  }

  /// Forbids strategies and entries that alone, on top of the offsets, reach `cutoff`: all other terms are 0 or more.
  mutating func dropWhatReaches(_ cutoff: Int64) {
    for row in 0..<rows where offsets[row] >= cutoff { return markInfeasible() }
    for node in nodes.indices where nodes[node].isAlive {
      let kept = (0..<nodes[node].count).filter { strategy in
        (0..<rows).allSatisfy { plus(nodes[node].costs[strategy * rows + $0], offsets[$0]) < cutoff }
      }
      keep(kept, of: node)
      if isInfeasible { return }
    }
    for edge in edges.indices where edges[edge].isAlive {
      let (tail, head) = (edges[edge].tail, edges[edge].head)
      let n = nodes[head].count
      var hasChanged = false
      for p in 0..<nodes[tail].count {
        for q in 0..<n where edges[edge].matrix[(p * n + q) * rows] < Problem.forbidden {
          let reaches = (0..<rows).contains { row in
            let ends = plus(nodes[tail].costs[p * rows + row], nodes[head].costs[q * rows + row])
            return plus(plus(edges[edge].matrix[(p * n + q) * rows + row], ends), offsets[row]) >= cutoff
          }
          guard reaches else { continue }
          for row in 0..<rows { edges[edge].matrix[(p * n + q) * rows + row] = Problem.forbidden }
          hasChanged = true
        }
      }
      if hasChanged {
        edges[edge].isSeparated = false
        enqueue(tail)
        enqueue(head)
      }
    }
  }
}
