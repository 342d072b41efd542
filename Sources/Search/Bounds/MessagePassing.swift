// SPDX-License-Identifier: GPL-3.0-or-later

/// A lower bound for problems whose elimination tables would be too large: sequential tree-reweighted message passing (Kolmogorov, 2006), in
/// the form that moves cost between nodes and edges.
///
///     cost_v(p) + Σ_e m_e(p)      what node v asks for p          c_e(p, q) − m_e(p) − m_e(q)      what edge e asks for p and q
///
/// Whatever the messages m are, a choice asks the same in all; so the sum of what each node and each edge asks at least is a lower bound. Passes over
/// the nodes, forwards and backwards, raise it towards that of the linear relaxation with edge marginals. Memory rows are relaxed with
/// prices as in `Relaxation`. All of it is in integers, so that the bound is exact. For problems with one objective row, and after arc
/// consistency: each strategy has an allowed partner on every edge.
struct MessagePassing {
  let problem: Problem
  let incidence: Incidence
  /// Per edge the messages of its tail's strategies, then of its head's.
  private var messages: [Int64]
  private let messageStarts: [Int]
  /// What each strategy asks, less what has been moved to `bound`.
  private(set) var costs: [Int64]
  /// Valid after a whole pass.
  private(set) var bound: Int64
  /// The priced memory rows.
  private(set) var prices: MemoryPrices
  private var room: [Int64] = []

  init(_ problem: Problem, incidence: Incidence, prices: MemoryPrices) {
    precondition(problem.objectiveRowCount == 1, "one objective row")
    self.problem = problem
    self.incidence = incidence
    costs = problem.nodeCosts
    bound = problem.offsets[0]
    var starts = [0]
    for edge in problem.edges {
      starts.append(starts[starts.count - 1] + problem.strategyCount(of: edge.tail) + problem.strategyCount(of: edge.head))
    }
    messageStarts = starts
    messages = [Int64](repeating: 0, count: starts[starts.count - 1])
    let most = (0..<problem.nodeCount).reduce(0) { max($0, problem.strategyCount(of: $1)) }
    room = [Int64](repeating: 0, count: most)
    self.prices = prices
    change(prices, by: 1)
  }

  /// A forward pass (in the order of the nodes) and a backward one.
  mutating func pass() {
    for node in 0..<problem.nodeCount { visit(node, isForward: true) }
    for node in (0..<problem.nodeCount).reversed() { visit(node, isForward: false) }
  }

  /// Takes what the edges from earlier nodes ask into the node, its least into the bound, and shares the rest among the edges to later ones.
  private mutating func visit(_ node: Int, isForward: Bool) {
    var (earlier, later) = (0, 0)
    for edge in incidence.edges(of: node) {
      if (problem.edges[edge].tail + problem.edges[edge].head - node < node) == isForward {
        earlier += 1
        pull(edge, into: node)
      } else {
        later += 1
      }
    }
    let first = problem.strategyStarts[node]
    let count = problem.strategyCount(of: node)
    costs.withUnsafeMutableBufferPointer { costs in
      let own = UnsafeMutableBufferPointer(rebasing: costs[first..<first + count])
      var least = Problem.forbidden
      for cost in own { least = min(least, cost) }
      guard least < Problem.blocked else { return }
      bound += least
      for p in 0..<count where own[p] < Problem.blocked { own[p] -= least }
      guard later > 0 else { return }
      let shares = Int64(max(earlier, later))
      messages.withUnsafeMutableBufferPointer { messages in
        for edge in incidence.edges(of: node) {
          let ends = problem.edges[edge]
          guard (ends.tail + ends.head - node > node) == isForward else { continue }
          let start = messageStarts[edge] + (ends.tail == node ? 0 : problem.strategyCount(of: ends.tail))
          for p in 0..<count where own[p] < Problem.blocked { messages[start + p] -= own[p] / shares }
        }
      }
      for p in 0..<count where own[p] < Problem.blocked { own[p] -= Int64(later) * (own[p] / shares) }
    }
  }

