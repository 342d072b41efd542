// SPDX-License-Identifier: GPL-3.0-or-later

/// What elimination cannot bound: message passing bounds it, its messages are rounded to choices, neighbourhoods improve these, and what a
/// strategy or an entry costs at least beyond the bound fixes most of the problem once the gap is small.
extension Solver {
  /// Nil where GLPK must decide what is left.
  mutating func passMessages() throws(SearchError) -> Outcome? {
    guard options.bounds.contains(.messages), options.programLimit == nil, current.objectiveRowCount == 1 else { return nil }
    for round in 0... {
      var ascent = PriceAscent(current, incidence: incidence, prices: rowPrices)
      // Small programs are better left to GLPK soon.
      let nearest = climb(&ascent, steps: isSmallForProgram ? 200 : 800 << min(round, 4), slowness: 100 << min(round, 6))
      if ascent.bound >= target { return try exhausted() }
      if isLate { return outcome(.timeLimit) }
      if incumbent == nil, let nearest {
        let limit = 60 << min(round, 6)
        let legal = current.withinLimits(nearest, incidence: incidence, threads: options.threads, fruitless: limit, stop: stop)
        if let legal { offer(legal) }
      }

      // The messages speak of `base` only until something has been taken out of it.
      improve(guide: reconstructions.count == 1 ? ascent.best : nil, fruitless: 30 << min(round, 4), most: 100 << min(round, 4))
      if target <= lowerBound { return try exhausted() }
      if isLate { return outcome(.timeLimit) }
      guard target < Problem.forbidden else {
        if isSmallForProgram { return nil }
        continue
      }

      let (strategies, entries) = (current.strategyCount, current.edgeCosts.count)
      rowPrices = ascent.best.prices
      current = ascent.best.restricted(below: target)
      guard presolve(cutoff: target) else { return try exhausted() }
      if isLate { return outcome(.timeLimit) }
      if let outcome = try solveByElimination() { return outcome }
      let hasShrunk = current.strategyCount * 20 < strategies * 19 || current.edgeCosts.count * 20 < entries * 19
      if isSmallForProgram, !hasShrunk { return nil }
    }
    return nil
  }

  /// Whether GLPK is likely to solve the relaxation of what is left in seconds.
  private var isSmallForProgram: Bool { current.strategyCount + current.edgeCosts.count <= 30_000 }

  /// Raises the bound until that gets slow, and offers what rounding gives.
  /// - Parameters:
  ///   - steps: how many changes of the prices there may be.
  ///   - slowness: it is slow where 20 steps close less than one part in so many of the gap.
  /// - Returns: where nothing was legal, what exceeded the limits least.
  private mutating func climb(_ ascent: inout PriceAscent, steps: Int, slowness: Int) -> Assignment? {
    var last = ascent.bound
    var nearest: Assignment?
    var background: BackgroundSearch?
    defer { if let background { beside = background.finish() } }
    for step in 1...steps {
      let goal = target < Problem.forbidden ? target : nil
      if let assignment = ascent.step(goal: goal, passes: 3, stop: stop) {
        if assignment.isLegal { offer(assignment) }
        if assignment.excess < nearest?.excess ?? .max { nearest = assignment }
      }
      statistics.messagePasses += 3
      lowerBound = max(lowerBound, min(ascent.bound, target))
      if isLate || ascent.bound >= target { return nearest }
      if background == nil, options.threads > 1, let known = incumbent, let search = beside ?? newSearch(seed: 2) {
        background = BackgroundSearch(search, from: known.base, stop: stop)
      }
      guard step % 20 == 0, target < Problem.forbidden else { continue }
      if Int128(ascent.bound - last) * Int128(slowness) < Int128(target - ascent.bound) { return nearest }
      // Where much can go already, what is left is bounded faster.
      let excluded = ascent.best.excludedStrategies(below: target).reduce(0) { $0 + ($1 ? 1 : 0) }
      if excluded * 5 > current.strategyCount { return nearest }
      last = ascent.bound
    }
    return nearest
  }

