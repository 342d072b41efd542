// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Search
import Strategies

/// Lower bounds of a mesh's plans, and of those in which an operator takes a certain strategy, from problems of one mesh axis each.
///
/// A strategy t of an operator is one strategy t_a for each mesh axis. With F_a the least sum on axis a alone, `AxisBounds` has
///
///     least(mesh) ≥ base + Σ_a (F_a − base)
///
/// where the axes choose for each operator by themselves. Not everything that they choose goes together: a small batch cannot be cut on all of them.
/// So what each axis charges for a strategy may be changed by λ, as long as the operator gives it back (Lagrangian decomposition; Guignard and Kim 1987,
/// "Lagrangean decomposition"):
///
///     least(mesh) ≥ base + Σ_a (F_a(λ_a) − base) + Σ_op min_t (g_op(t) − Σ_a λ_a,op(t_a))
///
/// over the strategies t that the operator has on the mesh. g is what t takes more than the sum over its axes: an operator that does the same work on the
/// n ranks of one axis takes n times what it does on the others, not n − 1 times the base more. The λ are found by steps along the subgradient, as long as
/// the cutoff as length (Polyak 1969) may still be reached.
///
/// With M_a,op(s) the least sum on axis a where the operator takes s there, the plans in which it takes t have no less than
///
///     base + Σ_a (M_a,op(t_a) − base) + g_op(t) − Σ_a λ_a,op(t_a) + (the other operators' minima)
struct StrategyBounds {
  /// One operator's strategies: for each mesh axis the number of a choice, 0 for none.
  private struct Operator {
    /// The iteration axes that a mesh axis may go to; choice k is the k-th, from 1 on.
    let iteration: [Int]
    /// For each mesh axis and choice the strategy on the axis alone; −1 where there is none.
    let alone: [[Int]]
    /// All strategies, one after the other: for each mesh axis the choice.
    let choices: [UInt8]
    var isLeft: [Bool]
    var count: Int { isLeft.count }
  }

  /// A chain's costs on each axis alone.
  private struct Sums {
    let base: Int64
    /// What rounding may add.
    let slack: Int64
    /// No plan of interest has a chain so long.
    let target: Int64
    var weighed: [BlockTables.Weighed]
    /// For each operator and mesh axis, what the axis charges more for each choice.
    var charges: [[[Int64]]]
    /// For each operator and strategy, what it takes more than the sum over its axes.
    let more: [[Int64]]
  }

  private let axes: [AxisBounds.Problem]
  private let tables: [BlockTables]
  private let starts: [[Int]]
  private let chains: [[Chain]]
  private let bases: [[Int64]]
  private let slacks: [[Int64]]
  private let baseModel: FoldedModel
  private var operators: [Operator]
  /// The mesh axes that split anything.
  private let meshAxes: [Int]

  static let mostSteps = 40

  init(_ bounds: inout AxisBounds, _ placed: Space.Placed, mesh: [Int]) throws {
    axes = bounds.problems(placed, mesh: mesh)
    tables = axes.compactMap(\.minimum.tables)
    starts = tables.map(\.operatorStarts)
    (chains, bases, slacks) = (bounds.chains, bounds.bases, bounds.slacks)
    baseModel = bounds.base
    meshAxes = mesh.indices.filter { mesh[$0] > 1 }
    let axes = axes
    operators = baseModel.pricing.rules.enumerated().map { op, rule in
      let iteration = rule.iteration.indices.filter { rule.iteration[$0].isSplittable && rule.iteration[$0].extent > 1 }
      let alone = axes.map { axis in
        ([nil] + iteration.map { $0 }).map { wanted in axis.model.strategies[op].firstIndex { $0.assignment[0] == wanted } ?? -1 }
      }
      var choices: [UInt8] = []
      var parts = rule.iteration.map { _ in 1 }
      func add(_ chosen: [UInt8]) {
        let axis = chosen.count
        if axis == axes.count { return choices += chosen }
        for choice in 0...iteration.count where alone[axis][choice] >= 0 {
          let loops = choice == 0 ? [] : rule.iteration[iteration[choice - 1]].splits
          for loop in loops { parts[loop] *= axes[axis].size }
          if loops.allSatisfy({ parts[$0] <= rule.iteration[$0].extent }) { add(chosen + [UInt8(choice)]) }
          for loop in loops { parts[loop] /= axes[axis].size }
        }
      }
      add([])
      return Operator(iteration: iteration, alone: alone, choices: choices, isLeft: [Bool](repeating: true, count: choices.count / axes.count))
    }
  }

