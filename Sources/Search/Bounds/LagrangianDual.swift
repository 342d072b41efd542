// SPDX-License-Identifier: GPL-3.0-or-later

/// Finds good weights and multipliers for a `Relaxation`: maximises the concave, piecewise linear L(w, λ) by cutting planes
/// (Kelley, 1960). Each run of the elimination yields a choice s, and with it a plane above L:
///
///     L(w, λ) ≤ Σ_k w_k row_k(s) + Σ_r λ_r (usage_r(s) − limit_r)
///
/// The next point maximises the lower envelope of the planes: a linear program with as many columns as there are objective and violated memory
/// rows. With one memory row this is the intersection method, which ends after a few points. Multipliers are measured in (cost unit / limit).
struct LagrangianDual {
  private let relaxation: Relaxation
  private let incidence: Incidence
  private let problem: Problem
  private var planes: [Plane] = []
  private var activeRows: [Int] = []
  private(set) var best: Relaxation.Solution?
  /// The memory rows with a multiplier above 0 in `best`.
  private(set) var pricedRows: [Int] = []
  /// The objective rows with a weight above 0 in `best`.
  private(set) var weighedRows: [Int] = []
  private(set) var iterations = 0

  private struct Plane {
    let rowValues: [Int64]
    let memory: [Int64]
  }

  init(_ relaxation: Relaxation, incidence: Incidence) {
    self.relaxation = relaxation
    self.incidence = incidence
    problem = relaxation.problem
  }

  var bound: Int64 { best?.bound ?? .min }
  /// The memory rows that some relaxed choice exceeded.
  var violatedRows: [Int] { activeRows }

  /// Runs up to `limit` eliminations, offering each choice found; stops once the bound reaches what `target` returns (the value of the best
  /// choice known or the cutoff).
  mutating func run(
    limit: Int, stop: StopCondition, target: () -> Int64, offer: (Assignment) -> Void
  ) throws(SearchError) {
    for row in problem.offsets.indices {
      try step(weights: problem.offsets.indices.map { $0 == row ? 1 : 0 }, multipliers: [], offer: offer)
      if bound >= target() { return }
    }
    while iterations < limit {
      if stop.isReached { return }
      activateViolatedRows()
      guard problem.objectiveRowCount > 1 || !activeRows.isEmpty else { return }
      guard let next = try master() else { return }
      let known = target()
      let room = known < Problem.blocked ? Double(known) - Double(bound) : abs(next.height)
      guard next.height - Double(bound) > max(0.5, 1e-4 * room) else { return }
      try step(weights: next.weights, multipliers: next.multipliers, offer: offer)
      if bound >= target() { return }
    }
  }

  private mutating func step(
    weights: [Double], multipliers: [(row: Int, value: Double)], offer: (Assignment) -> Void
  ) throws(SearchError) {
    iterations += 1
    let solution = relaxation.solve(weights: weights, multipliers: multipliers)
    if solution.bound > bound {
      best = solution
      weighedRows = weights.indices.filter { weights[$0] > 1e-9 }
      pricedRows = multipliers.filter { $0.value > 0 }.map(\.row)
    }
    guard solution.bound < Problem.forbidden, let assignment = Assignment(problem, incidence: incidence, choice: solution.choice) else { return }
    planes.append(Plane(rowValues: assignment.rowValues, memory: assignment.memory))
    offer(assignment)
  }

  /// The few memory rows that the latest choice exceeds most, relative to their limits.
  private mutating func activateViolatedRows() {
    guard let memory = planes.last?.memory else { return }
    let violated = memory.indices.filter { memory[$0] > problem.limits[$0] && !activeRows.contains($0) }
    let worst = violated.sorted { a, b in
      let (x, y) = (Double(memory[a]) / Double(max(1, problem.limits[a])), Double(memory[b]) / Double(max(1, problem.limits[b])))
      return x != y ? x > y : a < b
    }
    activeRows += worst.prefix(4)
  }

  /// The point where the planes' lower envelope is highest.
  private func master() throws(SearchError) -> (height: Double, weights: [Double], multipliers: [(row: Int, value: Double)])? {
    let origin = bound
    let unit = Double(max(1, planes.reduce(Int64(1)) { most, plane in max(most, plane.rowValues.reduce(0) { max($0, abs($1 - origin)) }) }))
    var program = LinearProgram()
    let height = program.add(.init(lower: -.infinity, cost: -1))
    let weights = problem.offsets.map { _ in program.add(.init(upper: 1)) }
    let multipliers = activeRows.map { _ in program.add(.init(upper: 1e6)) }
    program.rows.append(.equal(1, weights.map { ($0, 1) }))
    for plane in planes {
      var terms = [(column: height, value: 1.0)]
      for (row, column) in weights.enumerated() { terms.append((column, -Double(plane.rowValues[row] - origin) / unit)) }
      for (row, column) in zip(activeRows, multipliers) {
        terms.append((column, -Double(plane.memory[row] - problem.limits[row]) / Double(max(1, problem.limits[row]))))
      }
      program.rows.append(.atMost(0, terms.filter { $0.value != 0 }))
    }
    var glpk = try GLPK(program)
    let solution = try glpk.solveRelaxation(stop: StopCondition())
    guard solution.status == .optimal else { return nil }
    return (
      solution.values[height] * unit + Double(origin), weights.map { max(0, solution.values[$0]) },
      zip(activeRows, multipliers).map { row, column in
        (row, max(0, solution.values[column]) * unit / Double(max(1, problem.limits[row])))
      }
    )
  }
}
