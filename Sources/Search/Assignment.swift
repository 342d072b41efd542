// SPDX-License-Identifier: GPL-3.0-or-later

/// A complete choice with its running totals, and the moves that change one node: for repairing and improving what a relaxation proposes.
struct Assignment {
  let problem: Problem
  private let incidence: Incidence
  private(set) var choice: [Int]
  private(set) var rowValues: [Int64]
  private(set) var memory: [Int64]
  /// The most by which any row of each block of rows is above its limit (negative: below).
  private var blockExcess: [Int64] = []
  private static let blockLength = 64
  /// Σ over memory rows of what is above the limit.
  private(set) var excess: Int64 = 0

  /// Nil where the choice has a forbidden entry.
  init?(_ problem: Problem, incidence: Incidence, choice: [Int]) {
    self.problem = problem
    self.incidence = incidence
    self.choice = choice
    let rows = problem.objectiveRowCount
    rowValues = problem.offsets
    for (node, strategy) in choice.enumerated() {
      guard problem.cost(node: node, strategy: strategy) < Problem.forbidden else { return nil }
      for row in 0..<rows { rowValues[row] += problem.cost(node: node, strategy: strategy, row: row) }
    }
    for (number, edge) in problem.edges.enumerated() {
      let (p, q) = (choice[edge.tail], choice[edge.head])
      guard problem.cost(edge: number, p, q) < Problem.forbidden else { return nil }
      for row in 0..<rows { rowValues[row] += problem.cost(edge: number, p, q, row: row) }
    }
    memory = [Int64](repeating: 0, count: problem.limits.count + 1)
    for (number, load) in problem.loads.enumerated() {
      let usage = problem.usage(load: number, strategy: choice[load.node])
      memory[load.rows.lowerBound] += usage
      memory[load.rows.upperBound] -= usage
    }
    for row in memory.indices.dropFirst() { memory[row] += memory[row - 1] }
    memory.removeLast()
    for row in memory.indices { excess += max(0, memory[row] - problem.limits[row]) }
    blockExcess = stride(from: 0, to: memory.count, by: Assignment.blockLength).map {
      largestExcess($0..<min($0 + Assignment.blockLength, memory.count))
    }
  }

  private func largestExcess(_ rows: Range<Int>) -> Int64 {
    var most = Int64.min
    for row in rows { most = max(most, memory[row] - problem.limits[row]) }
    return most
  }

  var objective: Int64 { rowValues.max() ?? 0 }
  var isLegal: Bool { excess == 0 }

  /// What a move changes; nil where it is forbidden.
  private struct Change {
    var objective: Int64
    var excess: Int64
    var memory: Int64
  }

  /// - Parameter below: nil is returned as well where the objective does not change to less than by this much.
  private func change(of node: Int, to strategy: Int, below: Int64 = .max) -> Change? {
    let rows = problem.objectiveRowCount
    guard problem.cost(node: node, strategy: strategy) < Problem.forbidden else { return nil }
    let edges = incidence.edges(of: node)
    for edge in edges where cost(of: edge, with: strategy, at: node, row: 0) >= Problem.forbidden { return nil }
    var objective = Int64.min
    for row in 0..<rows {
      var value = rowValues[row] + problem.cost(node: node, strategy: strategy, row: row) - problem.cost(node: node, strategy: choice[node], row: row)
      for edge in edges { value += cost(of: edge, with: strategy, at: node, row: row) - cost(of: edge, with: choice[node], at: node, row: row) }
      objective = max(objective, value)
    }
    guard objective - self.objective < below else { return nil }
    var change = Change(objective: objective - self.objective, excess: 0, memory: 0)
    for part in parts(of: node, from: choice[node], to: strategy) {
      change.memory += part.added * Int64(part.rows.count)
      change.excess += excessAdded(part.added, to: part.rows)
    }
    return change
  }

  /// What a move adds to the memory rows, as disjoint ranges.
  private func parts(of node: Int, from old: Int, to new: Int) -> [(rows: Range<Int>, added: Int64)] {
    var parts: [(rows: Range<Int>, added: Int64)] = []
    var end = 0
    var isDisjoint = true
    for load in incidence.loads(of: node) {
      let rows = problem.loads[load].rows
      if rows.lowerBound < end { isDisjoint = false }
      end = max(end, rows.upperBound)
      let added = problem.usage(load: load, strategy: new) - problem.usage(load: load, strategy: old)
      if added != 0 { parts.append((rows, added)) }
    }
    guard !isDisjoint, parts.count > 1 else { return parts }
    // Loads of one node that meet in a row add up there.
    var events = parts.flatMap { [(row: $0.rows.lowerBound, added: $0.added), (row: $0.rows.upperBound, added: -$0.added)] }
    events.sort { $0.row < $1.row }
    parts.removeAll()
    var sum: Int64 = 0
    for (event, next) in zip(events, events.dropFirst()) {
      sum += event.added
      if sum != 0, next.row > event.row { parts.append((event.row..<next.row, sum)) }
    }
    return parts
  }

