// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Search

/// What axes charge for strategies, so that they and the operators choose alike; and what is left out.
extension StrategyBounds {
  /// Looks for charges under which the bound reaches the target; with the best of them, leaves out strategies.
  func ascend(_ kind: Kind, _ sums: inout Sums, _ left: inout [[Bool]]) throws -> Int64 {
    var best = sums
    var (highest, before) = (Int64.min, Int64.min)
    var (length, idle) = (1.0, 0)
    for step in 0..<Self.mostSteps {
      // Charges that no sum may hold lead nowhere.
      let next: Bound?
      do { next = try self.bound(kind, sums, left) } catch SearchError.sumOutOfRange where step > 0 { break }
      guard let bound = next else { return sums.target }
      if bound.sum > highest {
        (best, highest, idle) = (sums, bound.sum, 0)
      } else {
        idle += 1
        if idle == 3 { (length, idle) = (length / 2, 0) }
      }
      if highest >= sums.target || step == Self.mostSteps - 1 { break }
      if step % 8 == 7 {
        // Whether it is worth the while.
        if Double(highest - before) < 0.05 * Double(sums.target - highest) { break }
        before = highest
      } else if step == 0 {
        before = highest
      }
      var differing = 0
      for op in operators.indices { for axis in sizes.indices where bound.chosen[op][axis] != bound.wanted[op][axis] { differing += 2 } }
      if differing == 0 { break }
      let change = Int64(length * Double(sums.target - bound.sum) / Double(differing))
      if change < 1 { break }
      for op in operators.indices {
        for axis in sizes.indices where bound.chosen[op][axis] != bound.wanted[op][axis] {
          charge(kind, &sums, op, axis, bound.chosen[op][axis], change)
          charge(kind, &sums, op, axis, bound.wanted[op][axis], -change)
        }
      }
    }
    if highest < sums.target, try leaveOut(kind, best, &left) {
      // Without what was left out the bound may be higher.
      guard let bound = try bound(kind, best, left) else { return sums.target }
      highest = max(highest, bound.sum)
    }
    return highest
  }

  func charge(_ kind: Kind, _ sums: inout Sums, _ op: OperatorID, _ axis: Int, _ choice: Int, _ change: Int64) {
    sums.charges[op][axis][choice] += change
    sums.weighed[axis].nodeCosts[kind.tables[axis].start(ofNode: kind.axes[axis].model.nodeOfOperator[op]) + operators[op].alone[axis][choice]] +=
      change
  }

  /// Nil where there is no choice.
  func bound(_ kind: Kind, _ sums: Sums, _ left: [[Bool]]) throws -> Bound? {
    var bound = Bound(sum: sums.base - sums.less, chosen: operators.map { _ in [Int](repeating: 0, count: sizes.count) })
    for axis in sizes.indices {
      guard let least = try kind.tables[axis].least(sums.weighed[axis]) else { return nil }
      bound.sum += least.sum - sums.base
      bound.choices.append(least.choice)
      for op in operators.indices {
        let strategy = least.choice[kind.axes[axis].model.nodeOfOperator[op]]
        bound.chosen[op][axis] = operators[op].alone[axis].firstIndex(of: strategy) ?? 0
      }
    }
    bound.wanted = bound.chosen
    for op in operators.indices {
      guard let (least, number) = least(op, sums, left[op]) else { return nil }
      bound.sum += least
      bound.wanted[op] = sizes.indices.map { Int(operators[op].choices[number * sizes.count + $0]) }
    }
    return bound
  }

  /// The least that an operator gives back, over the strategies that are left.
  func least(_ op: OperatorID, _ sums: Sums, _ left: [Bool]) -> (least: Int64, number: Int)? {
    var best: (least: Int64, number: Int)?
    for number in left.indices where left[number] {
      let own = own(op, number, sums)
      if own < best?.least ?? .max { best = (own, number) }
    }
    return best
  }

  func own(_ op: OperatorID, _ number: Int, _ sums: Sums) -> Int64 {
    var own = sums.more[op][number]
    for axis in sizes.indices { own -= sums.charges[op][axis][Int(operators[op].choices[number * sizes.count + axis])] }
    return own
  }

  /// - Returns: whether any strategy was left out.
  func leaveOut(_ kind: Kind, _ sums: Sums, _ left: inout [[Bool]]) throws -> Bool {
    let byStrategy = try zip(kind.tables, sums.weighed).map { try $0.leastByStrategy($1) }
    let least = operators.indices.map { self.least($0, sums, left[$0])?.least ?? 0 }
    let all = least.reduce(sums.base - sums.less, +)
    var isChanged = false
    for op in operators.indices {
      for number in left[op].indices where left[op][number] {
        var bound = all - least[op] + own(op, number, sums)
        var isPossible = true
        for axis in sizes.indices {
          let strategy = operators[op].alone[axis][Int(operators[op].choices[number * sizes.count + axis])]
          let ofAxis = byStrategy[axis][kind.tables[axis].start(ofNode: kind.axes[axis].model.nodeOfOperator[op]) + strategy]
          if ofAxis >= Problem.forbidden { isPossible = false }
          bound += min(ofAxis, Problem.largestSum) - sums.base
        }
        if !isPossible || bound >= sums.target {
          left[op][number] = false
          isChanged = true
        }
      }
    }
    return isChanged
  }
}
