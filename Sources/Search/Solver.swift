// SPDX-License-Identifier: GPL-3.0-or-later

extension Problem {
  /// The optimal choice, with proof.
  ///
  /// Presolve, then rounds of (elimination with memory relaxed, multipliers by cutting planes, strategies fixed by their bounds, presolve), then
  /// GLPK on what is left, with memory rows added as they are violated. Every choice is re-priced by `evaluate`.
  ///
  /// The result is the same every time, unless the time limit strikes. Of several optimal choices it is one in which no single node can change
  /// to a strategy of the same objective with less memory over all rows, nor of the same memory with a lower number.
  /// - Throws: `SearchError.solverFailed` where GLPK gave up on numerical grounds.
  package func solve(_ options: SolveOptions = SolveOptions()) throws(SearchError) -> Outcome {
    var solver = Solver(self, options)
    return try solver.run()
  }

  /// The least that any choice without forbidden entries uses of a memory row; nil where there is no such choice. Where the time limit strikes,
  /// a lower bound of it.
  package func minimumUsage(ofRow row: Int, stop: StopCondition = StopCondition()) throws(SearchError) -> Int64? {
    precondition(limits.indices.contains(row), "the memory row exists")
    let outcome = try minimisingUsage(ofRow: row).solve(SolveOptions(stop: stop))
    if case .infeasible = outcome.status { return nil }
    return outcome.lowerBound
  }
}

/// One solve from beginning to end.
struct Solver {
  let original: Problem
  let options: SolveOptions
  private let start = ContinuousClock.now
  var statistics = SolveStatistics()
  /// The best choice so far; `base` is it in terms of the problem as presolved first.
  var incumbent: (choice: [Int], base: [Int], objective: Int64)?
  var lowerBound: Int64

  /// What is left to solve: every choice below `target` is in it.
  var current: Problem
  var incidence: Incidence
  var reconstructions: [Reconstruction] = []
  /// The problem as presolved first, without regard to any choice found.
  private(set) var base: Problem
  /// Improves the incumbent, in terms of `base`.
  var search: NeighbourhoodSearch?
  /// Does so on another thread while bounds are raised or GLPK runs; what it finds counts only where time runs out, so that a proven answer is
  /// the same every time.
  var beside: NeighbourhoodSearch?
  /// What message passing last asked for the memory rows of `current`, for it to go on from.
  var rowPrices: MemoryPrices?
  var activeRows: [Int] = []

  init(_ problem: Problem, _ options: SolveOptions) {
    original = problem
    self.options = options
    current = problem
    base = problem
    incidence = problem.incidence()
    lowerBound = problem.sumOfMinima()
    statistics.nodes = problem.nodeCount
    statistics.strategies = problem.strategyCount
  }

  /// Only choices below it are still of interest.
  var target: Int64 { min(incumbent?.objective ?? Problem.forbidden, options.cutoff ?? Problem.forbidden) }
  var stop: StopCondition { options.stop }
  var isLate: Bool { stop.isReached }

  mutating func run() throws(SearchError) -> Outcome {
    guard presolve(cutoff: options.cutoff) else { return try exhausted() }
    base = current
    statistics.presolvedNodes = current.nodeCount
    statistics.presolvedStrategies = current.strategyCount
    if isLate, current.nodeCount > 0 { return outcome(.timeLimit) }
    if let outcome = try solveByElimination() { return outcome }
    let result = if let outcome = try passMessages() { outcome } else { try solveProgramBesideSearch() }
    guard result.status == .timeLimit, let beside else { return result }
    take(beside.choice)
    return outcome(.timeLimit)
  }

  /// Bounds by elimination, and labels; nil where the tables or labels would be too large.
  mutating func solveByElimination() throws(SearchError) -> Outcome? {
    if let outcome = try relax() { return outcome }
    guard options.bounds.isSuperset(of: [.elimination, .labels]) else { return nil }
    return try searchLabels()
  }

  /// Reduces `current`; false where nothing below the target is left.
  mutating func presolve(cutoff: Int64?) -> Bool {
    var presolve = Presolve(current, reductions: options.reductions, cutoff: cutoff)
    guard presolve.run(until: stop) else { return false }
    let result = presolve.result()
    current = result.problem
    rowPrices = rowPrices?.renumbered(result.rowOrigins)
    incidence = current.incidence()
    reconstructions.append(result.reconstruction)
    lowerBound = max(lowerBound, current.sumOfMinima())
    return true
  }