  /// Whether no bound has reached the cutoff for a strategy.
  func isLeft(_ op: OperatorID, _ strategy: Strategy) -> Bool {
    let own = operators[op]
    let wanted = meshAxes.map { axis in strategy.assignment[axis].map { UInt8((own.iteration.firstIndex(of: $0) ?? 0) + 1) } ?? 0 }
    let found = (0..<own.count).first { number in wanted.indices.allSatisfy { own.choices[number * wanted.count + $0] == wanted[$0] } }
    return found.map { own.isLeft[$0] } ?? true
  }

  /// A lower bound of the step, whatever the schedule and the cut. Strategies whose bounds reach the cutoff under every schedule are left no more.
  mutating func bound(below cutoff: Int64) throws -> Int64 {
    // Of some axis nothing but its least sums is known.
    guard tables.count == axes.count else { return 0 }
    var least = Int64.max
    var left = operators.map { [Bool](repeating: false, count: $0.count) }
    for schedule in chains.indices {
      var bound: Int64 = 0
      var own = operators.map(\.isLeft)
      for chain in chains[schedule].indices where bound < cutoff {
        guard var sums = try sums(schedule, chain, cutoff) else { continue }
        bound = max(bound, try ascend(&sums, &own) / chains[schedule][chain].sharers)
      }
      least = min(least, bound)
      if bound < cutoff { for op in operators.indices { for t in own[op].indices where own[op][t] { left[op][t] = true } } }
    }
    for op in operators.indices { operators[op].isLeft = left[op] }
    return least
  }

  /// Nil where the sums would be too large.
  private func sums(_ schedule: Int, _ number: Int, _ cutoff: Int64) throws -> Sums? {
    let chain = chains[schedule][number]
    let (target, overflow) = cutoff.multipliedReportingOverflow(by: chain.sharers)
    guard !overflow, target < Problem.largestSum else { return nil }
    let weighed = try tables.map { try $0.weighed(.init(chain)) }
    return Sums(
      base: bases[schedule][number], slack: slacks[schedule][number], target: target, weighed: weighed,
      charges: operators.map { own in own.alone.map { [Int64](repeating: 0, count: $0.count) } },
      more: operators.indices.map { more($0, chain) })
  }

  /// What each strategy of an operator takes more than the sum over its axes.
  private func more(_ op: OperatorID, _ chain: Chain) -> [Int64] {
    let own = operators[op]
    let weights = chain.segments[baseModel.pricing.graph.segmentOfOperator[op]]
    let base = Double(baseModel.cost(of: op, 0, weights))
    let costs = zip(axes, own.alone).map { axis, alone in alone.map { $0 < 0 ? 0 : Double(axis.model.cost(of: op, $0, weights)) } }
    // What is not a start-up grows with the ranks that all do it.
    let growing = zip(axes, costs).map { max(0, $1[0] - base) / Double($0.size - 1) }.min() ?? 0
    let rounding = 4 * Double(weights.forward + weights.backward + weights.once)
    return (0..<own.count).map { number in
      var (ranks, single, split) = (1.0, 0.0, 0.0)
      for axis in axes.indices {
        let choice = Int(own.choices[number * axes.count + axis])
        if choice > 0 {
          split += max(0, costs[axis][choice] - base)
        } else {
          ranks *= Double(axes[axis].size)
          single += Double(axes[axis].size) - 1
        }
      }
      return Int64(max(0, (ranks - 1 - single) * growing + (ranks - 1) * split - ranks * rounding))
    }
  }

  /// Looks for charges under which the bound reaches the target; with the best of them, leaves out strategies.
  private func ascend(_ sums: inout Sums, _ left: inout [[Bool]]) throws -> Int64 {
    var best = sums
    var highest = Int64.min
    var (length, idle) = (1.0, 0)
    for step in 0..<Self.mostSteps {
      guard let (bound, chosen, wanted) = try bound(sums, left) else { return sums.target }
      if bound > highest {
        (best, highest, idle) = (sums, bound, 0)
      } else {
        idle += 1
        if idle == 4 { (length, idle) = (length / 2, 0) }
      }
      if highest >= sums.target || step == Self.mostSteps - 1 { break }
      var differing = 0
      for op in operators.indices { for axis in axes.indices where chosen[op][axis] != wanted[op][axis] { differing += 2 } }
      if differing == 0 { break }
      let change = Int64(length * Double(sums.target - bound) / Double(differing))
      if change < 1 { break }
      for op in operators.indices {
        for axis in axes.indices where chosen[op][axis] != wanted[op][axis] {
          charge(&sums, op, axis, chosen[op][axis], change)
          charge(&sums, op, axis, wanted[op][axis], -change)
        }
      }
    }
    if highest < sums.target, try leaveOut(best, &left) {
      // Without what was left out the bound may be higher.
      guard let (bound, _, _) = try bound(best, left) else { return sums.target }
      highest = max(highest, bound)
    }
    return max(highest, 0)
  }

