// SPDX-License-Identifier: GPL-3.0-or-later
import TestSupport
import Testing

@testable import Search

/// Message passing, prices, neighbourhoods, and what they share with presolve, against code that does the same the plain way.
@Suite struct MessageTests {
  /// Messages and prices bound every legal choice, whatever they are, and what they forbid reaches the target.
  @Test(arguments: 0..<200) func messagesBoundFromBelowAndForbidOnlyWhatReachesTheTarget(seed: Int) throws {
    let problem = try randomProblem(seed: 110_000 + seed)
    var presolve = Presolve(problem, reductions: .arcConsistency, cutoff: nil)
    guard problem.objectiveRowCount == 1, presolve.run() else { return }
    let reduced = presolve.result().problem
    guard let optimum = exhaustiveOptimum(reduced) else { return }
    let incidence = reduced.incidence()
    var ascent = PriceAscent(reduced, incidence: incidence, prices: nil)
    for _ in 0..<30 {
      let assignment = ascent.step(goal: optimum + 3, passes: 2, stop: StopCondition())
      #expect(ascent.messages.bound <= optimum || !reduced.limits.isEmpty, "seed \(seed)")
      if let assignment { #expect(reduced.evaluate(assignment.choice).isLegal == assignment.isLegal, "seed \(seed)") }
    }
    #expect(ascent.bound <= optimum, "seed \(seed)")
    // Only the optimum and what is as good is asked for: it stays.
    #expect(exhaustiveOptimum(ascent.best.restricted(below: optimum + 1)) == optimum, "seed \(seed)")
  }

  /// A neighbourhood's choices cost, and are legal, as in the whole.
  @Test(arguments: 0..<200) func aNeighbourhoodIsThePartOfTheWhole(seed: Int) throws {
    let problem = try randomProblem(seed: 120_000 + seed, largestNodeCount: 7)
    var random = SeededGenerator(seed: seed)
    var choice: [Int] = []
    for node in 0..<problem.nodeCount { choice.append(Int.random(in: 0..<problem.strategyCount(of: node), using: &random)) }
    let whole = problem.evaluate(choice)
    guard problem.objectiveRowCount == 1, whole.isLegal else { return }
    let nodes = (0..<problem.nodeCount).filter { _ in random.chance(0.5) }.shuffled(using: &random)
    var numbers = [Int](repeating: -1, count: problem.nodeCount)
    let part = Neighbourhood(
      problem, incidence: problem.incidence(), choice: choice, memory: whole.memory.map { Int64($0) }, nodes: nodes, numbers: &numbers)
    #expect(numbers.allSatisfy { $0 == -1 })
    #expect(part.problem.evaluate(nodes.map { choice[$0] }).objective == Int128(part.cost), "seed \(seed)")
    for _ in 0..<30 {
      let local = nodes.map { Int.random(in: 0..<problem.strategyCount(of: $0), using: &random) }
      var other = choice
      for (number, node) in nodes.enumerated() { other[node] = local[number] }
      let (own, all) = (part.problem.evaluate(local), problem.evaluate(other))
      #expect(own.isLegal == all.isLegal, "seed \(seed)")
      if own.isLegal { #expect(own.objective - Int128(part.cost) == all.objective - whole.objective, "seed \(seed)") }
    }
  }

  /// Disjoint segments say of every row what the overlapping ones did.
  @Test(arguments: 0..<100) func mergedSegmentsUseTheSame(seed: Int) {
    var random = SeededGenerator(seed: 130_000 + seed)
    let width = random.int(1...3)
    var segments = Segments(width: width)
    for _ in 0..<random.int(0...8) {
      let from = random.int(0...12)
      segments.append(from..<random.int(from...14), (0..<width).map { _ in Int64(random.int(0...3)) })
    }
    func use(_ segments: Segments, _ row: Int) -> [Int64] {
      (0..<width).map { strategy in segments.rows.indices.filter { segments.rows[$0].contains(row) }.reduce(0) { $0 + segments[$1, strategy] } }
    }
    let before = (0..<14).map { use(segments, $0) }
    segments.merge()
    #expect((0..<14).map { use(segments, $0) } == before)
    for (a, b) in zip(segments.rows, segments.rows.dropFirst()) { #expect(a.upperBound <= b.lowerBound && !a.isEmpty) }
    var taken = [Int64](repeating: 0, count: 15)
    segments.settle { rows, least in for row in rows { taken[row] += least } }
    #expect((0..<14).map { row in use(segments, row).map { $0 + taken[row] } } == before)
  }

  /// Elimination and labels against messages, neighbourhoods and GLPK.
  @Test(arguments: 0..<6) func messagesAndEliminationAgree(seed: Int) throws {
    let problem = try chain(seed: seed, count: 12, tightness: 0.6)
    var options = SolveOptions(bounds: [.messages, .aggregation])
    options.isExact = true
    let (exact, messages) = (try problem.solve(), try problem.solve(options))
    #expect(exact.status == .optimal && messages.status == .optimal)
    #expect(messages.objective == messages.lowerBound && messages.statistics.messagePasses > 0)
    #expect(abs((exact.objective ?? 0) - (messages.objective ?? 0)) <= Outcome.tolerance(of: exact.objective ?? 0))
  }

  @Test(arguments: [1, 2]) func theSameOnOneThreadOrTwo(threads: Int) throws {
    let problem = try chain(seed: 17, count: 12, tightness: 0.6)
    var options = SolveOptions(bounds: [.messages, .aggregation])
    options.isExact = true
    options.threads = threads
    let (first, second) = (try problem.solve(options), try problem.solve(options))
    #expect(first.choice == second.choice && first.statistics == second.statistics && first.status == .optimal)
  }

  /// From the greediest choice, which exceeds every row, neighbourhoods find what uses less.
  @Test(arguments: 0..<6) func feasibilityIsReached(seed: Int) throws {
    let problem = try chain(seed: 40 + seed, count: 60, tightness: 0.5)
    let incidence = problem.incidence()
    let greedy = (0..<problem.nodeCount).map { node in
      let load = incidence.loads(of: node).first ?? 0
      return (0..<problem.strategyCount(of: node)).max { problem.usage(load: load, strategy: $0) < problem.usage(load: load, strategy: $1) } ?? 0
    }
    let start = try #require(Assignment(problem, incidence: incidence, choice: greedy))
    #expect(start.excess > 0)
    let legal = try #require(problem.withinLimits(start, incidence: incidence, threads: 2, fruitless: 400, stop: StopCondition()))
    #expect(problem.evaluate(legal.choice).isLegal)
  }

  /// Nodes are looked at again only where something near them has moved: where it ends, no other move of one node is legal and cheaper.
  @Test(arguments: 0..<300) func descentEndsWhereNoSingleMoveHelps(seed: Int) throws {
    let problem = try randomProblem(seed: 150_000 + seed, largestNodeCount: 9)
    var random = SeededGenerator(seed: seed)
    var choice: [Int] = []
    for node in 0..<problem.nodeCount { choice.append(Int.random(in: 0..<problem.strategyCount(of: node), using: &random)) }
    guard problem.evaluate(choice).isLegal, var assignment = Assignment(problem, incidence: problem.incidence(), choice: choice) else { return }
    assignment.descend()
    let end = problem.evaluate(assignment.choice)
    #expect(end.isLegal && end.objective == Int128(assignment.objective) && end.objective <= problem.evaluate(choice).objective, "seed \(seed)")
    for node in choice.indices {
      for strategy in 0..<problem.strategyCount(of: node) {
        var other = assignment.choice
        other[node] = strategy
        let moved = problem.evaluate(other)
        #expect(!moved.isLegal || moved.objective >= end.objective, "seed \(seed), node \(node) to \(strategy)")
      }
    }
  }

  /// The price of a row that is gone goes to the nearest that is left.
  @Test func pricesFollowTheirRows() {
    var prices = MemoryPrices(rowCount: 7, unit: 1_000)
    for row in 0..<7 { prices.set(row, to: Double(1 << row)) }
    // Rows 0, 2 go to 1; 3 to 4; 6 to 5.
    let fewer = prices.renumbered([1, 4, 5])
    #expect([fewer[0], fewer[1], fewer[2]] as [Double] == [7, 24, 96])
    let same = prices.renumbered(Array(0..<7))
    for row in 0..<7 { #expect(same[row] == prices[row]) }
    #expect(prices.renumbered([]).ofLimits([]) == 0)
  }

  /// What the second thread finds counts where time runs out; whenever that is, the choice is legal and the bound is one.
  @Test(arguments: [1, 10, 50, 200, 1_000]) func stoppedAtAnyTimeTheChoiceIsLegalAndTheBoundIsTrue(milliseconds: Int) throws {
    let problem = try chain(seed: 23, count: 14, tightness: 0.6)
    let optimum = try #require(problem.solve().objective)
    var options = SolveOptions(stop: StopCondition(after: .milliseconds(milliseconds)), bounds: [.messages, .aggregation])
    options.threads = 2
    let outcome = try problem.solve(options)
    // The reference is optimal within the tolerance only.
    #expect(outcome.lowerBound <= optimum && (outcome.objective ?? optimum) >= optimum - Outcome.tolerance(of: optimum))
    guard let choice = outcome.choice else { return }
    let evaluation = problem.evaluate(choice)
    #expect(evaluation.isLegal && evaluation.objective == outcome.objective.map { Int128($0) })
  }

  /// A chain whose nodes are live in overlapping ranges of memory rows; cheaper strategies use more.
  private func chain(seed: Int, count: Int, tightness: Double) throws -> Problem {
    var random = SeededGenerator(seed: 140_000 + seed)
    var loads: [(rows: Range<Int>, usages: [Int64])] = []
    var most = [Int64](repeating: 0, count: count)
    for node in 0..<count {
      let rows = node..<min(count, node + random.int(1...4))
      let usages = (0..<4).map { Int64(10 * (4 - $0) + random.int(0...5)) }
      for row in rows { most[row] += usages.max() ?? 0 }
      loads.append((rows, usages))
    }
    var builder = try ProblemBuilder(limits: most.map { Int64(Double($0) * tightness) })
    for load in loads {
      let node = try builder.addNode(costs: (0..<4).map { Int64(100 * $0 + random.int(0...60)) })
      try builder.addLoad(node: node, rows: load.rows, usages: load.usages)
    }
    for node in 1..<count { try builder.addEdge(node - 1, node, costs: (0..<16).map { _ in Int64(random.int(0...80)) }) }
    return builder.build()
  }
}
