// SPDX-License-Identifier: GPL-3.0-or-later

/// The reductions that `Presolve` may make. Each is exact, so turning one off changes the time and not the objective.
package struct Reductions: OptionSet, Sendable {
  package let rawValue: Int
  package init(rawValue: Int) { self.rawValue = rawValue }

  /// Drop a strategy that has no allowed partner on some edge.
  package static let arcConsistency = Reductions(rawValue: 1 << 0)
  /// Move the parts a_p + b_q of an edge matrix into its nodes.
  package static let separation = Reductions(rawValue: 1 << 1)
  /// Contract an edge in which each strategy of one end has exactly one allowed partner.
  package static let ties = Reductions(rawValue: 1 << 2)
  /// Take out nodes with at most two neighbours whose best response to them is unambiguous.
  package static let folding = Reductions(rawValue: 1 << 3)
  /// Drop a strategy where another one of its node is no dearer, whatever the neighbours do, and uses no more memory.
  package static let dominance = Reductions(rawValue: 1 << 4)
  /// Drop memory rows that no choice can exceed, or that hold where another row holds.
  package static let slackRows = Reductions(rawValue: 1 << 5)
  /// Drop strategies that exceed a memory row though every other node uses the least it can.
  package static let memoryFixing = Reductions(rawValue: 1 << 6)
  /// Drop entries that alone reach the cutoff; needs `separation`.
  package static let costFixing = Reductions(rawValue: 1 << 7)

  package static let all: Reductions = [
    .arcConsistency, .separation, .ties, .folding, .dominance, .slackRows, .memoryFixing, .costFixing,
  ]
}

/// Exact reduction of a problem to a smaller one with the same least objective.
///
/// A worklist of nodes: each is visited again when its costs or one of its edges has changed, until nothing changes; then the memory rows
/// are looked at, and what they free or forbid puts nodes back on the list. Between visits these hold, with `separation`: all costs are
/// 0 or more, every allowed row and column of every matrix has a 0 in each objective row, and every node has a strategy of cost 0 in each.
/// Hence every entry is bounded by the value of a whole choice, which `Problem.largestSum` keeps below `forbidden`.
struct Presolve {
  struct Node {
    /// The strategies that are left, in the original numbering.
    var origin: [Int32]
    let originalCount: Int
    /// Strategy-major, all objective rows of a strategy together.
    var costs: [Int64]
    /// What every strategy uses is taken off the limits.
    var segments: Segments
    var edges: [Int] = []
    var isAlive = true
    var count: Int { origin.count }
  }

  struct Edge {
    var tail: Int
    var head: Int
    /// Row-major, tail × head, all objective rows of an entry together.
    var matrix: [Int64]
    var isAlive = true
    var isSeparated = false
    func other(than node: Int) -> Int { node == tail ? head : tail }
  }

  let rows: Int
  let reductions: Reductions
  /// Only choices below it are wanted.
  let cutoff: Int64?
  var offsets: [Int64]
  var nodes: [Node] = []
  var edges: [Edge] = []
  var limits: [Int64]
  /// The original number of each memory row.
  var rowOrigins: [Int]
  /// What is still to be taken off each limit, as differences between neighbouring rows.
  var limitChanges: [Int64]
  /// How many rows there were when rows that others cover were last looked for.
  var coveredRowCount = -1
  var edgeOfPair: [Pair: Int] = [:]
  var reconstruction: Reconstruction
  private(set) var isInfeasible = false
  private var queue: [Int] = []
  private var queueStart = 0
  private var isQueued: [Bool]

  struct Pair: Hashable {
    let low: Int
    let high: Int
    init(_ a: Int, _ b: Int) { (low, high) = a < b ? (a, b) : (b, a) }
  }

  init(_ problem: Problem, reductions: Reductions, cutoff: Int64?) {
    rows = problem.objectiveRowCount
    self.reductions = reductions
    self.cutoff = cutoff
    offsets = problem.offsets
    limits = problem.limits
    rowOrigins = Array(problem.limits.indices)
    limitChanges = [Int64](repeating: 0, count: problem.limits.count + 1)
    reconstruction = Reconstruction(originalNodeCount: problem.nodeCount)
    isQueued = [Bool](repeating: false, count: problem.nodeCount)
    nodes.reserveCapacity(problem.nodeCount)
    for node in 0..<problem.nodeCount {
      let (start, end) = (problem.strategyStarts[node], problem.strategyStarts[node + 1])
      nodes.append(
        Node(
          origin: (0..<Int32(end - start)).map { $0 }, originalCount: end - start, costs: Array(problem.nodeCosts[start * rows..<end * rows]),
          segments: Segments(width: end - start)))
    }
    for load in problem.loads {
      nodes[load.node].segments.append(load.rows, problem.usages[load.start..<load.start + nodes[load.node].count])
    }
    for node in nodes.indices { settleSegments(node) }
    for edge in problem.edges {
      let count = nodes[edge.tail].count * nodes[edge.head].count * rows
      add(Array(problem.edgeCosts[edge.start..<edge.start + count]), from: edge.tail, to: edge.head)
    }
  }

