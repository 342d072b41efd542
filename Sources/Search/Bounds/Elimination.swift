// SPDX-License-Identifier: GPL-3.0-or-later

/// The tables of one run of an `EliminationPlan`: the exact minimum of a sum of node and edge costs.
struct Elimination {
  private let plan: EliminationPlan
  /// One cost per strategy.
  let nodeCosts: [Int64]
  /// The plan's tables, by the classes of their nodes: one per edge, by classes of tail and head, where the plan is a problem's.
  let edgeTables: [[Int64]]
  private(set) var messages: [[Int64]] = []
  private var arguments: [[Int32]] = []

  /// The least sum; `Problem.forbidden` where every choice has a forbidden entry.
  private(set) var minimum: Int64 = 0

  /// - Parameters:
  ///   - nodeCosts: one cost for each strategy, `Problem.forbidden` or a magnitude whose sums stay below it.
  ///   - edgeTables: as `EliminationPlan.edgeTables` lays them out.
  init(_ plan: EliminationPlan, nodeCosts: [Int64], edgeTables: [[Int64]]) {
    self.plan = plan
    self.nodeCosts = nodeCosts
    self.edgeTables = edgeTables
    for bucket in plan.buckets {
      let (message, argument) = minimise(bucket)
      if bucket.scope.isEmpty { minimum = Elimination.sum(minimum, message[0]) }
      messages.append(message)
      arguments.append(argument)
    }
  }

  /// For each combination of the neighbours' classes the least sum over the node's strategies, and the first strategy that has it.
  private func minimise(_ bucket: EliminationPlan.Bucket) -> (message: [Int64], argument: [Int32]) {
    let count = plan.strategyStarts[bucket.node + 1] - plan.strategyStarts[bucket.node]
    let first = plan.strategyStarts[bucket.node]
    // Forbidden entries of so few tables add up within 64 bits.
    guard bucket.factors.count < 8, count > 0 else { return minimiseSaturating(bucket) }
    var message = [Int64](repeating: Problem.forbidden, count: bucket.combinations)
    var argument = [Int32](repeating: 0, count: bucket.combinations)
    // All tables one after the other, each row the node's strategies.
    var rows: [Int64] = []
    rows.reserveCapacity(bucket.factors.reduce(0) { $0 + $1.outerCount * count })
    var starts: [Int] = []
    for table in expandedTables(of: bucket) {
      starts.append(rows.count)
      rows += table
    }
    withUnsafeTemporaryAllocation(of: Int64.self, capacity: count) { costs in
      let costs = costs.baseAddress!
      message.withUnsafeMutableBufferPointer { message in
        argument.withUnsafeMutableBufferPointer { argument in
          rows.withUnsafeBufferPointer { rows in
            nodeCosts.withUnsafeBufferPointer { nodeCosts in
              bucket.forEachCombination { combination, outer in
                let own = nodeCosts.baseAddress! + first
                var factor = 0
                if starts.isEmpty {
                  costs.update(from: own, count: count)
                } else {
                  let row = rows.baseAddress! + starts[0] + outer[0] * count
                  for q in 0..<count { costs[q] = own[q] &+ row[q] }
                  factor = 1
                }
                while factor < starts.count {
                  let row = rows.baseAddress! + starts[factor] + outer[factor] * count
                  for q in 0..<count { costs[q] = costs[q] &+ row[q] }
                  factor += 1
                }
                var least = costs[0]
                for q in 1..<max(1, count) { least = min(least, costs[q]) }
                guard least < Problem.blocked else { return }
                message[combination] = least
                var position = 0
                while costs[position] != least { position += 1 }
                argument[combination] = Int32(position)
              }
            }
          }
        }
      }
    }
    return (message, argument)
  }

  private func minimiseSaturating(_ bucket: EliminationPlan.Bucket) -> (message: [Int64], argument: [Int32]) {
    var message = [Int64](repeating: Problem.forbidden, count: bucket.combinations)
    var argument = [Int32](repeating: 0, count: bucket.combinations)
    forEachCombination(of: bucket) { combination, costs, _ in
      var least = costs[0]
      var position = 0
      for q in 1..<max(1, costs.count) where costs[q] < least {
        least = costs[q]
        position = q
      }
      message[combination] = least < Problem.blocked ? least : Problem.forbidden
      argument[combination] = Int32(position)
    }
    return (message, argument)
  }

