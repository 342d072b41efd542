// SPDX-License-Identifier: GPL-3.0-or-later

/// Exact minimisation with memory rows and several objective rows: variable elimination in which each table entry holds, instead of one number,
/// the Pareto set of what its subtree can come to (labels, as in shortest paths with resource constraints; Irnich and Desaulniers, 2005).
///
/// A label has one value per measure: the Lagrangian sum, each objective row, each memory row. For each measure an elimination of its
/// own gives the least that the rest of the problem must add, exactly, so that a label is dropped as soon as any measure shows that it cannot
/// become a choice below the target and within the limits. A label that is no better than another one of its entry in any objective or memory
/// row is dropped too.
struct LabelSearch {
  /// What is added up along a choice, and must end at or below `most`.
  private struct Measure {
    let elimination: Elimination
    let outside: [[Int64]]
    let most: Int64

    init(_ elimination: Elimination, most: Int64) {
      self.elimination = elimination
      outside = elimination.secondPass().outside
      self.most = most
    }
  }

  /// The labels of one bucket's message: those of entry j are at `starts[j]..<starts[j + 1]`.
  private struct Labels {
    var starts = [0]
    /// One value per measure for each label.
    var values: [Int64] = []
    var strategies: [Int32] = []
    /// For each label the labels that it is made of, one per message that the bucket adds up.
    var parts: [Int32] = []
  }

  enum Result {
    /// A choice that minimises the largest of the given objective rows among those below the target and within the given memory rows.
    case best([Int])
    /// There is none.
    case none
    /// More labels than allowed.
    case tooMany
  }

  private let problem: Problem
  private let plan: EliminationPlan
  private let measures: [Measure]
  private let objectiveRows: [Int]
  private var tables: [Labels] = []
  private let largestCount: Int
  /// Sums and comparisons that may still be made.
  private var workLeft: Int
  private let stop: StopCondition

  /// - Parameters:
  ///   - solution: the relaxation at good multipliers.
  ///   - objectiveRows: the objective rows whose maximum counts, at least one; others are ignored.
  ///   - memoryRows: the memory rows to hold; others are ignored.
  ///   - target: only choices below it are wanted.
  ///   - largestCount: how many labels one bucket may have.
  ///   - mostWork: how many sums and comparisons all buckets together may take.
  init(
    _ relaxation: Relaxation, _ solution: Relaxation.Solution, objectiveRows: [Int], memoryRows: [Int], target: Int64, largestCount: Int = 1 << 19,
    mostWork: Int = 1 << 29, stop: StopCondition
  ) {
    problem = relaxation.problem
    plan = relaxation.plan
    self.largestCount = largestCount
    workLeft = mostWork
    self.stop = stop
    let problem = problem
    var measures = [Measure(solution.elimination, most: target - 1 - solution.constant)]
    self.objectiveRows = objectiveRows
    for row in objectiveRows {
      let weights = problem.offsets.indices.map { $0 == row ? 1.0 : 0.0 }
      measures.append(Measure(relaxation.solve(weights: weights, multipliers: []).elimination, most: target - 1 - problem.offsets[row]))
    }
    for row in memoryRows { measures.append(Measure(relaxation.minimiseUsage(ofRow: row), most: problem.limits[row])) }
    self.measures = measures
  }

  mutating func run() -> Result {
    for position in plan.buckets.indices {
      guard extend(position) else { return .tooMany }
    }
    return joinComponents()
  }