  /// Moves what `edge` asks at least for each strategy of `node` into the node.
  private mutating func pull(_ edge: Int, into node: Int) {
    let ends = problem.edges[edge]
    let (m, n) = (problem.strategyCount(of: ends.tail), problem.strategyCount(of: ends.head))
    let first = problem.strategyStarts[node]
    let start = messageStarts[edge]
    room.withUnsafeMutableBufferPointer { least in
      messages.withUnsafeMutableBufferPointer { messages in
        problem.edgeCosts.withUnsafeBufferPointer { entries in
          let (tail, head) = (messages.baseAddress! + start, messages.baseAddress! + start + m)
          let matrix = entries.baseAddress! + ends.start
          if ends.tail == node {
            for p in 0..<m {
              let row = matrix + p * n
              var value = Int64.max
              for q in 0..<n { value = min(value, row[q] &- head[q]) }
              least[p] = value
            }
          } else {
            for q in 0..<n { least[q] = .max }
            for p in 0..<m {
              let (row, own) = (matrix + p * n, tail[p])
              for q in 0..<n { least[q] = min(least[q], row[q] &- own) }
            }
          }
          let moved = ends.tail == node ? tail : head
          costs.withUnsafeMutableBufferPointer { costs in
            for p in 0..<(ends.tail == node ? m : n) where least[p] < Problem.blocked {
              costs[first + p] += least[p] - moved[p]
              moved[p] = least[p]
            }
          }
        }
      }
    }
  }

  /// What `edge` asks for a pair of strategies.
  @inline(__always)
  func asked(_ edge: Int, _ p: Int, _ q: Int) -> Int64 {
    let start = messageStarts[edge]
    let cost = problem.cost(edge: edge, p, q)
    if cost >= Problem.forbidden { return Problem.forbidden }
    return cost - messages[start + p] - messages[start + problem.strategyCount(of: problem.edges[edge].tail) + q]
  }

  /// Gives the memory rows new prices; the next pass makes the bound valid again.
  mutating func price(_ next: MemoryPrices) {
    change(prices, by: -1)
    prices = next
    change(prices, by: 1)
  }

  private mutating func change(_ prices: MemoryPrices, by sign: Int64) {
    guard !prices.isZero else { return }
    bound -= sign * prices.ofLimits(problem.limits)
    let sums = prices.runningSums()
    for load in problem.loads {
      let price = sums[load.rows.upperBound] - sums[load.rows.lowerBound]
      guard price > 0 else { continue }
      let start = problem.strategyStarts[load.node]
      for strategy in 0..<problem.strategyCount(of: load.node) where costs[start + strategy] < Problem.blocked {
        costs[start + strategy] += sign * prices.roundedDown(price, times: problem.usages[load.start + strategy])
      }
    }
  }
}

/// A price for each memory row, in cost per usage: whole numbers over a power of two, so that all sums are exact.
struct MemoryPrices {
  private(set) var significands: [Int64]
  let shift: Int
  private(set) var isZero = true

  /// All 0.
  /// - Parameter unit: a price of the order that is expected.
  init(rowCount: Int, unit: Double) {
    significands = [Int64](repeating: 0, count: rowCount)
    shift = max(0, min(60, 40 - (unit > 0 && unit.isFinite ? Int(unit.exponent) : 0)))
  }

  subscript(row: Int) -> Double { Double(significands[row]) / Double(Int64(1) << Int64(shift)) }

  mutating func set(_ row: Int, to value: Double) {
    significands[row] = Int64(max(0, min(value * Double(Int64(1) << Int64(shift)), 0x1p42)))
    if significands[row] > 0 { isZero = false }
  }

  /// The prices where row r is what row `origins[r]` was, in ascending order. The price of a row that is gone goes to the nearest one that is left:
  /// it was covered by it, most likely, and any prices are valid.
  func renumbered(_ origins: [Int]) -> MemoryPrices {
    var result = self
    result.significands = origins.map { significands[$0] }
    guard !origins.isEmpty else { return result }
    var next = 0
    for row in significands.indices {
      while next < origins.count, origins[next] < row { next += 1 }
      if next < origins.count, origins[next] == row { continue }
      let isBefore = next == origins.count || next > 0 && row - origins[next - 1] < origins[next] - row
      result.significands[isBefore ? next - 1 : next] += significands[row]
    }
    return result
  }

  /// Σ price × limit, rounded up.
  func ofLimits(_ limits: [Int64]) -> Int64 {
    var sum: Int128 = 0
    for (row, limit) in limits.enumerated() where significands[row] > 0 { sum += Int128(significands[row]) * Int128(limit) }
    return Int64(clamping: -(-sum >> Int128(shift)))
  }

  /// Before each row the sum of the significands of all earlier rows.
  func runningSums() -> [Int64] {
    var sums = [Int64(0)]
    sums.reserveCapacity(significands.count + 1)
    for significand in significands { sums.append(sums[sums.count - 1] + significand) }
    return sums
  }

  func roundedDown(_ price: Int64, times usage: Int64) -> Int64 { Int64(clamping: (Int128(price) * Int128(usage)) >> Int128(shift)) }
}