  /// A choice of least sum; of equal strategies the lowest number is taken, node by node in the order of elimination.
  func minimiser() -> [Int] {
    var choice = [Int](repeating: 0, count: plan.strategyStarts.count - 1)
    for (position, bucket) in plan.buckets.enumerated().reversed() {
      var combination = 0
      for (node, classes) in zip(bucket.scope, bucket.classes) { combination = combination * classes.count + Int(classes.classes[choice[node]]) }
      choice[bucket.node] = Int(arguments[position][combination])
    }
    return choice
  }

  /// A second pass, from the last node taken out to the first: for each strategy the least sum over all choices that take it, and for each entry
  /// of each message the least that everything outside the message's own subtree adds to it.
  func secondPass() -> (byStrategy: [Int64], outside: [[Int64]]) {
    var byStrategy = [Int64](repeating: Problem.forbidden, count: plan.strategyStarts.last ?? 0)
    var outside = plan.buckets.map { [Int64](repeating: Problem.forbidden, count: $0.combinations) }
    for (position, bucket) in plan.buckets.enumerated().reversed() {
      let start = plan.strategyStarts[bucket.node]
      if bucket.scope.isEmpty, minimum < Problem.blocked {
        // The last node of a component: the other components add their own minima.
        outside[position][0] = minimum - messages[position][0]
      }
      let children: [(factor: Int, message: Int)] = bucket.factors.enumerated().compactMap { index, factor in
        if case .message(let child) = factor.source { (index, child) } else { nil }
      }
      forEachCombination(of: bucket) { combination, costs, outer in
        let rest = outside[position][combination]
        guard rest < Problem.blocked else { return }
        for q in costs.indices where costs[q] < Problem.blocked {
          let total = costs[q] + rest
          byStrategy[start + q] = min(byStrategy[start + q], total)
          for (factor, child) in children {
            let index = bucket.factors[factor].outerStarts[outer[factor]] + bucket.factors[factor].ownOffsets[q]
            outside[child][index] = min(outside[child][index], total)
          }
        }
      }
      for (_, child) in children {
        for index in outside[child].indices where outside[child][index] < Problem.blocked { outside[child][index] -= messages[child][index] }
      }
    }
    return (byStrategy, outside)
  }

  /// Calls `body` for each combination of the neighbours' classes with the node's summed costs and the outer index of each table.
  private func forEachCombination(
    of bucket: EliminationPlan.Bucket, _ body: (_ combination: Int, _ costs: UnsafeMutableBufferPointer<Int64>, _ outer: UnsafePointer<Int>) -> Void
  ) {
    let count = plan.strategyStarts[bucket.node + 1] - plan.strategyStarts[bucket.node]
    let first = plan.strategyStarts[bucket.node]
    let tables = expandedTables(of: bucket)
    withUnsafeTemporaryAllocation(of: Int64.self, capacity: count) { costs in
      bucket.forEachCombination { combination, outer in
        nodeCosts.withUnsafeBufferPointer { own in
          for q in 0..<count { costs[q] = own[first + q] }
        }
        for (index, table) in tables.enumerated() {
          table.withUnsafeBufferPointer { table in
            let row = UnsafeBufferPointer(rebasing: table[outer[index] * count..<(outer[index] + 1) * count])
            // Sums of a few forbidden entries stay within 64 bits; more are cut off on the way.
            for q in 0..<count { costs[q] = min(costs[q] &+ row[q], 2 * Problem.forbidden) }
          }
        }
        body(combination, costs, outer)
      }
    }
  }

  /// The tables of a bucket with the node's strategies as the last dimension, so that sums run along memory.
  private func expandedTables(of bucket: EliminationPlan.Bucket) -> [[Int64]] {
    bucket.factors.map { factor in
      let source: [Int64] =
        switch factor.source {
        case .table(let table): edgeTables[table]
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