  /// Makes the labels of one bucket; false where there are too many.
  private mutating func extend(_ position: Int) -> Bool {
    let bucket = plan.buckets[position]
    let count = problem.strategyCount(of: bucket.node)
    let first = problem.strategyStarts[bucket.node]
    let measures = measures
    let width = measures.count
    var edges: [(factor: Int, edge: Int)] = []
    var children: [(factor: Int, message: Int)] = []
    for (index, factor) in bucket.factors.enumerated() {
      switch factor.source {
      case .table(let edge): edges.append((index, edge))
      case .message(let message): children.append((index, message))
      }
    }
    var labels = Labels()
    var isTooMany = false
    let tables = tables
    let (largestCount, stop) = (largestCount, stop)
    var workLeft = workLeft
    bucket.forEachCombination { combination, outer in
      guard !isTooMany else { return }
      var candidates = Labels()
      for q in 0..<count {
        var base = measures.map { $0.elimination.nodeCosts[first + q] }
        for (factor, edge) in edges {
          let index = bucket.factors[factor].outerStarts[outer[factor]] + bucket.factors[factor].ownOffsets[q]
          for measure in 0..<width {
            base[measure] = min(2 * Problem.forbidden, base[measure] &+ measures[measure].elimination.edgeTables[edge][index])
          }
        }
        // What may still be spent, after the least that the rest and all children need.
        var room = measures.indices.map { min(measures[$0].most, Problem.blocked) &- measures[$0].outside[position][combination] &- base[$0] }
        let entries = children.map { bucket.factors[$0.factor].outerStarts[outer[$0.factor]] + bucket.factors[$0.factor].ownOffsets[q] }
        for (child, entry) in zip(children, entries) {
          for measure in 0..<width { room[measure] = room[measure] &- measures[measure].elimination.messages[child.message][entry] }
        }
        guard room.allSatisfy({ $0 >= 0 }) else { continue }
        let isComplete = LabelSearch.combine(
          base, room: room, children: children.map(\.message), entries: entries, tables, measures, strategy: q, largestCount: 4 * largestCount,
          into: &candidates)
        if !isComplete || candidates.strategies.count > 4 * largestCount {
          isTooMany = true
          return
        }
      }
      workLeft -= candidates.strategies.count * width
      LabelSearch.append(candidates, width: width, parts: children.count, to: &labels, workLeft: &workLeft)
      if labels.strategies.count > largestCount || workLeft < 0 { isTooMany = true }
      if combination & 15 == 0, stop.isReached { isTooMany = true }
    }
    self.tables.append(labels)
    self.workLeft = workLeft
    return !isTooMany
  }

  /// Sums of labels that may still become a choice, while the children are taken in one after the other.
  private struct Partial {
    var count = 1
    var values: [Int64]
    /// What each may still spend beyond the least that everything not yet taken in needs.
    var rooms: [Int64]
    /// The children's labels, `depth` for each.
    var parts: [Int32] = []
    var depth = 0

    /// Adds one label of an entry of `table` to each, in all ways that leave no room negative; false where that makes more than `largestCount`.
    mutating func add(_ table: Labels, entry: Int, least: [Int64], largestCount: Int) -> Bool {
      let width = least.count
      var next = Partial(count: 0, values: [], rooms: [], depth: depth + 1)
      for partial in 0..<count {
        for label in table.starts[entry]..<table.starts[entry + 1] {
          var fits = true
          for measure in 0..<width where table.values[label * width + measure] &- least[measure] > rooms[partial * width + measure] {
            fits = false
            break
          }
          guard fits else { continue }
          guard next.count < largestCount else { return false }
          next.count += 1
          for measure in 0..<width {
            let value = table.values[label * width + measure]
            next.values.append(values[partial * width + measure] + value)
            next.rooms.append(rooms[partial * width + measure] - (value - least[measure]))
          }
          for part in 0..<depth { next.parts.append(parts[partial * depth + part]) }
          next.parts.append(Int32(label))
        }
      }
      self = next
      return true
    }
  }

  /// All sums of `base` with one label of each child that leave no room negative; false where there are too many on the way.
  private static func combine(
    _ base: [Int64], room: [Int64], children: [Int], entries: [Int], _ tables: [Labels], _ measures: [Measure], strategy: Int, largestCount: Int,
    into result: inout Labels
  ) -> Bool {
    var partial = Partial(values: base, rooms: room)
    for (child, entry) in zip(children, entries) {
      let least = measures.map { $0.elimination.messages[child][entry] }
      guard partial.add(tables[child], entry: entry, least: least, largestCount: largestCount) else { return false }
      if partial.count == 0 { return true }
    }
    result.values += partial.values
    result.parts += partial.parts
    result.strategies += [Int32](repeating: Int32(strategy), count: partial.count)
    return true
  }

