// SPDX-License-Identifier: GPL-3.0-or-later

/// Raises the bound of `MessagePassing` over messages and memory prices together, and finds legal choices on the way.
///
/// Between passes the prices move along what a rounded choice uses beyond the limits, averaged over the last ones (the volume algorithm; Barahona
/// and Anbil, 2000). The step goes a share of the way to the goal (Polyak); where the bound has fallen far behind the best one, the
/// search goes back there with half the share.
struct PriceAscent {
  private let problem: Problem
  private let incidence: Incidence
  private(set) var messages: MessagePassing
  /// The messages and prices of the best bound.
  private(set) var best: MessagePassing
  private var rounding: Rounding
  private var average: [Double]
  private var share = 0.3
  private var stepsSinceBest = 0
  private(set) var steps = 0

  /// - Parameter prices: where to begin; nil: at 0.
  init(_ problem: Problem, incidence: Incidence, prices: MemoryPrices?) {
    self.problem = problem
    self.incidence = incidence
    // Prices are about as large as if all of the objective were the price of the largest limit.
    let scale = Double(max(1, problem.sumOfMagnitudes())) / Double(max(1, problem.limits.max() ?? 1))
    let zero = MemoryPrices(rowCount: problem.limits.count, unit: scale)
    messages = MessagePassing(problem, incidence: incidence, prices: prices ?? zero)
    if prices != nil { share = 0.02 }
    best = messages
    rounding = Rounding(problem, incidence: incidence)
    average = [Double](repeating: 0, count: problem.limits.count)
  }

  var bound: Int64 { best.bound }

  /// - Parameters:
  ///   - goal: the objective of the best choice known, if any.
  ///   - passes: how many passes come between two changes of the prices.
  /// - Returns: what rounding gave, if anything: legal but for the memory rows.
  mutating func step(goal: Int64?, passes: Int, stop: StopCondition) -> Assignment? {
    for pass in 0..<passes where pass == 0 || !stop.isReached { messages.pass() }
    steps += 1
    if messages.bound > best.bound || steps == 1 {
      best = messages
      stepsSinceBest = 0
    } else {
      stepsSinceBest += 1
      let room = goal.map { Double($0) - Double(best.bound) } ?? abs(Double(best.bound))
      if Double(best.bound) - Double(messages.bound) > 0.5 * max(room, 1) || stepsSinceBest >= 20 {
        messages = best
        share *= 0.6
        stepsSinceBest = 0
      }
    }
    guard let choice = rounding.choice(messages, attempts: 20, stop: stop),
      let assignment = Assignment(problem, incidence: incidence, choice: choice)
    else { return nil }
    if !problem.limits.isEmpty { movePrices(assignment.memory, goal: goal) }
    return assignment
  }

  private mutating func movePrices(_ memory: [Int64], goal: Int64?) {
    let mix = steps == 1 ? 1.0 : 0.25
    var norm = 0.0
    let old = messages.prices
    for row in memory.indices {
      average[row] += mix * (Double(memory[row]) - average[row])
      let excess = average[row] - Double(problem.limits[row])
      if excess > 0 || old[row] > 0 { norm += excess * excess }
    }
    guard norm > 0 else { return }
    let bound = Double(messages.bound)
    let target = goal.map { Double($0) } ?? bound + 0.05 * max(abs(bound), 1)
    let length = share * max(target - bound, 0) / norm
    guard length > 0 else { return }
    var next = old
    for row in memory.indices {
      let excess = average[row] - Double(problem.limits[row])
      if excess > 0 || old[row] > 0 { next.set(row, to: max(0, old[row] + length * excess)) }
    }
    messages.price(next)
  }
}

extension Problem {
  /// The sum over nodes and edges of their largest allowed magnitude.
  func sumOfMagnitudes() -> Int64 {
    var sum: Int64 = 0
    for node in 0..<nodeCount {
      var largest: Int64 = 0
      for strategy in 0..<strategyCount(of: node) {
        let cost = cost(node: node, strategy: strategy)
        if cost < Problem.forbidden { largest = max(largest, abs(cost)) }
      }
      sum += largest
    }
    return sum
  }
}
