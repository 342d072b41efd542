// SPDX-License-Identifier: GPL-3.0-or-later

/// The tables of one run of an `EliminationPlan`: the exact minimum of a sum of node and edge costs.
struct Elimination {
  private let plan: EliminationPlan
  private let problem: Problem
  /// One cost per strategy.
  private let nodeCosts: [Int64]
  /// One table per edge, by classes of tail and head.
  private let edgeTables: [[Int64]]
  private var messages: [[Int64]] = []
  private var arguments: [[Int32]] = []

  /// The least sum; `Problem.forbidden` where every choice has a forbidden entry.
  private(set) var minimum: Int64 = 0

  /// - Parameters:
  ///   - nodeCosts: one cost for each strategy, `Problem.forbidden` or a magnitude whose sums stay below it.
  ///   - edgeTables: as `EliminationPlan.edgeTables` lays them out.
  init(_ plan: EliminationPlan, _ problem: Problem, nodeCosts: [Int64], edgeTables: [[Int64]]) {
    self.plan = plan
    self.problem = problem
    self.nodeCosts = nodeCosts
    self.edgeTables = edgeTables
    for bucket in plan.buckets {
      var message = [Int64](repeating: Problem.forbidden, count: bucket.combinations)
      var argument = [Int32](repeating: 0, count: bucket.combinations)
      forEachCombination(of: bucket, tables: expandedTables(of: bucket)) { combination, costs, _ in
        var least = costs[0]
        var position = 0
        for q in 1..<max(1, costs.count) where costs[q] < least {
          least = costs[q]
          position = q
        }
        message[combination] = least < Problem.blocked ? least : Problem.forbidden
        argument[combination] = Int32(position)
      }
      if bucket.scope.isEmpty { minimum = Elimination.sum(minimum, message[0]) }
      messages.append(message)
      arguments.append(argument)
    }
  }

  /// A choice of least sum; of equal strategies the lowest number is taken, node by node in the order of elimination.
  func minimiser() -> [Int] {
    var choice = [Int](repeating: 0, count: problem.nodeCount)
    for (position, bucket) in plan.buckets.enumerated().reversed() {
      var combination = 0
      for (node, classes) in zip(bucket.scope, bucket.classes) { combination = combination * classes.count + Int(classes.classes[choice[node]]) }
      choice[bucket.node] = Int(arguments[position][combination])
    }
    return choice
  }

  /// For each strategy the least sum over all choices that take it: a second pass, from the last node taken out to the first.
  func minimaByStrategy() -> [Int64] {
    var result = [Int64](repeating: Problem.forbidden, count: problem.strategyCount)
    // What everything outside a message's own subtree costs at least, by the message's index.
    var outside = plan.buckets.map { $0.scope.isEmpty ? [Int64]() : [Int64](repeating: Problem.forbidden, count: $0.combinations) }
    for (position, bucket) in plan.buckets.enumerated().reversed() {
      let start = problem.strategyStarts[bucket.node]
      // A node that ends a component: the other components add their own minima.
      let base = bucket.scope.isEmpty ? Elimination.sum(minimum, messages[position][0] >= Problem.forbidden ? 0 : -messages[position][0]) : 0
      let tables = expandedTables(of: bucket)
      forEachCombination(of: bucket, tables: tables) { combination, costs, starts in
        let rest = bucket.scope.isEmpty ? base : outside[position][combination]
        guard rest < Problem.forbidden else { return }
        for q in costs.indices where costs[q] < Problem.blocked {
          let total = costs[q] + rest
          result[start + q] = min(result[start + q], total)
          for (factor, outerStart) in zip(bucket.factors, starts) {
            guard case .message(let child) = factor.source else { continue }
            let index = factor.outerStarts[outerStart / costs.count] + factor.ownOffsets[q]
            outside[child][index] = min(outside[child][index], total)
          }
        }
      }
      for factor in bucket.factors {
        guard case .message(let child) = factor.source else { continue }
        for index in outside[child].indices where outside[child][index] < Problem.forbidden { outside[child][index] -= messages[child][index] }
      }
    }
    return result
  }

  /// Calls `body` for each combination of the neighbours' classes (row-major) with the node's summed costs and where each table's row begins.
  private func forEachCombination(
    of bucket: EliminationPlan.Bucket, tables: [[Int64]],
    _ body: (_ combination: Int, _ costs: UnsafeMutableBufferPointer<Int64>, _ starts: [Int]) -> Void
  ) {
    let count = problem.strategyCount(of: bucket.node)
    let first = problem.strategyStarts[bucket.node]
    let dimensions = bucket.classes.map(\.count)
    var position = [Int](repeating: 0, count: dimensions.count)
    var starts = [Int](repeating: 0, count: tables.count)
    withUnsafeTemporaryAllocation(of: Int64.self, capacity: count) { costs in
      for combination in 0..<bucket.combinations {
        nodeCosts.withUnsafeBufferPointer { own in
          for q in 0..<count { costs[q] = own[first + q] }
        }
        for (index, table) in tables.enumerated() {
          table.withUnsafeBufferPointer { table in
            let row = table.baseAddress! + starts[index]
            // Sums of a few forbidden entries stay within 64 bits; more are cut off on the way.
            for q in 0..<count { costs[q] = min(costs[q] &+ row[q], 2 * Problem.forbidden) }
          }
        }
        body(combination, costs, starts)
        // The next combination, last dimension fastest.
        var dimension = dimensions.count - 1
        while dimension >= 0 {
          let from = position[dimension]
          let to = from + 1 < dimensions[dimension] ? from + 1 : 0
          position[dimension] = to
          for index in tables.indices where !bucket.factors[index].offsets[dimension].isEmpty {
            starts[index] += bucket.factors[index].offsets[dimension][to] - bucket.factors[index].offsets[dimension][from]
          }
          if to != 0 { break }
          dimension -= 1
        }
      }
    }
  }

  /// The tables of a bucket with the node's strategies as the last dimension, so that sums run along memory.
  private func expandedTables(of bucket: EliminationPlan.Bucket) -> [[Int64]] {
    bucket.factors.map { factor in
      let source: [Int64] =
        switch factor.source {
        case .edge(let edge): edgeTables[edge]
        case .message(let position): messages[position]
        }
      var table: [Int64] = []
      table.reserveCapacity(factor.outerCount * factor.ownOffsets.count)
      for start in factor.outerStarts { for offset in factor.ownOffsets { table.append(source[start + offset]) } }
      return table
    }
  }

  private static func sum(_ a: Int64, _ b: Int64) -> Int64 {
    a >= Problem.forbidden || b >= Problem.forbidden ? Problem.forbidden : a + b
  }
}
