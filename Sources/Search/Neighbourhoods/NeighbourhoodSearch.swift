// SPDX-License-Identifier: GPL-3.0-or-later
import Dispatch

/// Improves a legal choice of a large problem: frees a few hundred nodes around a random one, solves them exactly against the frozen rest, keeps
/// what is better, and again (large neighbourhood search; Shaw, 1998). Several disjoint neighbourhoods are solved at a time, one on each thread.
struct NeighbourhoodSearch {
  private let problem: Problem
  private let incidence: Incidence
  private(set) var choice: [Int]
  private(set) var objective: Int64
  private var memory: [Int64]
  private var random: SplitMix
  private var numbers: [Int]
  private var isTaken: [Bool]
  /// The number of strategies that a neighbourhood may have: more where they are solved quickly, fewer where not.
  private var size: Double
  /// Running sums of how much each node is preferred; empty: all alike.
  private var weights: [Double] = []
  private(set) var tries = 0
  private(set) var improvements = 0
  /// Whether a neighbourhood of all nodes held nothing better.
  private(set) var isExhausted = false

  init(_ problem: Problem, incidence: Incidence, assignment: Assignment, seed: UInt64) {
    self.problem = problem
    self.incidence = incidence
    choice = assignment.choice
    objective = assignment.objective
    memory = assignment.memory
    random = SplitMix(seed: seed)
    numbers = [Int](repeating: -1, count: problem.nodeCount)
    isTaken = [Bool](repeating: false, count: problem.nodeCount)
    size = 600
  }

  private static let largestSize = 6_000.0

  /// Prefers neighbourhoods around nodes and edges that ask more for the current choice than `messages` say they must: together they ask what
  /// separates the choice from the bound.
  mutating func follow(_ messages: MessagePassing) {
    let asked = problem.edges.indices.map { max(0, messages.asked($0, choice[problem.edges[$0].tail], choice[problem.edges[$0].head])) }
    var sum = 0.0
    weights = (0..<problem.nodeCount).map { node in
      var own = Double(max(0, messages.costs[problem.strategyStarts[node] + choice[node]]))
      for edge in incidence.edges(of: node) { own += Double(asked[edge]) }
      sum += own
      return sum
    }
  }

  /// Prefers neighbourhoods around nodes that use some of these memory rows.
  mutating func prefer(rows: [Int]) {
    var counts = [0]
    var isPreferred = [Bool](repeating: false, count: problem.limits.count)
    for row in rows { isPreferred[row] = true }
    for row in isPreferred { counts.append(counts[counts.count - 1] + (row ? 1 : 0)) }
    var sum = 0.0
    weights = (0..<problem.nodeCount).map { node in
      for load in incidence.loads(of: node) where counts[problem.loads[load].rows.upperBound] > counts[problem.loads[load].rows.lowerBound] {
        sum += 1
        break
      }
      return sum
    }
  }

  /// Goes on from another legal choice, if it is better.
  mutating func restart(from other: [Int]) {
    guard let assignment = Assignment(problem, incidence: incidence, choice: other), assignment.objective < objective else { return }
    choice = other
    objective = assignment.objective
    memory = assignment.memory
  }