  /// Bounds by elimination, and fixes strategies, until that leaves nothing or stops helping; nil where GLPK must decide.
  private mutating func relax() throws(SearchError) -> Outcome? {
    guard options.bounds.contains(.elimination) else { return nil }
    for _ in 0..<8 {
      guard let relaxation = relaxation() else { return nil }
      var dual = LagrangianDual(relaxation, incidence: incidence)
      let limit = options.bounds.contains(.lagrangian) ? 40 : 0
      try dual.run(limit: limit, stop: stop, target: { target }, offer: { offer($0) })
      statistics.eliminations += dual.iterations
      activeRows = dual.violatedRows
      lowerBound = max(lowerBound, min(dual.bound, target))
      if dual.bound >= target { return try exhausted() }
      if isLate { return outcome(.timeLimit) }
      guard options.bounds.contains(.strategyFixing), target < Problem.forbidden, let best = dual.best else { return nil }
      let bounds = best.boundsByStrategy()
      let (strategies, starts) = (current.strategyCount, current.strategyStarts)
      let reached = target
      current = current.restricting { node, strategy in bounds[starts[node] + strategy] < reached }
      guard presolve(cutoff: target) else { return try exhausted() }
      if current.strategyCount * 10 > strategies * 9 { return nil }
    }
    return nil
  }

  /// Solves what is left by elimination over Pareto sets; nil where these grow too large.
  ///
  /// The target starts close above the bound and moves up only when nothing is found below it: what is found first is optimal then.
  private mutating func searchLabels() throws(SearchError) -> Outcome? {
    guard let relaxation = relaxation() else { return nil }
    var dual = LagrangianDual(relaxation, incidence: incidence)
    try dual.run(limit: options.bounds.contains(.lagrangian) ? 40 : 0, stop: stop, target: { target }, offer: { offer($0) })
    statistics.eliminations += dual.iterations
    lowerBound = max(lowerBound, min(dual.bound, target))
    if dual.bound >= target { return try exhausted() }
    guard let solution = dual.best else { return nil }
    // The rows that have a price; others come in when they turn out to matter.
    var (objectiveRows, memoryRows) = (dual.weighedRows, dual.pricedRows)
    var step = target < Problem.forbidden ? max(1, (target - lowerBound) / 8) : max(1, abs(lowerBound) / 1_000)
    while memoryRows.count + objectiveRows.count <= 8 {
      if isLate { return outcome(.timeLimit) }
      let goal = min(target, lowerBound + step)
      var search = LabelSearch(
        relaxation, solution, objectiveRows: objectiveRows, memoryRows: memoryRows, target: goal,
        largestCount: options.programLimit == nil ? 1 << 19 : 1 << 14, mostWork: options.programLimit == nil ? 1 << 29 : 1 << 24, stop: stop)
      statistics.labelSearches += 1
      switch search.run() {
      case .tooMany: return isLate ? outcome(.timeLimit) : nil
      case .none:
        lowerBound = max(lowerBound, goal)
        if goal >= target { return try exhausted() }
        step = min(step, Problem.largestSum / 4) * 4
      case .best(let choice):
        guard let assignment = Assignment(current, incidence: incidence, choice: choice) else { return nil }
        offer(assignment)
        let relaxed = objectiveRows.reduce(Int64.min) { max($0, assignment.rowValues[$1]) }
        lowerBound = max(lowerBound, min(relaxed, target))
        if assignment.isLegal, assignment.objective == relaxed { return try exhausted() }
        memoryRows += worst(assignment.memory.indices.filter { assignment.memory[$0] > current.limits[$0] }, assignment)
        objectiveRows += assignment.rowValues.indices.filter { assignment.rowValues[$0] > relaxed }.prefix(1)
      }
    }
    return nil
  }

  private func relaxation() -> Relaxation? {
    options.programLimit == nil ? Relaxation(current) : Relaxation(current, largestTable: 1 << 18, mostWork: 1 << 22)
  }