  /// Solves the program, and searches neighbourhoods meanwhile on another thread; what that finds counts only where time runs out, so that a proven
  /// answer is the same every time.
  mutating func solveProgramBesideSearch() throws(SearchError) -> Outcome {
    guard let known = incumbent, let search = beside ?? search, options.threads > 1 else { return try solveProgram() }
    let background = BackgroundSearch(search, from: known.base, stop: stop)
    defer { beside = background.finish() }
    return try solveProgram()
  }

  /// A search of neighbourhoods of the incumbent.
  private func newSearch(seed: UInt64) -> NeighbourhoodSearch? {
    guard let known = incumbent, let start = Assignment(base, incidence: base.incidence(), choice: known.base) else { return nil }
    return NeighbourhoodSearch(base, incidence: base.incidence(), assignment: start, seed: seed)
  }

  /// Searches neighbourhoods of the incumbent until `fruitless` of them in a row were, or `most` were tried.
  private mutating func improve(guide: MessagePassing?, fruitless: Int, most: Int) {
    guard let known = incumbent else { return }
    if search == nil { search = newSearch(seed: 1) }
    if let guide { search?.follow(guide) }
    search?.restart(from: known.base)
    var (failures, tries) = (0, 0)
    // Small problems have few neighbourhoods.
    let fruitless = min(fruitless, max(4, base.nodeCount / 8))
    while failures < fruitless, tries < most, !isLate, search?.isExhausted != true {
      guard var now = search else { return }
      search = nil
      let before = now.improvements
      now.round(threads: options.threads, stop: stop)
      failures = now.improvements > before ? 0 : failures + options.threads
      tries += options.threads
      statistics.neighbourhoods += options.threads
      if now.improvements > before { take(now.choice) }
      search = now
      if target <= lowerBound { return }
    }
  }
}

extension MessagePassing {
  /// The problem without the strategies and entries that cost at least `target` beyond doubt: a choice that takes one asks at least the bound, what
  /// the strategies ask of their nodes, and of each edge the least that goes with them.
  func restricted(below target: Int64) -> Problem {
    var result = problem
    let room = target - bound
    for (strategy, isExcluded) in excludedStrategies(below: target).enumerated() where isExcluded { result.nodeCosts[strategy] = Problem.forbidden }
    for (number, edge) in problem.edges.enumerated() {
      let (tailStart, headStart) = (problem.strategyStarts[edge.tail], problem.strategyStarts[edge.head])
      let width = problem.strategyCount(of: edge.head)
      for p in 0..<problem.strategyCount(of: edge.tail) {
        for q in 0..<width where plus(asked(number, p, q), plus(costs[tailStart + p], costs[headStart + q])) >= room {
          result.edgeCosts[edge.start + p * width + q] = Problem.forbidden
        }
      }
    }
    return result
  }

  /// For each strategy whether every choice that takes it asks at least `target`.
  func excludedStrategies(below target: Int64) -> [Bool] {
    let room = target - bound
    var isExcluded = costs.map { $0 >= room }
    for node in 0..<problem.nodeCount {
      let start = problem.strategyStarts[node]
      for strategy in 0..<problem.strategyCount(of: node) where !isExcluded[start + strategy] {
        var asked = costs[start + strategy]
        for edge in incidence.edges(of: node) where asked < room { asked = plus(asked, leastAsked(edge, of: node, strategy)) }
        isExcluded[start + strategy] = asked >= room
      }
    }
    return isExcluded
  }

  /// The least that `edge` and the node at its other end ask where `node` takes `strategy`.
  private func leastAsked(_ edge: Int, of node: Int, _ strategy: Int) -> Int64 {
    let ends = problem.edges[edge]
    let isTail = ends.tail == node
    let other = isTail ? ends.head : ends.tail
    let start = problem.strategyStarts[other]
    var least = Problem.forbidden
    for q in 0..<problem.strategyCount(of: other) {
      least = min(least, plus(isTail ? asked(edge, strategy, q) : asked(edge, q, strategy), costs[start + q]))
    }
    return least
  }
}
