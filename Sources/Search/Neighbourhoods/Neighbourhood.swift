// SPDX-License-Identifier: GPL-3.0-or-later

/// A part of a problem that may change while everything else keeps its strategy: a problem of its own, over the free nodes.
struct Neighbourhood {
  /// The free nodes, by their numbers in the whole problem; node i of `problem` is `nodes[i]`.
  let nodes: [Int]
  let problem: Problem
  /// What the free part costs as it is; a choice of `problem` below it makes the whole that much cheaper.
  let cost: Int64

  /// - Parameters:
  ///   - choice: a legal choice of `whole`.
  ///   - memory: what it uses of each memory row.
  ///   - nodes: the free nodes, distinct.
  ///   - numbers: for each node of `whole` −1; used, and left as it was.
  init(_ whole: Problem, incidence: Incidence, choice: [Int], memory: [Int64], nodes: [Int], numbers: inout [Int]) {
    self.nodes = nodes
    for (number, node) in nodes.enumerated() { numbers[node] = number }
    var part = Problem(offsets: [0], limits: [])
    var cost: Int64 = 0
    for (number, node) in nodes.enumerated() {
      let (first, end) = (whole.strategyStarts[node], whole.strategyStarts[node + 1])
      let start = part.nodeCosts.count
      part.nodeCosts += whole.nodeCosts[first..<end]
      part.strategyStarts.append(start + end - first)
      cost += whole.nodeCosts[first + choice[node]]
      for edge in incidence.edges(of: node) {
        let ends = whole.edges[edge]
        let isTail = ends.tail == node
        let other = isTail ? ends.head : ends.tail
        let width = whole.strategyCount(of: ends.head)
        if numbers[other] >= 0 {
          guard number < numbers[other] else { continue }
          cost += whole.cost(edge: edge, choice[ends.tail], choice[ends.head])
          let count = whole.strategyCount(of: ends.tail) * width
          part.edges.append(Problem.Edge(tail: numbers[ends.tail], head: numbers[ends.head], start: part.edgeCosts.count))
          part.edgeCosts += whole.edgeCosts[ends.start..<ends.start + count]
          continue
        }
        // The frozen end makes the edge a cost of the free one.
        let (from, step) = isTail ? (ends.start + choice[other], width) : (ends.start + choice[other] * width, 1)
        cost += whole.edgeCosts[from + choice[node] * step]
        for strategy in 0..<end - first {
          let (own, added) = (part.nodeCosts[start + strategy], whole.edgeCosts[from + strategy * step])
          part.nodeCosts[start + strategy] = own >= Problem.forbidden || added >= Problem.forbidden ? Problem.forbidden : own + added
        }
      }
    }
    self.cost = cost
    Neighbourhood.addMemory(&part, whole, incidence: incidence, choice: choice, memory: memory, nodes: nodes)
    for node in nodes { numbers[node] = -1 }
    problem = part
  }

  /// One memory row for each stretch of rows in which the same loads of free nodes count, with the least that the frozen nodes leave there.
  private static func addMemory(_ part: inout Problem, _ whole: Problem, incidence: Incidence, choice: [Int], memory: [Int64], nodes: [Int]) {
    var change: [(row: Int, usage: Int64)] = []
    for node in nodes {
      for load in incidence.loads(of: node) {
        let usage = whole.usage(load: load, strategy: choice[node])
        change.append((whole.loads[load].rows.lowerBound, usage))
        change.append((whole.loads[load].rows.upperBound, -usage))
      }
    }
    guard !change.isEmpty else { return }
    change.sort { $0.row < $1.row }
    var bounds: [Int] = []
    var own: Int64 = 0
    var next = 0
    while next < change.count {
      let row = change[next].row
      while next < change.count, change[next].row == row {
        own += change[next].usage
        next += 1
      }
      bounds.append(row)
      guard next < change.count else { break }
      var limit = Int64.max
      for other in row..<change[next].row {
        limit = min(limit, whole.limits[other] - memory[other])
      }
      part.limits.append(limit + own)
    }
    func position(_ row: Int) -> Int {
      var (low, high) = (0, bounds.count)
      while low < high {
        let middle = (low + high) / 2
        if bounds[middle] < row { low = middle + 1 } else { high = middle }
      }
      return low
    }
    for (number, node) in nodes.enumerated() {
      for load in incidence.loads(of: node) {
        let rows = whole.loads[load].rows
        part.loads.append(Problem.Load(node: number, rows: position(rows.lowerBound)..<position(rows.upperBound), start: part.usages.count))
        let start = whole.loads[load].start
        part.usages += whole.usages[start..<start + whole.strategyCount(of: node)]
      }
    }
  }
}
