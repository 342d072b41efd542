// SPDX-License-Identifier: GPL-3.0-or-later

/// How a choice of a reduced problem becomes one of the problem that it came from.
struct Reconstruction: Sendable {
  /// One node that presolve took out; its strategy follows from nodes that were still there. All strategies are in the numbering of the
  /// original problem, which later reductions of the other nodes do not disturb.
  enum Step: Sendable {
    case fixed(node: Int, strategy: Int)
    /// `strategies` by the strategy of `node`'s neighbour.
    case following(node: Int, neighbour: Int, strategies: [Int32])
    /// `strategies` by the strategies of two neighbours, row-major; `width` strategies of the second.
    case between(node: Int, first: Int, second: Int, width: Int, strategies: [Int32])
    /// The least sum between two neighbours.
    case least(Between)
  }

  /// A node between two neighbours, with one objective row: its strategy q makes costs(q) + first(p, q) + second(q, s) least.
  struct Between: Sendable {
    let node: Int
    let first: Int
    let second: Int
    /// The original numbers of the strategies of the three nodes.
    let origins: (node: [Int32], first: [Int32], second: [Int32])
    let costs: [Int64]
    /// Row-major, first × node.
    let fromFirst: [Int64]
    /// Row-major, node × second: an inner loop over the second's strategies runs over memory in order.
    let bySecond: [Int64]

    /// The sum without the second neighbour's part; nil where it is forbidden.
    private func own(_ p: Int, _ q: Int) -> Int64? {
      let (a, b) = (costs[q], fromFirst[p * costs.count + q])
      return a >= Problem.forbidden || b >= Problem.forbidden ? nil : a &+ b
    }

    /// The least sums, row-major, first × second; forbidden where all are.
    func folded() -> [Int64] {
      let (m, n, count) = (origins.first.count, origins.second.count, costs.count)
      return [Int64](unsafeUninitializedCapacity: m * n) { folded, initialized in
        bySecond.withUnsafeBufferPointer { bySecond in
          for p in 0..<m {
            let least = folded.baseAddress! + p * n
            least.initialize(repeating: Problem.forbidden, count: n)
            // Most entries of a shared tensor's edges are forbidden: only what p allows is looked at.
            for q in 0..<count {
              guard let own = own(p, q) else { continue }
              let added = bySecond.baseAddress! + q * n
              // Two forbidden entries stay within 64 bits.
              for s in 0..<n { least[s] = min(least[s], own &+ added[s]) }
            }
            for s in 0..<n where least[s] >= Problem.blocked { least[s] = Problem.forbidden }
          }
        }
        initialized = m * n
      }
    }

    /// The node's strategy where its neighbours have these, in the original numbering.
    func response(_ first: Int, _ second: Int) -> Int {
      guard let p = origins.first.firstIndex(of: Int32(first)), let s = origins.second.firstIndex(of: Int32(second)) else {
        return Int(origins.node[0])
      }
      var (best, least) = (0, Int64.max)
      for q in costs.indices {
        guard let own = own(p, q) else { continue }
        let total = own &+ bySecond[q * origins.second.count + s]
        if total < least { (best, least) = (q, total) }
      }
      return Int(origins.node[best])
    }
  }

  let originalNodeCount: Int
  var steps: [Step] = []
  /// The original node of each reduced node, and the original strategy of each of its strategies.
  var nodes: [Int] = []
  var strategies: [[Int32]] = []

  /// The choice of the original problem that `reduced` stands for.
  func expand(_ reduced: [Int]) -> [Int] {
    var choice = [Int](repeating: 0, count: originalNodeCount)
    for (index, node) in nodes.enumerated() { choice[node] = Int(strategies[index][reduced[index]]) }
    for step in steps.reversed() {
      switch step {
      case .fixed(let node, let strategy): choice[node] = strategy
      case .following(let node, let neighbour, let strategies): choice[node] = Int(strategies[choice[neighbour]])
      case .between(let node, let first, let second, let width, let strategies):
        choice[node] = Int(strategies[choice[first] * width + choice[second]])
      case .least(let between): choice[between.node] = between.response(choice[between.first], choice[between.second])
      }
    }
    return choice
  }
}
