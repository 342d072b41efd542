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
/// Where memory binds, each byte that all stages together hold has a price μ, and what they may hold counts for as much less, which is a lower bound
/// again (Lagrangian relaxation). Bytes add up over the axes as times do.
///
/// With M_a,op(s) the least sum on axis a where the operator takes s there, the plans in which it takes t have no less than
///
///     base + Σ_a (M_a,op(t_a) − base) + g_op(t) − Σ_a λ_a,op(t_a) + (the other operators' minima)
struct StrategyBounds {
  /// One operator's strategies: for each mesh axis the number of a choice, 0 for none.
  struct Operator {
    /// The iteration axes that a mesh axis may go to; choice k is the k-th, from 1 on.
    let iteration: [Int]
    /// For each mesh axis and choice the strategy on the axis alone; −1 where there is none.
    let alone: [[Int]]
    /// All strategies, one after the other: for each mesh axis the choice.
    let choices: [UInt8]
    /// For the choices of all mesh axes as digits the strategy's number, if it is one.
    let numbers: [Int?]
    var isLeft: [Bool]
    var count: Int { isLeft.count }
  }

  /// What layers compute again: the same model with other times and bytes.
  struct Kind {
    let axes: [AxisBounds.Problem]
    let tables: [BlockTables]
    /// Where nothing is idle and nothing is sent.
    let baseModel: FoldedModel
    let base: BlockTables
    let recompute: Recompute
    /// For each operator what its weights may choose, on each axis and where nothing is idle.
    let weights: [[(node: Int, choices: [[Int]])?]]
    let baseWeights: [(node: Int, choices: [[Int]])?]

    /// What an operator takes with its weights on an axis, under one of its strategies there.
    func cost(_ op: OperatorID, axis: Int, _ strategy: Int, _ weighed: BlockTables.Weighed) -> Int64 {
      Self.cost(axes[axis].model.nodeOfOperator[op], strategy, weights[axis][op], tables[axis], weighed)
    }

    func baseCost(_ op: OperatorID, _ weighed: BlockTables.Weighed) -> Int64 {
      Self.cost(baseModel.nodeOfOperator[op], 0, baseWeights[op], base, weighed)
    }

    static func cost(
      _ node: Int, _ strategy: Int, _ weights: (node: Int, choices: [[Int]])?, _ tables: BlockTables, _ weighed: BlockTables.Weighed
    ) -> Int64 {
      let own = weighed.nodeCosts[tables.start(ofNode: node) + strategy]
      guard let weights else { return own }
      let first = tables.start(ofNode: weights.node)
      return own + (weights.choices[strategy].map { weighed.nodeCosts[first + $0] }.min() ?? 0)
    }
  }

  /// Operators at their prices on the mesh.
  struct Exact {
    let model: FoldedModel
    /// For each operator and strategy of the model, its number here.
    let numbers: [[Int]]
    let weights: [(node: Int, choices: [[Int]])?]
  }

  /// A chain's costs on each axis alone.
  struct Sums {
    let base: Int64
    /// Of it, the choice of each node.
    let baseChoice: [Int]
    /// What the bound has less: for rounding, and for the bytes that there are.
    let less: Int64
    /// No plan of interest has a chain so long.
    let target: Int64
    var weighed: [BlockTables.Weighed]
    /// For each operator and mesh axis, what the axis charges more for each choice.
    var charges: [[[Int64]]]
    /// For each operator and strategy, what it takes more than the sum over its axes.
    let more: [[Int64]]
  }

  /// A bound with what the axes and the operators choose.
  struct Bound {
    var sum: Int64
    /// For each axis, a strategy for each node.
    var choices: [[Int]] = []
    /// For each operator and axis the choice that the axis makes, and the one that the operator makes.
    var chosen: [[Int]] = []
    var wanted: [[Int]] = []
  }

  let kinds: [Kind]
  /// By kind, the operators with the strategies that are left, at their prices on the mesh; empty before these are known.
  var exact: [Exact] = []
  let space: Space
  let frame: Space.Frame
  let chains: [[Chain]]
  let slacks: [[Int64]]
  let schedules: [Schedule]
  let limit: Int64
  var operators: [Operator]
  let sizes: [Int]
  /// The mesh axes that split anything.
  let meshAxes: [Int]

  static let mostSteps = 32
  static let mostPrices = 8

