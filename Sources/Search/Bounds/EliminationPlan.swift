// SPDX-License-Identifier: GPL-3.0-or-later

/// An order in which the nodes of a problem are minimised out, one after the other, and the shape of every table on the way
/// (non-serial dynamic programming; Bertelè and Brioschi, 1972).
///
/// Taking out node v adds up all tables that involve it, and leaves one over its neighbours: m_v(N) = min_v Σ tables. Tables are indexed by
/// classes of strategies that none of the added tables can tell apart. The plan depends on the structure only; costs come in when it is run, so
/// one plan serves all multipliers.
struct EliminationPlan: Sendable {
  /// A table that is added up when a node is taken out.
  struct Factor: Sendable {
    enum Source: Sendable {
      case table(Int)
      /// What taking out an earlier node left, by its position in the order.
      case message(Int)
    }
    let source: Source
    /// For each dimension of the bucket and each class there, what it adds to the table's outer index (empty where the table lacks the dimension).
    let offsets: [[Int]]
    /// The distance in the source table for each strategy of the bucket's node.
    let ownOffsets: [Int]
    /// The size of the table without the bucket's node.
    let outerCount: Int
    /// For each outer index of the table the start in the source table.
    let outerStarts: [Int]
  }

  /// One node being taken out.
  final class Bucket: Sendable {
    let node: Int
    /// The neighbours at that time, and their classes in the message.
    let scope: [Int]
    let classes: [StrategyClasses]
    let factors: [Factor]
    let combinations: Int
    /// The numbers of the neighbours' classes, and for each neighbour the factors that have it.
    private let dimensions: [Int]
    private let concerned: [[Int]]
    /// For each factor its outer index where all neighbours are in their first classes.
    private let firstOuter: [Int]
    let product: MinPlusProduct.Layout

    init(node: Int, scope: [Int], classes: [StrategyClasses], factors: [Factor], strategyCount: Int) {
      (self.node, self.scope, self.classes, self.factors) = (node, scope, classes, factors)
      dimensions = classes.map(\.count)
      combinations = dimensions.reduce(1, *)
      concerned = dimensions.indices.map { dimension in factors.indices.filter { !factors[$0].offsets[dimension].isEmpty } }
      firstOuter = factors.map { $0.offsets.reduce(0) { $0 + ($1.first ?? 0) } }
      product = MinPlusProduct.Layout(factors, inner: dimensions.last ?? 1, count: strategyCount)
    }

    /// Calls `body` for each combination of the neighbours' classes, row-major, with the outer index of each factor.
    @inline(__always)
    func forEachCombination(_ body: (_ combination: Int, _ outer: UnsafePointer<Int>) -> Void) {
      forEachCombination(ofFirst: dimensions.count, body)
    }

    /// Calls `body` for each combination of all but the last neighbour's classes, with the outer index of each factor at the last one's first class.
    @inline(__always)
    func forEachLeadingCombination(_ body: (_ combination: Int, _ outer: UnsafePointer<Int>) -> Void) {
      forEachCombination(ofFirst: max(0, dimensions.count - 1), body)
    }

    @inline(__always)
    private func forEachCombination(ofFirst count: Int, _ body: (_ combination: Int, _ outer: UnsafePointer<Int>) -> Void) {
      var combinations = 1
      for dimension in 0..<count { combinations *= dimensions[dimension] }
      withUnsafeTemporaryAllocation(of: Int.self, capacity: factors.count + count + 1) { buffer in
        let outer = buffer.baseAddress!
        let position = outer + factors.count
        for index in factors.indices { (outer + index).initialize(to: firstOuter[index]) }
        position.initialize(repeating: 0, count: count + 1)
        for combination in 0..<combinations {
          body(combination, UnsafePointer(outer))
          var dimension = count - 1
          while dimension >= 0 {
            let from = position[dimension]
            let to = from + 1 < dimensions[dimension] ? from + 1 : 0
            position[dimension] = to
            for index in concerned[dimension] {
              outer[index] += factors[index].offsets[dimension][to] - factors[index].offsets[dimension][from]
            }
            if to != 0 { break }
            dimension -= 1
          }
        }
      }
    }
  }

  /// The first strategy of each node in the numbering over all nodes, and at the end the total.
  let strategyStarts: [Int]
  let buckets: [Bucket]
  /// The classes of both ends of each edge: the edge tables hold one entry per pair of classes.
  let tailClasses: [StrategyClasses]
  let headClasses: [StrategyClasses]

  /// A table during planning: its nodes with the classes of each, in row-major order.
  struct Table {
    let source: Factor.Source
    let scope: [Int]
    let classes: [StrategyClasses]
  }

  /// Plans by least table size first (ties: the lower node). Nil where all tables together would hold more than `largestTable` entries or
  /// adding them up would take more than `mostWork` additions.
  init?(_ problem: Problem, largestTable: Int = 1 << 22, mostWork: Int = 1 << 28) {
    let tails = problem.edges.indices.map { StrategyClasses(problem, edge: $0, ofTail: true) }
    let heads = problem.edges.indices.map { StrategyClasses(problem, edge: $0, ofTail: false) }
    let tables = problem.edges.enumerated().map { number, edge in
      Table(source: .table(number), scope: [edge.tail, edge.head], classes: [tails[number], heads[number]])
    }
    self.init(problem.strategyStarts, tables, tailClasses: tails, headClasses: heads, largestTable: largestTable, mostWork: mostWork)
  }

