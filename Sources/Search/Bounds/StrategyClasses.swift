// SPDX-License-Identifier: GPL-3.0-or-later

/// Strategies that a matrix cannot tell apart: many share a layout, and then have equal rows (or columns).
struct StrategyClasses: Sendable {
  /// The class of each strategy; classes are numbered in order of first appearance.
  let classes: [Int32]
  /// The first strategy of each class.
  let representatives: [Int]
  var count: Int { representatives.count }

  /// Every strategy a class of its own.
  init(separate count: Int) {
    classes = (0..<Int32(count)).map { $0 }
    representatives = Array(0..<count)
  }

  init(classes: [Int32], representatives: [Int]) {
    self.classes = classes
    self.representatives = representatives
  }

  /// The classes of one end of an edge: equal in every objective row and in what is forbidden.
  init(_ problem: Problem, edge: Int, ofTail: Bool) {
    let ends = problem.edges[edge]
    let rows = problem.objectiveRowCount
    let (m, n) = (problem.strategyCount(of: ends.tail), problem.strategyCount(of: ends.head))
    let (count, others) = ofTail ? (m, n) : (n, m)
    let (step, otherStep) = ofTail ? (n * rows, rows) : (rows, n * rows)
    func entry(_ own: Int, _ other: Int, _ row: Int) -> Int64 { problem.edgeCosts[ends.start + own * step + other * otherStep + row] }
    var first: [UInt64: Int] = [:]
    var classes: [Int32] = []
    var representatives: [Int] = []
    for p in 0..<count {
      var hash: UInt64 = 0xcbf2_9ce4_8422_2325
      for q in 0..<others {
        for row in 0..<rows {
          hash = (hash ^ UInt64(bitPattern: entry(p, q, row))) &* 0x9e37_79b9_7f4a_7c15
          hash ^= hash >> 29
        }
      }
      // Equal hashes of unequal rows only cost a class that could have been shared.
      let known = first[hash].flatMap { known in
        let isEqual = (0..<others).allSatisfy { q in (0..<rows).allSatisfy { entry(representatives[known], q, $0) == entry(p, q, $0) } }
        return isEqual ? known : nil
      }
      if let known {
        classes.append(Int32(known))
      } else {
        if first[hash] == nil { first[hash] = representatives.count }
        classes.append(Int32(representatives.count))
        representatives.append(p)
      }
    }
    self.init(classes: classes, representatives: representatives)
  }

  /// The coarsest classes that tell apart what either tells apart.
  func refined(by other: StrategyClasses) -> StrategyClasses {
    if count == classes.count { return self }
    var numbers = [Int32](repeating: -1, count: count * other.count)
    var refined: [Int32] = []
    var representatives: [Int] = []
    for strategy in classes.indices {
      let pair = Int(classes[strategy]) * other.count + Int(other.classes[strategy])
      if numbers[pair] < 0 {
        numbers[pair] = Int32(representatives.count)
        representatives.append(strategy)
      }
      refined.append(numbers[pair])
    }
    return StrategyClasses(classes: refined, representatives: representatives)
  }
}