  /// Solves what is left with GLPK.
  mutating func solveProgram() throws(SearchError) -> Outcome {
    if let limit = options.programLimit, current.strategyCount + current.edgeCosts.count > limit.columns { return outcome(.timeLimit) }
    statistics.programNodes = current.nodeCount
    statistics.programStrategies = current.strategyCount
    for _ in 0..<3 {
      let largest = current.largestCost()
      let unit = max(1, Double(largest) / 1e4)
      let program = MarginalProgram(current, unit: unit, aggregates: options.bounds.contains(.aggregation))
      if let outcome = try solve(program) { return outcome }
      // A choice was found, but beside the largest cost the program could not tell it from the best: without entries that reach it, it can.
      guard presolve(cutoff: target) else { return try exhausted() }
      activeRows = []
      guard current.largestCost() < largest else { break }
    }
    if let incumbent, incumbent.objective - lowerBound <= Outcome.tolerance(of: incumbent.objective) { return outcome(.optimal) }
    return outcome(.timeLimit)
  }

  /// Solves one program, adding memory rows as they are violated; nil where the answer is not exact enough.
  private mutating func solve(_ program: MarginalProgram) throws(SearchError) -> Outcome? {
    var glpk = try GLPK(program.program)
    var active = Set<Int>()
    for row in activeRows where row < current.limits.count && active.insert(row).inserted {
      try glpk.add(program.memoryRow(row, loads: loads(of: row)))
    }
    while true {
      let goal = target
      let stopsAt = goal < Problem.forbidden ? (Double(goal - program.origin) - 0.5) / program.unit : .infinity
      guard !isLate else { return outcome(.timeLimit) }
      var solution = try glpk.solveInteger(stop: stop, stopsAt: stopsAt, limit: options.programLimit)
      statistics.programsSolved += 1
      statistics.branchNodes += solution.branchNodes
      if solution.status == .failed {
        // Perhaps it was the presolver: once more without.
        solution = try glpk.solveInteger(stop: stop, stopsAt: stopsAt, presolves: false)
        if solution.status == .failed {
          guard incumbent == nil, options.programLimit == nil else { return outcome(.timeLimit) }
          throw .solverFailed(function: "glp_intopt", code: 0)
        }
      }
      let error = 1e-7 * (1 + abs(solution.objective.isFinite ? solution.objective : stopsAt)) * program.unit
      if solution.status != .infeasible, solution.bound.isFinite { raiseBound(solution.bound * program.unit - error, from: program.origin) }
      if solution.status == .infeasible { return try exhausted() }
      if solution.bound >= stopsAt { return try exhausted(isExact: false) }
      guard solution.status == .optimal else { return outcome(.timeLimit) }

      let choice = program.choice(from: solution.values)
      guard let assignment = Assignment(current, incidence: incidence, choice: choice) else {
        throw .solverFailed(function: "glp_intopt", code: 0)
      }
      offer(assignment)
      let tolerance = options.isExact ? 0 : incumbent.map { Outcome.tolerance(of: $0.objective) } ?? 0
      if let incumbent, incumbent.objective - lowerBound <= tolerance { return outcome(.optimal) }
      if assignment.isLegal { return incumbent == nil ? try exhausted() : nil }
      let violated = assignment.memory.indices.filter { assignment.memory[$0] > current.limits[$0] }
      let fresh = violated.filter { !active.contains($0) }
      if fresh.isEmpty, let row = violated.first {
        // Exceeded by less than GLPK's tolerance.
        try glpk.add(program.coverRow(row, loads: loads(of: row), choice: choice))
      }
      for row in worst(fresh, assignment) {
        active.insert(row)
        try glpk.add(program.memoryRow(row, loads: loads(of: row)))
        statistics.memoryRowsAdded += 1
      }
    }
  }

  /// The few rows exceeded most, relative to their limits.
  private func worst(_ rows: [Int], _ assignment: Assignment) -> ArraySlice<Int> {
    func ratio(_ row: Int) -> Double { Double(assignment.memory[row]) / Double(max(1, current.limits[row])) }
    return rows.sorted { ratio($0) != ratio($1) ? ratio($0) > ratio($1) : $0 < $1 }.prefix(4)
  }

  private func loads(of row: Int) -> [Int] { current.loads.indices.filter { current.loads[$0].rows.contains(row) } }

  /// Raises the lower bound to a value that GLPK proved, up to its tolerance; whole costs make the next whole number a bound.
  private mutating func raiseBound(_ value: Double, from origin: Int64) {
    guard abs(value) < Double(Problem.blocked) else { return }
    lowerBound = max(lowerBound, min(origin + Int64((value - 1e-9).rounded(.up)), target))
  }