  /// A node at random, half the time by the weights.
  private mutating func anyNode() -> Int {
    guard let sum = weights.last, sum > 0, random.next() % 2 == 0 else { return Int(random.next() % UInt64(problem.nodeCount)) }
    let point = Double(random.next() >> 11) * 0x1p-53 * sum
    var (low, high) = (0, weights.count - 1)
    while low < high {
      let middle = (low + high) / 2
      if weights[middle] <= point { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// What became of one neighbourhood.
  private struct Result: Sendable {
    var choice: [Int]?
    var objective: Int64 = 0
    var isProven = false
  }

  /// One round: a neighbourhood for each thread.
  mutating func round(threads: Int, stop: StopCondition) {
    var parts: [Neighbourhood] = []
    var taken: [Int] = []
    for _ in 0..<threads {
      let nodes = grow(taken: &taken)
      guard !nodes.isEmpty else { break }
      parts.append(Neighbourhood(problem, incidence: incidence, choice: choice, memory: memory, nodes: nodes, numbers: &numbers))
    }
    for node in taken { isTaken[node] = false }
    let results = NeighbourhoodSearch.solve(parts, stop: stop)
    for (part, result) in zip(parts, results) {
      tries += 1
      size = min(NeighbourhoodSearch.largestSize, max(60, size * (result.isProven ? 1.05 : 0.85)))
      if result.isProven, part.nodes.count == problem.nodeCount { isExhausted = true }
      guard let local = result.choice, result.objective < part.cost else { continue }
      apply(part, local)
    }
  }

  private static func solve(_ parts: [Neighbourhood], stop: StopCondition) -> [Result] {
    let results = Results(count: parts.count)
    DispatchQueue.concurrentPerform(iterations: parts.count) { index in
      let part = parts[index]
      var options = SolveOptions(stop: stop, cutoff: part.cost)
      options.settlesTies = false
      options.programLimit = SolveOptions.ProgramLimit(columns: 12_000, iterations: 4_000, branchNodes: 60)
      let outcome = try? part.problem.solve(options)
      var result = Result()
      if let outcome {
        result.choice = outcome.choice
        result.objective = outcome.objective ?? .max
        result.isProven = outcome.status == .optimal || outcome.status == .cutoff
      }
      results.set(index, result)
    }
    return results.all
  }

  /// Takes a neighbourhood's choice over if all is still legal and cheaper: another one of the same round may have changed meanwhile.
  private mutating func apply(_ part: Neighbourhood, _ local: [Int]) {
    var next = choice
    for (number, node) in part.nodes.enumerated() { next[node] = local[number] }
    guard let assignment = Assignment(problem, incidence: incidence, choice: next), assignment.isLegal, assignment.objective < objective else {
      return
    }
    choice = next
    objective = assignment.objective
    memory = assignment.memory
    improvements += 1
  }

  /// Nodes around a random one, or around several that use the same memory row, that are not taken yet.
  private mutating func grow(taken: inout [Int]) -> [Int] {
    let budget = Int(size)
    var nodes: [Int] = []
    var strategies = 0
    var frontier: [Int] = []
    let seeds = seedNodes()
    for (index, seed) in seeds.enumerated() {
      frontier.removeAll(keepingCapacity: true)
      if !isTaken[seed] { frontier.append(seed) }
      let share = budget * (index + 1) / seeds.count
      while strategies < share, !frontier.isEmpty {
        let position = Int(random.next() % UInt64(frontier.count))
        let node = frontier[position]
        frontier[position] = frontier[frontier.count - 1]
        frontier.removeLast()
        guard !isTaken[node] else { continue }
        isTaken[node] = true
        taken.append(node)
        nodes.append(node)
        strategies += problem.strategyCount(of: node)
        let edges = incidence.edges(of: node)
        // A hub's neighbours would crowd out all others.
        if edges.count <= 24 {
          for edge in edges { frontier.append(problem.edges[edge].tail + problem.edges[edge].head - node) }
        } else {
          for _ in 0..<24 {
            let edge = edges[edges.startIndex + Int(random.next() % UInt64(edges.count))]
            frontier.append(problem.edges[edge].tail + problem.edges[edge].head - node)
          }
        }
      }
    }
    return nodes
  }

  private mutating func seedNodes() -> [Int] {
    let one = anyNode()
    let kind = random.next() % 5
    if kind == 2 { return [one, anyNode(), anyNode()] }
    guard kind < 2, !problem.loads.isEmpty else { return [one] }
    // A full row: of some random loads' rows the one with the least left.
    var row = 0
    var least = Int64.max
    for _ in 0..<8 {
      let load = problem.loads[Int(random.next() % UInt64(problem.loads.count))]
      let candidate = load.rows.lowerBound + Int(random.next() % UInt64(load.rows.count))
      if problem.limits[candidate] - memory[candidate] < least { (row, least) = (candidate, problem.limits[candidate] - memory[candidate]) }
    }
    var seeds: [Int] = []
    for _ in 0..<400 where seeds.count < 4 {
      let load = problem.loads[Int(random.next() % UInt64(problem.loads.count))]
      if load.rows.contains(row), !seeds.contains(load.node) { seeds.append(load.node) }
    }
    return seeds.isEmpty ? [one] : seeds
  }

  /// Results by index, each written by one thread.
  private final class Results: @unchecked Sendable {
    private let storage: UnsafeMutableBufferPointer<Result>
    init(count: Int) {
      storage = .allocate(capacity: count)
      storage.initialize(repeating: Result())
    }
    deinit {
      storage.deinitialize()
      storage.deallocate()
    }
    func set(_ index: Int, _ result: Result) { storage[index] = result }
    var all: [Result] { Array(storage) }
  }
}
