// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search

/// Least weighted sums over a folded model's choices: by tables, or where these would be too large by a `Problem`.
struct BlockMinimum {
  /// A choice of strategies for the operators, and perhaps for shared tensors.
  typealias Choice = [Int]

  private enum Form {
    case tables(BlockTables)
    case problem(FoldedModel)
  }

  private let form: Form

  /// - Parameters:
  ///   - model: not connected.
  ///   - structures: those that are known of the model's graph.
  init(_ model: FoldedModel, variants: Range<SegmentID>? = nil, structures: KnownStructures? = nil) {
    if let tables = BlockTables(model, variants: variants, structures: structures) {
      form = .tables(tables)
    } else {
      var model = model
      model.connect(variants: variants)
      form = .problem(model)
    }
  }

  /// The tables, where they are not too large.
  var tables: BlockTables? { if case .tables(let tables) = form { tables } else { nil } }

  /// The least sum, and a choice that has it unless only a lower bound is known; nil where there is no choice.
  ///
  /// - Parameter cutoff: larger sums are of no interest.
  func least(_ objective: BlockTables.Objective, cutoff: Int64? = nil) throws -> (sum: Int64, choice: Choice?)? {
    switch form {
    case .tables(let tables): return try tables.least(objective).map { ($0.sum, $0.choice) }
    case .problem(let model):
      guard model.isPossible else { return nil }
      let outcome = try model.problem(objective).solve(SolveOptions(cutoff: cutoff, reductions: .all.subtracting(.dominance)))
      if case .infeasible = outcome.status { return nil }
      return (outcome.lowerBound, outcome.choice)
    }
  }

  /// For each operator and each of its strategies, the least sum of a choice that takes it, or where that reaches the cutoff perhaps
  /// `Problem.forbidden`; nil where it is not known.
  func leastByStrategy(_ objective: BlockTables.Objective, below cutoff: Int64) throws -> [[Int64]]? {
    guard case .tables(let tables) = form else { return nil }
    return try tables.leastByStrategy(objective, below: cutoff)
  }

  /// A choice's weighted sum of times, without a price on memory.
  func time(_ choice: Choice, _ objective: BlockTables.Objective) -> Int64 {
    switch form {
    case .tables(let tables): tables.time(choice, objective)
    case .problem(let model): model.time(choice, objective)
    }
  }

  /// What each virtual stage of a configuration takes under a choice; nil where stages are on devices of several kinds.
  func stageTimes(_ choice: Choice, _ configuration: Configuration) -> [PipelineTimeline.StageTimes]? {
    switch form {
    case .tables(let tables): tables.stageTimes(choice, configuration)
    case .problem(let model): model.kinds.isEmpty ? configuration.stageTimes(model, choice) : nil
    }
  }

  /// The bytes of a memory row under a choice.
  func memory(_ choice: Choice, _ row: BlockTables.MemoryRow) -> Int64 {
    switch form {
    case .tables(let tables): tables.memory(choice, row)
    case .problem(let model): model.nodes.indices.reduce(row.reserved) { $0 + model.memory(node: $1, row)[choice[$1]] }
    }
  }
}

extension FoldedModel {
  /// A node's part of a memory row, for each of its strategies.
  func memory(node index: Int, _ row: BlockTables.MemoryRow) -> [Int64] {
    let node = nodes[index]
    let (count, kept) = (Int64(row.copies[node.segment]), Int64(row.kept[node.segment]))
    let isRunning = row.op.map { runningWith($0).contains(index) } ?? false
    let isRevived = row.op.map { nodes[$0].segment == node.segment } ?? false
    return node.resident.indices.map {
      count * node.resident[$0] + kept * node.kept[$0] + (isRunning ? node.transient[$0] : 0) + (isRevived ? node.revived[$0] : 0)
    }
  }

  fileprivate func time(_ choice: [Int], _ objective: BlockTables.Objective) -> Int64 {
    let own = nodes.enumerated().reduce(Int64(0)) { sum, node in
      let (w, s) = (objective.segments[node.element.segment], choice[node.offset])
      return sum + w.forward * node.element.forward[s] + w.backward * node.element.backward[s] + w.once * node.element.once[s]
        + w.sendForward * node.element.sendForward[s] + w.sendBackward * node.element.sendBackward[s]
    }
    return edges.reduce(own + objective.constant) { sum, edge in
      let (w, entry) = (objective.place(edge.place), choice[edge.tail] * nodes[edge.head].count + choice[edge.head])
      return sum + w.forward * edge.forward[entry] + w.backward * edge.backward[entry]
    }
  }

  /// The weighted sum as a problem without memory rows.
  fileprivate func problem(_ objective: BlockTables.Objective) throws -> Problem {
    var builder = try ProblemBuilder(offsets: [-objective.allowance])
    for (index, node) in nodes.enumerated() {
      let w = objective.segments[node.segment]
      let charged = objective.price.map { price in
        memory(node: index, price.row).map { Int64((price.ticksPerByte * Double($0)).rounded(.down)) }
      }
      _ = try builder.addNode(
        costs: node.forward.indices.map { s in
          w.forward * node.forward[s] + w.backward * node.backward[s] + w.once * node.once[s] + w.sendForward * node.sendForward[s]
            + w.sendBackward * node.sendBackward[s] + (charged?[s] ?? 0)
        })
    }
    for edge in edges {
      let w = objective.place(edge.place)
      try builder.addEdge(
        edge.tail, edge.head,
        costs: edge.forward.indices.map {
          edge.forward[$0] == Problem.forbidden ? Problem.forbidden : w.forward * edge.forward[$0] + w.backward * edge.backward[$0]
        })
    }
    return builder.build()
  }
}