  /// - Parameter tables: each over different nodes.
  init?(
    _ strategyStarts: [Int], _ original: [Table], tailClasses: [StrategyClasses] = [], headClasses: [StrategyClasses] = [], largestTable: Int,
    mostWork: Int
  ) {
    (self.strategyStarts, self.tailClasses, self.headClasses) = (strategyStarts, tailClasses, headClasses)
    let count = strategyStarts.count - 1
    func strategyCount(_ node: Int) -> Int { strategyStarts[node + 1] - strategyStarts[node] }
    var tables: [Table?] = original
    var tablesAt = [[Int]](repeating: [], count: count)
    for (number, table) in original.enumerated() { for node in table.scope { tablesAt[node].append(number) } }
    /// An upper bound of the message's size: a node has no more classes than strategies, nor than the product of its tables' classes.
    func size(_ node: Int) -> Double {
      var classCounts: [(node: Int, count: Double)] = []
      for table in tablesAt[node].compactMap({ tables[$0] }) {
        for (other, classes) in zip(table.scope, table.classes) where other != node {
          if let index = classCounts.firstIndex(where: { $0.node == other }) {
            classCounts[index].count *= Double(classes.count)
          } else {
            classCounts.append((other, Double(classes.count)))
          }
        }
      }
      return classCounts.reduce(1) { $0 * min($1.count, Double(strategyCount($1.node))) }
    }
    var sizes = (0..<count).map(size)
    var isDone = [Bool](repeating: false, count: count)
    var buckets: [Bucket] = []
    var (entries, work) = (0, 0)
    for _ in 0..<count {
      var next = -1
      for node in 0..<count where !isDone[node] && (next < 0 || sizes[node] < sizes[next]) { next = node }
      guard sizes[next] <= Double(largestTable) * 16 else { return nil }
      let gathered = tablesAt[next].compactMap { tables[$0] }
      let bucket = EliminationPlan.bucket(next, gathered, strategyCount: strategyCount(next))
      entries += bucket.combinations
      let (bucketWork, overflow) = bucket.combinations.multipliedReportingOverflow(
        by: strategyCount(next) * (bucket.factors.count + 1))
      guard !overflow else { return nil }
      work += bucketWork
      guard entries <= largestTable, work <= mostWork else { return nil }
      isDone[next] = true
      for table in tablesAt[next] { tables[table] = nil }
      for node in bucket.scope {
        tablesAt[node].removeAll { tables[$0] == nil }
        tablesAt[node].append(tables.count)
      }
      if !bucket.scope.isEmpty { tables.append(Table(source: .message(buckets.count), scope: bucket.scope, classes: bucket.classes)) }
      buckets.append(bucket)
      var affected = Set(bucket.scope)
      for node in bucket.scope { for table in tablesAt[node].compactMap({ tables[$0] }) { affected.formUnion(table.scope) } }
      for node in affected { sizes[node] = size(node) }
    }
    self.buckets = buckets
  }

  /// Lays out the tables of one node over the joint classes of its neighbours.
  private static func bucket(_ node: Int, _ tables: [Table], strategyCount: Int) -> Bucket {
    var scope: [Int] = []
    var joint: [StrategyClasses] = []
    for table in tables {
      for (other, classes) in zip(table.scope, table.classes) where other != node {
        if let index = scope.firstIndex(of: other) {
          joint[index] = joint[index].refined(by: classes)
        } else {
          scope.append(other)
          joint.append(classes)
        }
      }
    }
    // Minima are taken along the last dimension, which is best a long one.
    if let longest = joint.indices.max(by: { joint[$0].count < joint[$1].count }), longest < joint.count - 1 {
      scope.append(scope.remove(at: longest))
      joint.append(joint.remove(at: longest))
    }
    let factors = tables.map { table in
      var strides = [Int](repeating: 1, count: table.scope.count)
      for index in table.scope.indices.dropLast().reversed() { strides[index] = strides[index + 1] * table.classes[index + 1].count }
      var ownOffsets = [Int](repeating: 0, count: strategyCount)
      var offsets = [[Int]](repeating: [], count: scope.count)
      var outerStarts = [0]
      for (index, other) in table.scope.enumerated() {
        if other == node {
          ownOffsets = table.classes[index].classes.map { Int($0) * strides[index] }
        } else {
          let classCount = table.classes[index].count
          // Outer indices are row-major over the table's other nodes.
          let inner = table.scope.indices.filter { $0 > index && table.scope[$0] != node }.reduce(1) { $0 * table.classes[$1].count }
          outerStarts = outerStarts.flatMap { start in (0..<classCount).map { start + $0 * strides[index] } }
          if let position = scope.firstIndex(of: other) {
            offsets[position] = joint[position].representatives.map { Int(table.classes[index].classes[$0]) * inner }
          }
        }
      }
      return Factor(source: table.source, offsets: offsets, ownOffsets: ownOffsets, outerCount: outerStarts.count, outerStarts: outerStarts)
    }
    return Bucket(node: node, scope: scope, classes: joint, factors: factors, strategyCount: strategyCount)
  }
}