  private func charge(_ sums: inout Sums, _ op: OperatorID, _ axis: Int, _ choice: Int, _ change: Int64) {
    sums.charges[op][axis][choice] += change
    sums.weighed[axis].nodeCosts[starts[axis][op] + operators[op].alone[axis][choice]] += change
  }

  /// The bound, and for each operator and axis the choice that the axis makes and the one that the operator makes; nil where there is none.
  private func bound(_ sums: Sums, _ left: [[Bool]]) throws -> (bound: Int64, chosen: [[Int]], wanted: [[Int]])? {
    var total = sums.base - sums.slack
    var chosen = operators.map { _ in [Int](repeating: 0, count: axes.count) }
    for axis in axes.indices {
      guard let least = try tables[axis].least(sums.weighed[axis]) else { return nil }
      total += least.sum - sums.base
      for op in operators.indices {
        let strategy = least.choice[axes[axis].model.nodeOfOperator[op]]
        chosen[op][axis] = operators[op].alone[axis].firstIndex(of: strategy) ?? 0
      }
    }
    var wanted = chosen
    for op in operators.indices {
      guard let (least, number) = least(op, sums, left[op]) else { return nil }
      total += least
      wanted[op] = axes.indices.map { Int(operators[op].choices[number * axes.count + $0]) }
    }
    return (total, chosen, wanted)
  }

  /// The least that an operator gives back, over the strategies that are left.
  private func least(_ op: OperatorID, _ sums: Sums, _ left: [Bool]) -> (least: Int64, number: Int)? {
    var best: (least: Int64, number: Int)?
    for number in left.indices where left[number] {
      let own = own(op, number, sums)
      if own < best?.least ?? .max { best = (own, number) }
    }
    return best
  }

  private func own(_ op: OperatorID, _ number: Int, _ sums: Sums) -> Int64 {
    axes.indices.reduce(sums.more[op][number]) { $0 - sums.charges[op][$1][Int(operators[op].choices[number * axes.count + $1])] }
  }

  /// - Returns: whether any strategy was left out.
  private func leaveOut(_ sums: Sums, _ left: inout [[Bool]]) throws -> Bool {
    let byStrategy = try zip(tables, sums.weighed).map { try $0.leastByStrategy($1) }
    let least = operators.indices.map { self.least($0, sums, left[$0])?.least ?? 0 }
    let all = least.reduce(sums.base - sums.slack, +)
    var isChanged = false
    for op in operators.indices {
      for number in left[op].indices where left[op][number] {
        let leasts = axes.indices.map { axis in
          byStrategy[axis][starts[axis][op] + operators[op].alone[axis][Int(operators[op].choices[number * axes.count + axis])]]
        }
        let bound = leasts.reduce(all - least[op] + own(op, number, sums)) { $0 + $1 - sums.base }
        if leasts.contains(Problem.forbidden) || bound >= sums.target {
          left[op][number] = false
          isChanged = true
        }
      }
    }
    return isChanged
  }
}

extension FoldedModel {
  /// What an operator with its weights takes in a chain, under one of its strategies.
  fileprivate func cost(of op: OperatorID, _ strategy: Int, _ weights: Chain.Weights) -> Int64 {
    func cost(_ node: Node, _ s: Int) -> Int64 {
      weights.forward * node.forward[s] + weights.backward * node.backward[s] + weights.once * node.once[s]
    }
    let own = cost(nodes[nodeOfOperator[op]], strategy)
    guard let (node, options) = weightsUses(of: op) else { return own }
    let uses = parameterUses(of: op, strategies[op][strategy])
    return own + (options.indices.filter { options[$0] == uses }.map { cost(nodes[node], $0) }.min() ?? 0)
  }
}