  /// - Parameter limit: what a stage may hold on the largest device.
  /// - Returns: nil where of some axis nothing but its least sums is known.
  init?(_ bounds: AxisBounds, _ placed: Space.Placed, _ frame: Space.Frame, _ space: Space, limit: Int64) {
    (self.space, self.frame, self.limit) = (space, frame, limit)
    var kinds: [Kind] = []
    for recompute in space.recomputes {
      let (axes, base) = bounds.problems(placed, mesh: frame.mesh, recompute)
      let tables = axes.compactMap(\.minimum.tables)
      guard tables.count == axes.count, let baseTables = base.minimum.tables else { return nil }
      kinds.append(
        Kind(
          axes: axes, tables: tables, baseModel: base.model, base: baseTables, recompute: recompute,
          weights: axes.map { axis in axis.model.strategies.indices.map { axis.model.weightsChoices(of: $0) } },
          baseWeights: base.model.strategies.indices.map { base.model.weightsChoices(of: $0) }))
    }
    self.kinds = kinds
    (chains, slacks, schedules) = (bounds.chains, bounds.slacks, bounds.schedules)
    meshAxes = frame.mesh.indices.filter { frame.mesh[$0] > 1 }
    let axes = kinds[0].axes
    sizes = axes.map(\.size)
    operators = axes[0].model.pricing.rules.enumerated().map { Operator($0, $1, axes) }
  }

  /// Whether no bound has reached the cutoff for a strategy.
  func isLeft(_ op: OperatorID, _ strategy: Strategy) -> Bool { number(op, strategy).map { operators[op].isLeft[$0] } ?? true }

  /// From now on operators take what they take on the mesh: small parts are less efficient, some are larger than others, and every collective starts.
  ///
  /// - Parameter models: for each kind of layers, with strategies that are left; none is connected.
  mutating func refine(_ models: [FoldedModel]) {
    exact = models.map { model in
      Exact(
        model: model, numbers: model.strategies.enumerated().map { op, strategies in strategies.map { number(op, $0) ?? 0 } },
        weights: model.strategies.indices.map { model.weightsChoices(of: $0) })
    }
    for op in operators.indices {
      let numbers = Set(exact.flatMap { $0.numbers[op] })
      for number in operators[op].isLeft.indices where !numbers.contains(number) { operators[op].isLeft[number] = false }
    }
  }

  func number(_ op: OperatorID, _ strategy: Strategy) -> Int? {
    let own = operators[op]
    return own.numbers[
      meshAxes.reduce(0) { index, axis in
        index * (own.iteration.count + 1) + (strategy.assignment[axis].map { (own.iteration.firstIndex(of: $0) ?? 0) + 1 } ?? 0)
      }]
  }

  /// A lower bound of the step, whatever the schedule and the cut. Strategies whose bounds reach the cutoff under every schedule are left no more.
  mutating func bound(below cutoff: Int64) throws -> Int64 {
    var least = Int64.max
    var left = operators.map { [Bool](repeating: false, count: $0.count) }
    for schedule in chains.indices {
      // Of the chains, the one that is longest whatever the memory.
      var longest: (chain: Int, bound: Int64) = (0, .min)
      for chain in chains[schedule].indices {
        guard let sums = try sums(kinds[0], schedule, chain, nil, cutoff), let bound = try bound(kinds[0], sums, operators.map(\.isLeft)) else {
          return 0
        }
        let sum = bound.sum / chains[schedule][chain].sharers
        if sum > longest.bound { longest = (chain, sum) }
      }
      var ofSchedule = longest.bound
      if longest.bound < cutoff {
        ofSchedule = .max
        let price = try price(schedule, longest.chain, cutoff)
        for kind in kinds {
          guard var sums = try sums(kind, schedule, longest.chain, price, cutoff) else { return 0 }
          var own = operators.map(\.isLeft)
          let bound = max(longest.bound, try ascend(kind, &sums, &own) / chains[schedule][longest.chain].sharers)
          ofSchedule = min(ofSchedule, bound)
          if bound < cutoff { for op in operators.indices { for t in own[op].indices where own[op][t] { left[op][t] = true } } }
        }
      }
      least = min(least, ofSchedule)
    }
    for op in operators.indices { operators[op].isLeft = left[op] }
    return least
  }

  // MARK: - Sums

  /// Nil where they would be too large.
  func sums(_ kind: Kind, _ schedule: Int, _ number: Int, _ price: BlockTables.Price?, _ cutoff: Int64) throws -> Sums? {
    let chain = chains[schedule][number]
    let (target, overflow) = cutoff.multipliedReportingOverflow(by: chain.sharers)
    guard !overflow, target < Problem.largestSum else { return nil }
    var objective = BlockTables.Objective(chain)
    objective.price = price
    do {
      let base = try kind.base.weighed(objective)
      guard let least = try kind.base.least(base) else { return nil }
      let weighed = try kind.tables.map { try $0.weighed(objective) }
      return Sums(
        base: least.sum, baseChoice: least.choice, less: slacks[schedule][number] + (price.map { $0.allowance + rounding($0) } ?? 0), target: target,
        weighed: weighed, charges: operators.map { own in own.alone.map { [Int64](repeating: 0, count: $0.count) } },
        more: operators.indices.map { op in
          let more = more(kind, op, base, weighed, chain)
          return exact.isEmpty
            ? more : self.more(exact[space.recomputes.firstIndex(of: kind.recompute)!], kind, op, base, weighed, chain, price, atLeast: more)
        })
    } catch SearchError.sumOutOfRange {
      return nil
    }
  }

