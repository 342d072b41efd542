// SPDX-License-Identifier: GPL-3.0-or-later

/// A sharding problem without tensors or hardware: choose one strategy for every node so that the objective is least and every memory row
/// holds.
///
///     minimise   max_k ( offset_k + Σ_v cost_k(v, s_v) + Σ_(u,v) cost_k(s_u, s_v) )
///     such that  Σ_(loads of row r) usage(s_v) ≤ limit_r      for every memory row r
///
/// `k` runs over one or more objective rows (one: a plain sum; several: the critical paths of a pipeline). Every cost is a whole number in a
/// unit of the caller's choice, `forbidden` where the entry must not be used. Nodes, strategies, edges and rows are numbered from 0. Built by
/// `ProblemBuilder`, which validates.
package struct Problem: Equatable, Sendable {
  /// The cost of an entry that must not be used.
  @inlinable package static var forbidden: Int64 { 1_000_000_000_000_000_000 }
  /// The largest value that the magnitudes of one objective or memory row may add up to (the largest of each node and edge): so far below
  /// `forbidden` that no sum or difference of two such sums can be mistaken for a forbidden entry.
  @inlinable package static var largestSum: Int64 { 200_000_000_000_000_000 }
  /// A sum that holds a forbidden entry is at least this, and one that holds none is less.
  static var blocked: Int64 { 500_000_000_000_000_000 }

  package struct Edge: Equatable, Sendable {
    package let tail: Int
    package let head: Int
    /// Where the matrix begins in `edgeCosts`.
    let start: Int
  }

  /// One node's part in a range of consecutive memory rows; loads of one node may overlap, and add up.
  package struct Load: Equatable, Sendable {
    package let node: Int
    package let rows: Range<Int>
    /// Where the usages begin in `usages`, one for each strategy of the node.
    let start: Int
  }

  /// What each objective row has before any choice; its count is the number of objective rows.
  package internal(set) var offsets: [Int64]
  /// The limit of each memory row.
  package internal(set) var limits: [Int64]
  package internal(set) var edges: [Edge] = []
  package internal(set) var loads: [Load] = []
  /// The first strategy of each node in the numbering over all nodes, and at the end the total.
  var strategyStarts: [Int] = [0]
  /// Strategy-major: all objective rows of one strategy are neighbours.
  var nodeCosts: [Int64] = []
  /// Per edge a row-major matrix (tail × head) of entries; all objective rows of one entry are neighbours.
  var edgeCosts: [Int64] = []
  var usages: [Int64] = []

  package var objectiveRowCount: Int { offsets.count }
  package var nodeCount: Int { strategyStarts.count - 1 }
  package var strategyCount: Int { strategyStarts[nodeCount] }
  package func strategyCount(of node: Int) -> Int { strategyStarts[node + 1] - strategyStarts[node] }

  /// The cost of `strategy` of `node` in objective row `row`.
  package func cost(node: Int, strategy: Int, row: Int = 0) -> Int64 {
    nodeCosts[(strategyStarts[node] + strategy) * offsets.count + row]
  }

  /// The cost of edge number `edge` where its tail takes strategy `p` and its head `q`, in objective row `row`.
  package func cost(edge: Int, _ p: Int, _ q: Int, row: Int = 0) -> Int64 {
    let ends = edges[edge]
    return edgeCosts[ends.start + (p * strategyCount(of: ends.head) + q) * offsets.count + row]
  }

  /// What load number `load` uses in each of its rows where its node takes `strategy`.
  package func usage(load: Int, strategy: Int) -> Int64 { usages[loads[load].start + strategy] }

  /// The numbers of the edges and loads at each node, as two flat lists.
  func incidence() -> Incidence { Incidence(self) }
}

/// For each node its edges and its loads, in ascending order.
struct Incidence: Sendable {
  private(set) var edgeStarts: [Int]
  private(set) var edges: [Int]
  private(set) var loadStarts: [Int]
  private(set) var loads: [Int]

  init(_ problem: Problem) {
    (edgeStarts, edges) = Incidence.group(count: problem.nodeCount, problem.edges.map { [$0.tail, $0.head] })
    (loadStarts, loads) = Incidence.group(count: problem.nodeCount, problem.loads.map { [$0.node] })
  }

  func edges(of node: Int) -> ArraySlice<Int> { edges[edgeStarts[node]..<edgeStarts[node + 1]] }
  func loads(of node: Int) -> ArraySlice<Int> { loads[loadStarts[node]..<loadStarts[node + 1]] }

  /// Lists the items at each node by counting.
  private static func group(count: Int, _ nodesOfItem: [[Int]]) -> ([Int], [Int]) {
    var starts = [Int](repeating: 0, count: count + 1)
    for nodes in nodesOfItem { for node in nodes { starts[node + 1] += 1 } }
    for node in 0..<count { starts[node + 1] += starts[node] }
    var next = starts
    var items = [Int](repeating: 0, count: starts[count])
    for (item, nodes) in nodesOfItem.enumerated() {
      for node in nodes {
        items[next[node]] = item
        next[node] += 1
      }
    }
    return (starts, items)
  }
}
