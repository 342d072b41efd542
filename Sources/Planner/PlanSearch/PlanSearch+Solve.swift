// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Quantities
import Search
import Strategies

/// One configuration, solved exactly.
extension PlanSearch {
  /// - Parameter isSeed: whether the first good plan will do.
  /// - Returns: why there is nothing of interest, where a lower bound says so.
  mutating func solve(
    _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], first: Int = 0, bound: Int64, _ known: FrameModel? = nil, isSeed: Bool = false
  ) throws -> Exclusion? {
    if isLate {
      leaveOpen(bound)
      return nil
    }
    let ties = space.ties(frame, cut: cut, first: first)
    guard let frameModel = try known ?? frameModel(frame, ties) else { return nil }
    let configuration = Configuration(frame, schedule, cut, first: first, space: space)
    priced += 1
    let objective: BlockTables.Objective
    let paths: [PipelineTimeline.Path]
    switch try weigh(configuration, frameModel, isKnown: known != nil, schedule, cut, first, bound: bound) {
    case .excluded(let why): return why
    case .open(let closest, let chains): (objective, paths) = (closest, chains)
    }
    var reduced: FoldedModel?
    if isSeed, best != nil { return nil }
    // What no plan of interest can take is left out of the complete problem.
    if let cutoff, let bounds = try frameModel.minimum.leastByStrategy(objective, below: cutoff) {
      reduced = restricted(frameModel, bounds, cutoff)
      if reduced!.isPossible { reduced!.connect(variants: frameModel.variants) }
    }
    let model = reduced ?? frameModel.connected
    if !model.isPossible {
      if reduced == nil { note(.forbidden) }
      return nil
    }
    try solveExactly(model, frame, schedule, cut, first, configuration, paths: paths, bound: bound, tellsWhy: true)
    return nil
  }

  /// What a configuration promises before it is solved.
  private enum Promise {
    /// Nothing of interest, and why where it is known.
    case excluded(Exclusion?)
    /// The weighted sum whose least is the closest bound, and the chains seen so far.
    case open(BlockTables.Objective, [PipelineTimeline.Path])
  }

  /// Bounds a configuration by its most promising chain, with a price on memory where one is needed; tries the choice that this gives, and bounds the
  /// configuration by the chain which that choice's time line shows to be longer.
  ///
  /// - Parameter isKnown: whether the model is one of its own, of which nothing is remembered.
  private mutating func weigh(
    _ configuration: Configuration, _ model: FrameModel, isKnown: Bool, _ schedule: Schedule, _ cut: [Int], _ first: Int, bound: Int64
  ) throws -> Promise {
    var paths = [configuration.promisingPath(model.operators)]
    var objective = BlockTables.Objective(configuration, paths[0], model.operators)
    let key = RelaxedKey(frame: model.frame, ties: model.ties, weights: configuration.weights(model.operators, paths[0]))
    let atMost = cutoff ?? Problem.largestSum
    guard let relaxed = try isKnown ? model.minimum.least(objective, cutoff: atMost) : relaxed(model, objective, key, atMost) else {
      return .excluded(nil)
    }
    var least = relaxed.sum
    var pricedRow: (load: Configuration.Load, op: Int)?
    func excluded() -> Promise {
      let path = paths[paths.count - 1]
      guard let price = objective.price, let row = pricedRow else { return .excluded(Exclusion(ties: model.ties, path: path, price: nil)) }
      let segment = model.operators.nodes[row.op].segment
      let loads = configuration.loads(ofStage: row.load.stage).map { configuration.load($0, whileRunning: segment) }
      guard let number = loads.firstIndex(of: row.load) else { return .excluded(nil) }
      return .excluded(Exclusion(ties: model.ties, path: path, price: (row.load.stage, number, row.op, price.ticksPerByte)))
    }
    if least >= atMost { return excluded() }
    guard var choice = relaxed.choice else { return .open(objective, paths) }
    let rows = configuration.memoryRows(model.operators).filter { $0.load.share == 0 }
    let used = rows.map { model.minimum.memory(choice, $0.load.row($0.op)) }
    if let most = used.indices.max(by: { used[$0] < used[$1] }), used[most] > limit {
      if best == nil, try exceedsMemory(model, rows, first: most) { return .excluded(nil) }
      let (load, op) = rows[most]
      let priced = try boundWithPrice([model], objective, load.row(op), load.stage, relaxed: choice, model.frame, atMost)
      if priced.bound > least { (least, objective.price, pricedRow) = (priced.bound, priced.price, rows[most]) }
      if least >= atMost { return excluded() }
      guard let fitting = priced.fitting else { return .open(objective, paths) }
      choice = fitting
    }
    guard let times = model.minimum.stageTimes(choice, configuration) else { return .open(objective, paths) }
    let timeline = configuration.timeline(times)
    if timeline.end < atMost {
      try attempt(choice, model, schedule, cut, first, bound: bound)
      if let cutoff, least >= cutoff { return excluded() }
    }
    guard let cutoff, timeline.critical != paths[0] else { return .open(objective, paths) }
    paths.append(timeline.critical)
    var other = BlockTables.Objective(configuration, timeline.critical, model.operators)
    other.price = objective.price
    guard let longer = try model.minimum.least(other, cutoff: cutoff) else { return .excluded(nil) }
    if longer.sum >= cutoff { return excluded() }
    return .open(longer.sum > least ? other : objective, paths)
  }

  /// Cutting planes over chains.
  ///
  /// - Parameters:
  ///   - model: connected.
  ///   - tellsWhy: whether it is worth remembering what a configuration without a plan lacks.
  private mutating func solveExactly(
    _ model: FoldedModel, _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], _ first: Int, _ configuration: Configuration,
    paths: [PipelineTimeline.Path], bound: Int64, tellsWhy: Bool = false
  ) throws {
    var paths = paths
    while true {
      let problem = try configuration.problem(model, paths: paths, limit: limit)
      let outcome = try problem.solve(SolveOptions(stop: monitor.stop, cutoff: cutoff))
      switch outcome.status {
      case .cutoff: return
      case .infeasible(let why):
        if tellsWhy, why != .forbidden { infeasible += 1 }
        if tellsWhy, best == nil { note(try exactly(why, configuration, model)) }
        return
      case .timeLimit:
        if let choice = outcome.choice { _ = record(model, frame, schedule, cut, first, configuration, choice) }
        leaveOpen(max(bound, outcome.lowerBound))
        return
      case .optimal: break
      }
      guard let choice = outcome.choice else { return }
      let timeline = record(model, frame, schedule, cut, first, configuration, choice)
      if timeline.end <= outcome.lowerBound + Outcome.tolerance(of: timeline.end) || paths.contains(timeline.critical) { return }
      paths.append(timeline.critical)
    }
  }

  /// Solves a configuration with every operator's layouts given: how its weights are shared out and what is held of shared tensors is left.
  mutating func attempt(
    _ choice: [Int], _ frameModel: FrameModel, _ schedule: Schedule, _ cut: [Int], _ first: Int, bound: Int64
  ) throws {
    let operators = frameModel.operators
    var model = filtered(frameModel) { op, strategy in strategy == choice[operators.nodeOfOperator[op]] }
    guard model.isPossible else { return }
    model.connect(variants: frameModel.variants)
    let configuration = Configuration(frameModel.frame, schedule, cut, first: first, space: space)
    let wasOpen = open
    try solveExactly(model, frameModel.frame, schedule, cut, first, configuration, paths: [configuration.promisingPath(operators)], bound: bound)
    // What is left open here is still to be solved.
    open = wasOpen
  }

  static let mostPrices = 5

  mutating func record(
    _ model: FoldedModel, _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], _ first: Int, _ configuration: Configuration, _ choice: [Int]
  ) -> PipelineTimeline {
    let choice = model.withoutIdleHoldings(choice)
    // Where nothing is gathered, it is the plan that keeps what is.
    let frame = space.frame(frame, gatheringIn: model.gatheringSegments(choice))
    let timeline = configuration.timeline(configuration.stageTimes(model, choice))
    let known = found.firstIndex { $0.frame.configuration == frame.configuration && $0.schedule == schedule }
    if timeline.end < (known ?? (found.count < space.request.top ? nil : found.count - 1)).map({ found[$0].objective }) ?? .max {
      let strategies = model.strategies.indices.map { model.strategies[$0][choice[model.nodeOfOperator[$0]]] }
      if let known { found.remove(at: known) } else if found.count == space.request.top { found.removeLast() }
      let candidate = Candidate(
        frame: frame, schedule: schedule, cut: cut, first: first, strategies: strategies, zero: model.zeroStages(choice),
        objective: timeline.end)
      found.insert(candidate, at: found.firstIndex { $0.objective > timeline.end } ?? found.count)
    }
    return timeline
  }

  /// By how much a configuration misses the limit where single memory rows do not tell: the least that its fullest stage can need, by cutting
  /// planes over the rows.
  func exactly(_ why: Outcome.Infeasibility, _ configuration: Configuration, _ model: FoldedModel) throws -> Outcome.Infeasibility {
    guard why == .memoryTogether || why == .memoryUndetermined else { return why }
    let rows = configuration.memoryRows(model)
    var seen = [0]
    while !isLate {
      let outcome = try configuration.memoryProblem(model, rows: seen.map { rows[$0] }).solve(SolveOptions(stop: monitor.stop))
      guard case .optimal = outcome.status, let choice = outcome.choice else { break }
      let uses = rows.map { Configuration.memory(model, choice, row: $0) }
      guard let most = uses.indices.max(by: { (uses[$0], $1) < (uses[$1], $0) }) else { break }
      if seen.contains(most) { return .memory(row: most, least: outcome.lowerBound, limit: limit) }
      seen.append(most)
    }
    return .memory(row: 0, least: limit + 1, limit: limit)
  }

  /// Remembers the infeasible configuration that comes closest to fitting.
  mutating func note(_ why: Outcome.Infeasibility) {
    switch why {
    case .forbidden: if shortfall == nil { shortfall = .constraints }
    case .memory(_, var least, let given):
      // Of a stage with less memory than the largest device, as if the rest were taken.
      least += limit - given
      if case .memory(let known, _) = shortfall, known <= least { return }
      shortfall = .memory(least: least, limit: limit)
    case .memoryTogether, .memoryUndetermined: break
    }
  }
}
