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
      }
    }
    return choice
  }
}