  /// How the excess changes where `added` more is used in `rows`. Blocks in which no row comes to its limit are passed over.
  private func excessAdded(_ added: Int64, to rows: Range<Int>) -> Int64 {
    let harmless = min(0, -added)
    var change: Int64 = 0
    var row = rows.lowerBound
    while row < rows.upperBound {
      let block = row / Assignment.blockLength
      let end = min(rows.upperBound, (block + 1) * Assignment.blockLength)
      if blockExcess[block] > harmless {
        for row in row..<end {
          let over = memory[row] - problem.limits[row]
          change += max(0, over + added) - max(0, over)
        }
      }
      row = end
    }
    return change
  }

  private func cost(of edge: Int, with strategy: Int, at node: Int, row: Int) -> Int64 {
    let ends = problem.edges[edge]
    return ends.tail == node
      ? problem.cost(edge: edge, strategy, choice[ends.head], row: row) : problem.cost(edge: edge, choice[ends.tail], strategy, row: row)
  }

  private mutating func move(_ node: Int, to strategy: Int) {
    for row in rowValues.indices {
      rowValues[row] += problem.cost(node: node, strategy: strategy, row: row) - problem.cost(node: node, strategy: choice[node], row: row)
      for edge in incidence.edges(of: node) {
        rowValues[row] += cost(of: edge, with: strategy, at: node, row: row) - cost(of: edge, with: choice[node], at: node, row: row)
      }
    }
    for (rows, added) in parts(of: node, from: choice[node], to: strategy) {
      excess += excessAdded(added, to: rows)
      for row in rows { memory[row] += added }
      for block in rows.lowerBound / Assignment.blockLength...(rows.upperBound - 1) / Assignment.blockLength {
        let start = block * Assignment.blockLength
        blockExcess[block] = largestExcess(start..<min(start + Assignment.blockLength, memory.count))
      }
    }
    choice[node] = strategy
  }

  /// Moves single nodes until every memory row holds, each time the move that saves most excess per cost; false where no move helps.
  /// - Parameter mostWork: how many moves may be looked at.
  mutating func repair(mostWork: Int = 1 << 20) -> Bool {
    let rounds = min(2 * choice.count, max(1, mostWork / max(1, problem.strategyCount)))
    for _ in 0..<rounds where excess > 0 {
      var best: (node: Int, strategy: Int, rate: Double)?
      for node in choice.indices where !incidence.loads(of: node).isEmpty {
        for strategy in 0..<problem.strategyCount(of: node) where strategy != choice[node] {
          guard let change = change(of: node, to: strategy), change.excess < 0 else { continue }
          let rate = Double(-change.excess) / Double(max(0, change.objective) + 1)
          if rate > best?.rate ?? 0 { best = (node, strategy, rate) }
        }
      }
      guard let best else { return false }
      move(best.node, to: best.strategy)
    }
    return excess == 0
  }

  /// Moves single nodes while the objective falls and the choice stays legal.
  mutating func descend() {
    // With one objective row a node is worth another look once a neighbour has moved, or where memory was in the way.
    let isLocal = problem.objectiveRowCount == 1
    var isOpen = [Bool](repeating: true, count: choice.count)
    for _ in 0..<20 {
      var hasMoved = false
      for node in choice.indices where isOpen[node] {
        isOpen[node] = !isLocal
        var best: (strategy: Int, objective: Int64)?
        for strategy in 0..<problem.strategyCount(of: node) where strategy != choice[node] {
          guard let change = change(of: node, to: strategy, below: best?.objective ?? 0) else { continue }
          guard change.excess <= 0 else {
            isOpen[node] = true
            continue
          }
          best = (strategy, change.objective)
        }
        guard let best else { continue }
        move(node, to: best.strategy)
        hasMoved = true
        isOpen[node] = true
        for edge in incidence.edges(of: node) { isOpen[problem.edges[edge].tail + problem.edges[edge].head - node] = true }
      }
      if !hasMoved { return }
    }
  }

  /// Among moves of single nodes that leave the objective no larger, prefers less memory over all rows, then lower strategies.
  mutating func settleTies() {
    for _ in 0..<20 {
      var hasMoved = false
      for node in choice.indices {
        var best: (strategy: Int, change: Change)?
        for strategy in 0..<problem.strategyCount(of: node) where strategy != choice[node] {
          guard let change = change(of: node, to: strategy), change.excess <= 0, change.objective <= 0 else { continue }
          let current = best ?? (choice[node], Change(objective: 0, excess: 0, memory: 0))
          let candidate = (change.objective, change.memory, Int64(strategy))
          if candidate < (current.change.objective, current.change.memory, Int64(current.strategy)) { best = (strategy, change) }
        }
        guard let best else { continue }
        move(node, to: best.strategy)
        hasMoved = true
      }
      if !hasMoved { return }
    }
  }
}