  /// Reduces until nothing changes. False where the problem turned out infeasible (or, with a cutoff, without a choice below it).
  mutating func run(until stop: StopCondition? = nil) -> Bool {
    for node in nodes.indices { enqueue(node) }
    repeat {
      while let node = dequeue(), !isInfeasible {
        visit(node)
        if let stop, queueStart & 63 == 0, stop.isReached { break }
      }
      guard !isInfeasible else { return false }
      for node in nodes.indices where nodes[node].isAlive && reductions.contains(.separation) { settleCosts(node) }
      examineMemory()
      if reductions.isSuperset(of: [.costFixing, .separation]), let cutoff { dropWhatReaches(cutoff) }
      if let stop, stop.isReached { break }
    } while queueStart < queue.count && !isInfeasible
    return !isInfeasible
  }

  mutating func markInfeasible() { isInfeasible = true }

  mutating func enqueue(_ node: Int) {
    guard nodes[node].isAlive, !isQueued[node] else { return }
    isQueued[node] = true
    queue.append(node)
  }

  private mutating func dequeue() -> Int? {
    guard queueStart < queue.count else { return nil }
    let node = queue[queueStart]
    queueStart += 1
    if queueStart == queue.count {
      queue.removeAll(keepingCapacity: true)
      queueStart = 0
    }
    isQueued[node] = false
    return node
  }

  private mutating func visit(_ node: Int) {
    guard nodes[node].isAlive else { return }
    dropUnsupported(node)
    guard !isInfeasible else { return }
    if nodes[node].count == 1 { return fix(node) }
    if reductions.contains(.separation) {
      for edge in nodes[node].edges where !edges[edge].isSeparated { separate(edge) }
      guard !isInfeasible else { return }
    }
    if reductions.contains(.ties) {
      for edge in nodes[node].edges where edges[edge].isAlive {
        if contractIfTie(edge), !nodes[node].isAlive { return }
      }
    }
    settleSegments(node)
    if reductions.contains(.folding), fold(node) { return }
    if reductions.contains(.dominance) { dropDominated(node) }
  }

  /// Keeps only the strategies at `kept` (positions, ascending) and puts the node and its neighbours on the list.
  mutating func keep(_ kept: [Int], of node: Int) {
    guard kept.count < nodes[node].count else { return }
    guard !kept.isEmpty else { return markInfeasible() }
    let rows = rows
    nodes[node].origin = kept.map { nodes[node].origin[$0] }
    nodes[node].costs = kept.flatMap { nodes[node].costs[$0 * rows..<($0 + 1) * rows] }
    nodes[node].segments = nodes[node].segments.keeping(kept)
    settleSegments(node)
    for edge in nodes[node].edges {
      let matrix = edges[edge].matrix
      if edges[edge].tail == node {
        let width = nodes[edges[edge].head].count * rows
        edges[edge].matrix = kept.flatMap { matrix[$0 * width..<($0 + 1) * width] }
      } else {
        let tailCount = nodes[edges[edge].tail].count
        let width = matrix.count / tailCount
        var narrow: [Int64] = []
        narrow.reserveCapacity(tailCount * kept.count * rows)
        for p in 0..<tailCount {
          for q in kept { for row in 0..<rows { narrow.append(matrix[p * width + q * rows + row]) } }
        }
        edges[edge].matrix = narrow
      }
      edges[edge].isSeparated = false
      enqueue(edges[edge].other(than: node))
    }
    enqueue(node)
  }

  /// Takes `node` out, with its edges, once `step` says how its strategy follows.
  mutating func remove(_ node: Int, _ step: Reconstruction.Step) {
    for edge in nodes[node].edges { detach(edge, from: edges[edge].other(than: node)) }
    nodes[node].isAlive = false
    nodes[node].edges = []
    nodes[node].segments = Segments(width: 0)
    reconstruction.steps.append(step)
  }

  /// Deletes `edge` from the list of `node` alone, and from the map of pairs.
  mutating func detach(_ edge: Int, from node: Int) {
    if let index = nodes[node].edges.firstIndex(of: edge) { nodes[node].edges.remove(at: index) }
    edges[edge].isAlive = false
    edges[edge].matrix = []
    edgeOfPair[Pair(edges[edge].tail, edges[edge].head)] = nil
    enqueue(node)
  }

  mutating func removeEdge(_ edge: Int) {
    let (tail, head) = (edges[edge].tail, edges[edge].head)
    detach(edge, from: tail)
    detach(edge, from: head)
  }
}

/// The sum of two costs; forbidden where one is.
@inline(__always)
func plus(_ a: Int64, _ b: Int64) -> Int64 { min(a &+ b, Problem.forbidden) }