  /// Closes an entry of `labels` with the candidates that no other one is at least as good as (measures after the first); of equals the first.
  private static func append(_ candidates: Labels, width: Int, parts: Int, to labels: inout Labels, workLeft: inout Int) {
    let values = candidates.values
    let order = candidates.strategies.indices.sorted { a, b in
      for measure in 1..<width {
        let (x, y) = (values[a * width + measure], values[b * width + measure])
        if x != y { return x < y }
      }
      return a < b
    }
    var kept: [Int] = []
    var leastLast = Int64.max
    for candidate in order {
      let isDominated: Bool
      if width <= 3 {
        // In this order only the last measure can still be better.
        isDominated = width == 3 ? values[candidate * width + 2] >= leastLast : !kept.isEmpty
        if !isDominated { leastLast = values[candidate * width + width - 1] }
      } else {
        guard workLeft >= 0 else { return }
        workLeft -= kept.count
        isDominated = kept.contains { other in
          for measure in 2..<width where values[other * width + measure] > values[candidate * width + measure] { return false }
          return true
        }
      }
      guard !isDominated else { continue }
      kept.append(candidate)
    }
    for label in kept {
      labels.values += values[label * width..<(label + 1) * width]
      labels.strategies.append(candidates.strategies[label])
      labels.parts += candidates.parts[label * parts..<(label + 1) * parts]
    }
    labels.starts.append(labels.strategies.count)
  }

  /// Adds up the components of the graph, one after the other, and takes the best of what comes out.
  private mutating func joinComponents() -> Result {
    let roots = plan.buckets.indices.filter { plan.buckets[$0].scope.isEmpty }
    let room = measures.map { min($0.most, Problem.blocked) - $0.elimination.minimum }
    guard room.allSatisfy({ $0 >= 0 }) else { return .none }
    var joined = Labels(values: [Int64](repeating: 0, count: measures.count), strategies: [0])
    joined.starts = [0, 1]
    var least = [Int64](repeating: 0, count: measures.count)
    for (depth, root) in roots.enumerated() {
      var partial = Partial(count: joined.strategies.count, values: joined.values, rooms: [], parts: joined.parts, depth: depth)
      for label in 0..<partial.count {
        for measure in measures.indices { partial.rooms.append(room[measure] - (joined.values[label * measures.count + measure] - least[measure])) }
      }
      let own = measures.map { $0.elimination.messages[root][0] }
      guard partial.add(tables[root], entry: 0, least: own, largestCount: 4 * largestCount), !stop.isReached else { return .tooMany }
      for measure in measures.indices { least[measure] += own[measure] }
      let strategies = [Int32](repeating: 0, count: partial.count)
      joined = Labels()
      let candidates = Labels(values: partial.values, strategies: strategies, parts: partial.parts)
      LabelSearch.append(candidates, width: measures.count, parts: depth + 1, to: &joined, workLeft: &workLeft)
      if workLeft < 0 || joined.strategies.count > largestCount { return .tooMany }
    }
    let width = measures.count
    /// The objective, then the memory rows.
    func rank(_ label: Int) -> (Int64, Int64) {
      let values = joined.values[label * width..<(label + 1) * width]
      let objective = objectiveRows.enumerated().reduce(Int64.min) { most, row in
        max(most, problem.offsets[row.element] + values[values.startIndex + 1 + row.offset])
      }
      return (objective, values.dropFirst(1 + objectiveRows.count).reduce(0, +))
    }
    guard let best = joined.strategies.indices.min(by: { rank($0) < rank($1) }) else { return .none }
    var choice = [Int](repeating: 0, count: problem.nodeCount)
    var open = zip(roots, joined.parts[best * roots.count..<(best + 1) * roots.count]).map { (bucket: $0, label: Int($1)) }
    while let (position, label) = open.popLast() {
      let bucket = plan.buckets[position]
      choice[bucket.node] = Int(tables[position].strategies[label])
      var part = 0
      let messages = bucket.factors.compactMap { factor -> Int? in if case .message(let message) = factor.source { message } else { nil } }
      for message in messages {
        open.append((message, Int(tables[position].parts[label * messages.count + part])))
        part += 1
      }
    }
    return .best(choice)
  }
}