  /// Each node's bytes are rounded up to whole ones.
  func rounding(_ price: BlockTables.Price) -> Int64 {
    let bytes = kinds[0].axes[0].model.operatorNodes.reduce(0) { $0 + price.row.copies[$1.segment] + price.row.kept[$1.segment] }
    return Int64((2 * Double(sizes.count * bytes) * price.ticksPerByte).rounded(.up))
  }

  /// What each strategy of an operator takes more than the sum over its axes: that which is not a start-up grows with the ranks that all do it.
  func more(_ kind: Kind, _ op: OperatorID, _ base: BlockTables.Weighed, _ weighed: [BlockTables.Weighed], _ chain: Chain) -> [Int64] {
    let own = operators[op]
    let weights = chain.segments[kind.baseModel.pricing.graph.segmentOfOperator[op]]
    let alone = kind.baseCost(op, base)
    let growing =
      kind.axes.indices.map { axis in
        Double(max(0, kind.cost(op, axis: axis, own.alone[axis][0], weighed[axis]) - alone)) / Double(sizes[axis] - 1)
      }.min() ?? 0
    let rounding = 4 * Double(weights.forward + weights.backward + weights.once)
    return (0..<own.count).map { number in
      var (ranks, single) = (1.0, 0.0)
      for axis in sizes.indices where own.choices[number * sizes.count + axis] == 0 {
        ranks *= Double(sizes[axis])
        single += Double(sizes[axis]) - 1
      }
      return Int64(max(0, (ranks - 1 - single) * growing - ranks * rounding))
    }
  }

  /// The same where the prices on the mesh are known.
  func more(
    _ exact: Exact, _ kind: Kind, _ op: OperatorID, _ base: BlockTables.Weighed, _ weighed: [BlockTables.Weighed], _ chain: Chain,
    _ price: BlockTables.Price?, atLeast least: [Int64]
  ) -> [Int64] {
    let own = operators[op]
    let alone = kind.baseCost(op, base)
    let costs = zip(sizes.indices, own.alone).map { axis, strategies in
      strategies.map { $0 < 0 ? 0 : kind.cost(op, axis: axis, $0, weighed[axis]) }
    }
    var more = least
    for (strategy, number) in exact.numbers[op].enumerated() {
      var added = alone
      for axis in sizes.indices { added += costs[axis][Int(own.choices[number * sizes.count + axis])] - alone }
      more[number] = max(more[number], exact.cost(op, strategy, chain, price) - added)
    }
    return more
  }
}

extension StrategyBounds.Operator {
  init(_ op: OperatorID, _ rule: OperatorRule, _ axes: [AxisBounds.Problem]) {
    let iteration = rule.iteration.indices.filter { rule.iteration[$0].isSplittable && rule.iteration[$0].extent > 1 }
    let alone = axes.map { axis in
      ([nil] + iteration.map { $0 }).map { wanted in axis.model.strategies[op].firstIndex { $0.assignment[0] == wanted } ?? -1 }
    }
    var choices: [UInt8] = []
    var numbers: [Int?] = []
    var parts = rule.iteration.map { _ in 1 }
    func add(_ chosen: [UInt8], isPossible: Bool) {
      let axis = chosen.count
      if axis == axes.count {
        numbers.append(isPossible ? choices.count / axes.count : nil)
        if isPossible { choices += chosen }
        return
      }
      for choice in 0...iteration.count {
        let loops = choice == 0 ? [] : rule.iteration[iteration[choice - 1]].splits
        for loop in loops { parts[loop] *= axes[axis].size }
        let isWhole = alone[axis][choice] >= 0 && loops.allSatisfy { parts[$0] <= rule.iteration[$0].extent }
        add(chosen + [UInt8(choice)], isPossible: isPossible && isWhole)
        for loop in loops { parts[loop] /= axes[axis].size }
      }
    }
    add([], isPossible: true)
    self.init(
      iteration: iteration, alone: alone, choices: choices, numbers: numbers, isLeft: [Bool](repeating: true, count: choices.count / axes.count))
  }
}

extension StrategyBounds.Exact {
  /// What an operator takes in a chain with its weights, under one of its strategies, with a price on its bytes.
  func cost(_ op: OperatorID, _ strategy: Int, _ chain: Chain, _ price: BlockTables.Price?) -> Int64 {
    func cost(_ index: Int, _ s: Int) -> Int64 {
      let w = chain.segments[model.nodes[index].segment]
      let node = model.nodes[index]
      let time = w.forward * node.forward[s] + w.backward * node.backward[s] + w.once * node.once[s]
      guard let price else { return time }
      let bytes = Int64(price.row.copies[node.segment]) * node.resident[s] + Int64(price.row.kept[node.segment]) * node.kept[s]
      return time + Int64((price.ticksPerByte * Double(bytes)).rounded(.down))
    }
    let own = cost(model.nodeOfOperator[op], strategy)
    guard let weights = weights[op] else { return own }
    return own + (weights.choices[strategy].map { cost(weights.node, $0) }.min() ?? 0)
  }
}