  /// Takes a choice of `current`, made legal and improved by single moves, as the incumbent if it is below the target.
  mutating func offer(_ assignment: Assignment) {
    var assignment = assignment
    guard assignment.isLegal || current.nodeCount <= 2_000 && assignment.repair() else { return }
    assignment.descend()
    guard assignment.objective < target else { return }
    take(reconstructions.dropFirst().reversed().reduce(assignment.choice) { $1.expand($0) })
  }

  /// Takes a choice of `base` as the incumbent if it is below the target.
  mutating func take(_ choice: [Int]) {
    let whole = reconstructions.first?.expand(choice) ?? choice
    let evaluation = original.evaluate(whole)
    guard evaluation.isLegal, evaluation.objective < Int128(target) else { return }
    incumbent = (whole, choice, Int64(evaluation.objective))
  }

  /// Nothing below the target is left: the incumbent is optimal, or there is none.
  /// - Parameter isExact: false where GLPK says so, whose bound, less its tolerance, has been taken as `lowerBound` already.
  mutating func exhausted(isExact: Bool = true) throws(SearchError) -> Outcome {
    if let incumbent {
      if isExact || incumbent.objective - lowerBound > Outcome.tolerance(of: incumbent.objective) { lowerBound = incumbent.objective }
      return outcome(.optimal)
    }
    if let cutoff = options.cutoff {
      lowerBound = max(lowerBound, cutoff)
      return outcome(.cutoff)
    }
    lowerBound = Problem.forbidden
    return outcome(.infeasible(try infeasibility()))
  }

  private func infeasibility() throws(SearchError) -> Outcome.Infeasibility {
    guard !original.limits.isEmpty else { return .forbidden }
    var worst: (row: Int, least: Int64)?
    let rows = original.limits.indices.prefix(16)
    for row in rows {
      if isLate { return .memoryUndetermined }
      guard let least = try original.minimumUsage(ofRow: row, stop: stop) else { return .forbidden }
      guard least > original.limits[row] else { continue }
      if let known = worst, known.least - original.limits[known.row] >= least - original.limits[row] { continue }
      worst = (row, least)
    }
    if let worst { return .memory(row: worst.row, least: worst.least, limit: original.limits[worst.row]) }
    return rows.count == original.limits.count ? .memoryTogether : .memoryUndetermined
  }

  func outcome(_ status: Outcome.Status) -> Outcome {
    var final = incumbent.map { (choice: $0.choice, objective: $0.objective) }
    if options.settlesTies, let incumbent, var assignment = Assignment(original, incidence: original.incidence(), choice: incumbent.choice) {
      assignment.settleTies()
      let evaluation = original.evaluate(assignment.choice)
      if evaluation.isLegal, evaluation.objective <= Int128(incumbent.objective) { final = (assignment.choice, Int64(evaluation.objective)) }
    }
    let elapsed = ContinuousClock.now - start
    return Outcome(
      status: status, choice: final?.choice, objective: final?.objective, lowerBound: min(lowerBound, final?.objective ?? lowerBound),
      statistics: statistics, seconds: elapsed / .seconds(1))
  }
}

extension Problem {
  /// A lower bound of every legal choice: each node and edge takes its least cost, in the objective row where that is most.
  func sumOfMinima() -> Int64 {
    let rows = offsets.count
    return offsets.indices.reduce(-Problem.forbidden) { most, row in
      var sum = Int128(offsets[row])
      for node in 0..<nodeCount {
        var least = Problem.forbidden
        for strategy in 0..<strategyCount(of: node) { least = min(least, cost(node: node, strategy: strategy, row: row)) }
        sum += Int128(least)
      }
      for edge in edges {
        let count = strategyCount(of: edge.tail) * strategyCount(of: edge.head)
        var least = Problem.forbidden
        for entry in 0..<count { least = min(least, edgeCosts[edge.start + entry * rows + row]) }
        sum += Int128(least)
      }
      return max(most, Int64(min(sum, Int128(Problem.forbidden))))
    }
  }

  /// The largest magnitude of an allowed cost.
  func largestCost() -> Int64 {
    var largest: Int64 = 0
    for cost in nodeCosts where cost < Problem.forbidden { largest = max(largest, abs(cost)) }
    for cost in edgeCosts where cost < Problem.forbidden { largest = max(largest, abs(cost)) }
    return largest
  }
}
