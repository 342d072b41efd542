// SPDX-License-Identifier: GPL-3.0-or-later

/// The tables of one run of an `EliminationPlan`: the exact minimum of a sum of node and edge costs.
struct Elimination {
  private let plan: EliminationPlan
  /// One cost per strategy.
  let nodeCosts: [Int64]
  /// The plan's tables, by the classes of their nodes: one per edge, by classes of tail and head, where the plan is a problem's.
  let edgeTables: [[Int64]]
  private(set) var messages: [[Int64]] = []

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
      let message = minimise(bucket)
      if bucket.scope.isEmpty { minimum = Elimination.sum(minimum, message[0]) }
      messages.append(message)
    }
  }

  /// For each combination of the neighbours' classes the least sum over the node's strategies.
  private func minimise(_ bucket: EliminationPlan.Bucket) -> [Int64] {
    let (first, end) = (plan.strategyStarts[bucket.node], plan.strategyStarts[bucket.node + 1])
    // Forbidden entries of so few tables add up within 64 bits.
    guard bucket.factors.count < 8, end > first else { return minimiseSaturating(bucket) }
    return MinPlusProduct(bucket, nodeCosts: nodeCosts[first..<end], sources: bucket.factors.map(source)).message()
  }

  private func minimiseSaturating(_ bucket: EliminationPlan.Bucket) -> [Int64] {
    var message = [Int64](repeating: Problem.forbidden, count: bucket.combinations)
    forEachCombination(of: bucket) { combination, costs, _ in
      let least = costs.min() ?? Problem.forbidden
      message[combination] = least < Problem.blocked ? least : Problem.forbidden
    }
    return message
  }

  /// A choice of least sum; of equal strategies the lowest number is taken, node by node in the order of elimination.
  func minimiser() -> [Int] {
    var choice = [Int](repeating: 0, count: plan.strategyStarts.count - 1)
    var sums: [Int64] = []
    for bucket in plan.buckets.reversed() {
      let first = plan.strategyStarts[bucket.node]
      let count = plan.strategyStarts[bucket.node + 1] - first
      sums.removeAll(keepingCapacity: true)
      sums.append(contentsOf: nodeCosts[first..<first + count])
      for factor in bucket.factors {
        var outer = 0
        for (dimension, node) in bucket.scope.enumerated() where !factor.offsets[dimension].isEmpty {
          outer += factor.offsets[dimension][Int(bucket.classes[dimension].classes[choice[node]])]
        }
        let start = factor.outerStarts[outer]
        source(of: factor).withUnsafeBufferPointer { source in
          // Sums of a few forbidden entries stay within 64 bits; more are cut off on the way.
          for q in 0..<count { sums[q] = min(sums[q] &+ source[start + factor.ownOffsets[q]], 2 * Problem.forbidden) }
        }
      }
      var least = Int64.max
      for q in 0..<count where sums[q] < least { (least, choice[bucket.node]) = (sums[q], q) }
    }
    return choice
  }

  /// A second pass, from the last node taken out to the first: for each strategy the least sum over all choices that take it, and for each entry
  /// of each message the least that everything outside the message's own subtree adds to it.
  ///
  /// - Parameter cutoff: sums that reach it may be left out, which stands as `Problem.forbidden`.
  func secondPass(below cutoff: Int64 = Problem.blocked) -> (byStrategy: [Int64], outside: [[Int64]]) {
    var byStrategy = [Int64](repeating: Problem.forbidden, count: plan.strategyStarts.last ?? 0)
    var outside = plan.buckets.map { [Int64](repeating: Problem.forbidden, count: $0.combinations) }
    for (position, bucket) in plan.buckets.enumerated().reversed() {
      let (start, end) = (plan.strategyStarts[bucket.node], plan.strategyStarts[bucket.node + 1])
      if bucket.scope.isEmpty, minimum < Problem.blocked {
        // The last node of a component: the other components add their own minima.
        outside[position][0] = minimum - messages[position][0]
      }
      let children: [(factor: Int, message: Int)] = bucket.factors.enumerated().compactMap { index, factor in
        if case .message(let child) = factor.source { (index, child) } else { nil }
      }
      let tables = bucket.factors.map(source)
      let (rest, message) = (outside[position], messages[position])
      withUnsafeTemporaryAllocation(of: Int64.self, capacity: end - start) { costs in
        bucket.forEachCombination { combination, outer in
          // The message is the least of the node's costs here: most combinations hold nothing of interest.
          guard rest[combination] < Problem.blocked, message[combination] < Problem.blocked, rest[combination] + message[combination] < cutoff
          else { return }
          for q in 0..<end - start { costs[q] = nodeCosts[start + q] }
          for (index, factor) in bucket.factors.enumerated() {
            let first = factor.outerStarts[outer[index]]
            tables[index].withUnsafeBufferPointer { table in
              // Sums of a few forbidden entries stay within 64 bits; more are cut off on the way.
              for q in 0..<end - start { costs[q] = min(costs[q] &+ table[first + factor.ownOffsets[q]], 2 * Problem.forbidden) }
            }
          }
          for q in costs.indices where costs[q] < Problem.blocked {
            let total = costs[q] + rest[combination]
            if total >= cutoff { continue }
            byStrategy[start + q] = min(byStrategy[start + q], total)
            for (factor, child) in children {
              let index = bucket.factors[factor].outerStarts[outer[factor]] + bucket.factors[factor].ownOffsets[q]
              outside[child][index] = min(outside[child][index], total)
            }
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
      var table: [Int64] = []
      table.reserveCapacity(factor.outerCount * factor.ownOffsets.count)
      append(factor, to: &table)
      return table
    }
  }

  /// A table's rows, each the node's strategies.
  private func append(_ factor: EliminationPlan.Factor, to rows: inout [Int64]) {
    let source = source(of: factor)
    for start in factor.outerStarts { for offset in factor.ownOffsets { rows.append(source[start + offset]) } }
  }

  private func source(of factor: EliminationPlan.Factor) -> [Int64] {
    switch factor.source {
    case .table(let table): edgeTables[table]
    case .message(let position): messages[position]
    }
  }

  private static func sum(_ a: Int64, _ b: Int64) -> Int64 {
    a >= Problem.forbidden || b >= Problem.forbidden ? Problem.forbidden : a + b
  }
}
