// SPDX-License-Identifier: GPL-3.0-or-later

/// The least sum of tables over any number of nodes, whose structure is given once and whose costs many times.
///
///     least = min_s  Σ_v cost_v(s_v) + Σ_t cost_t(class_t(s_u), class_t(s_v), …)
///
/// A table over several nodes says in a few entries what in a `Problem` takes a node of its own with a strategy for each combination.
package struct TableMinimum: Sendable {
  /// A table's nodes, all different, and for each the classes of its strategies that the table tells apart, numbered by first appearance.
  package struct Table: Sendable {
    package let scope: [Int]
    package let classes: [[Int]]
    /// For each node the first strategy of each class: the table has an entry for every combination, the last node's classes running fastest.
    package let representatives: [[Int]]

    package init(scope: [Int], classes: [[Int]]) {
      precondition(Set(scope).count == scope.count && scope.count == classes.count, "a table's nodes are different, each with its classes")
      self.scope = scope
      self.classes = classes
      representatives = classes.map { classes in
        var first: [Int] = []
        for (strategy, number) in classes.enumerated() where number == first.count { first.append(strategy) }
        return first
      }
    }

    package var count: Int { representatives.reduce(1) { $0 * $1.count } }

    /// The entry that a choice takes.
    package func index(_ choice: [Int]) -> Int {
      scope.indices.reduce(0) { $0 * representatives[$1].count + classes[$1][choice[scope[$1]]] }
    }
  }

  private let plan: EliminationPlan

  /// Nil where all tables of the elimination together would hold more than `largestTable` entries or take more than `mostWork` additions.
  package init?(strategyCounts: [Int], tables: [Table], largestTable: Int = 1 << 21, mostWork: Int = 1 << 26) {
    var starts = [0]
    for count in strategyCounts { starts.append(starts[starts.count - 1] + count) }
    let planned = tables.enumerated().map { number, table in
      EliminationPlan.Table(
        source: .table(number), scope: table.scope,
        classes: zip(table.classes, table.representatives).map { StrategyClasses(classes: $0.map(Int32.init), representatives: $1) })
    }
    guard let plan = EliminationPlan(starts, planned, largestTable: largestTable, mostWork: mostWork) else { return nil }
    self.plan = plan
  }

  /// - Parameters:
  ///   - nodeCosts: for all strategies of node 0, then of node 1, and so on; `Problem.forbidden` for what must not be taken.
  ///   - tables: for each table one cost for each entry.
  /// - Returns: nil where every choice is forbidden.
  /// - Throws: `SearchError.sumOutOfRange`.
  package func least(nodeCosts: [Int64], tables: [[Int64]]) throws(SearchError) -> (sum: Int64, choice: [Int])? {
    let elimination = try elimination(nodeCosts: nodeCosts, tables: tables)
    guard elimination.minimum < Problem.blocked else { return nil }
    return (elimination.minimum, elimination.minimiser())
  }

  /// For every strategy, node by node, the least sum of a choice that takes it; `Problem.forbidden` where there is none.
  ///
  /// - Parameter cutoff: larger sums, and this one, may stand as `Problem.forbidden`, which is much quicker where few are less.
  /// - Throws: `SearchError.sumOutOfRange`.
  package func leastByStrategy(nodeCosts: [Int64], tables: [[Int64]], below cutoff: Int64? = nil) throws(SearchError) -> [Int64] {
    try elimination(nodeCosts: nodeCosts, tables: tables).secondPass(below: min(cutoff ?? Problem.blocked, Problem.blocked)).byStrategy.map {
      $0 < Problem.blocked ? $0 : Problem.forbidden
    }
  }

  private func elimination(nodeCosts: [Int64], tables: [[Int64]]) throws(SearchError) -> Elimination {
    var magnitude: Int64 = 0
    func add(_ costs: some Sequence<Int64>) throws(SearchError) {
      var largest: Int64 = 0
      for cost in costs where cost < Problem.forbidden { largest = max(largest, abs(cost)) }
      guard largest <= Problem.largestSum - magnitude else { throw .sumOutOfRange(what: "weighted costs") }
      magnitude += largest
    }
    for node in 0..<plan.strategyStarts.count - 1 { try add(nodeCosts[plan.strategyStarts[node]..<plan.strategyStarts[node + 1]]) }
    for table in tables { try add(table) }
    return Elimination(plan, nodeCosts: nodeCosts, edgeTables: tables)
  }
}
