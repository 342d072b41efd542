// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import ModelGraph
import Plans
import Strategies

/// One model under every strategy of the table, on as many ranks as there are.
struct StrategyTable {
  let world: Communicator
  let model: TinyModel
  /// A world of one rank.
  let alone: Communicator
  /// Losses of the same job on one rank, which rows of the same job share.
  var references: [Decision: [Double]] = [:]
  /// A file of weights for each size of a model that is not run with the generator's.
  var weights: [Graph: String] = [:]

  static let steps = 5

  init(world: Communicator, model: TinyModel) throws {
    self.world = world
    self.model = model
    alone = try world.split(color: world.rank, key: 0)
  }

  /// For each row of the table a line, on rank 0: its name, a tab, and `run`, why the model and the ranks cannot have it, or what is wrong, after
  /// `WRONG`.
  mutating func cells() throws -> [String] {
    defer { if world.rank == 0 { for file in weights.values { try? FileManager.default.removeItem(atPath: file) } } }
    var lines: [String] = []
    for row in TableRow.all {
      let cell: String
      switch try plan(row) {
      case .impossible(let reason): cell = reason
      case .wrong(let problem): cell = "WRONG: \(problem)"
      case .decision(let decision):
        let problems = try problems(decision, row)
        cell = problems.isEmpty ? "run" : "WRONG: \(problems.joined(separator: "; "))"
      }
      lines.append("\(row.name)\t\(cell)")
    }
    return world.rank == 0 ? lines : []
  }

  private enum Planned {
    case decision(Decision)
    case impossible(String)
    case wrong(String)
  }

  /// - Parameter batch: samples of one micro-batch.
  private func graph(_ row: TableRow, batch: Int, layers: Int) throws -> Graph {
    let ranks = max(world.size, 2)
    // As many key-value heads as ranks; of some models two queries share one.
    let groups = row.isUneven ? ranks + 1 : ranks
    let heads = model.groupsQueries ? 2 * groups : groups
    let sequence = row.isUneven ? ranks + 3 : row.isZigzag ? 2 * ranks : row.splits.contains(where: \.cutsPositions) ? max(ranks, 4) : 4
    if model == .flamingo { return try TinyModel.flamingo(batch: batch, layers: layers, heads: groups, sequence: sequence) }
    return try model.graph(
      batch: batch, layers: layers, hidden: 4 * groups, heads: heads, ffn: row.isUneven ? 2 * ranks + 3 : 2 * ranks,
      vocabulary: row.isUneven ? 4 * ranks + 3 : 32, sequence: sequence, image: row.isUneven ? 16 : 12, experts: groups)
  }

  private func plan(_ row: TableRow) throws -> Planned {
    guard let layout = row.layout(world.size) else { return .impossible("\(row.leastRanks) ranks") }
    let small = try graph(row, batch: 1, layers: 2)
    var microBatches = row.pipeline == .none ? row.microBatches : min(layout.stages, row.schedule.kind == .interleaved ? 8 : 4)
    if small.couplesBatch { microBatches = 1 }
    if row.pipeline == .none, microBatches < row.microBatches || row.hasShares && !BatchShares.isPossible(in: small) {
      return .impossible("pairs samples")
    }
    if !row.schedule.isPossible(stages: layout.stages, microBatches: microBatches) { return .impossible("pairs samples") }

    // Layers enough for every stage to have a segment; on many ranks, which take the longer the fewer cores there are, no more.
    let wanted = row.pipeline == .uneven ? layout.parts + 2 : layout.parts
    var (layers, copies) = (world.size < 8 ? 2 : 1, 0)
    while true {
      copies = try graph(row, batch: 1, layers: layers).segments.reduce(0) { $0 + $1.repeats }
      if copies >= wanted { break }
      layers += 1
    }
    let parts = layout.parts
    let cuts = (1..<max(parts, 1)).map { row.pipeline == .uneven ? $0 : $0 * copies / parts }

    let samples = row.hasShares ? layout.mesh.flatMap { (0..<$0).map { 1 + $0 % 3 } } : []
    let replicas = zip(row.splits, layout.mesh).reduce(1) { $1.0.cutsBatch ? $0 * $1.1 : $0 }
    let batch = row.hasShares ? samples.reduce(0, +) : row.isUneven ? world.size + 1 : max(replicas, small.couplesBatch ? 4 : 2)
    var graph = try graph(row, batch: batch, layers: layers)
    var segments: [Range<SegmentID>] = []
    if !layout.stageMeshes.isEmpty {
      graph = DecisionChecks.dividing(graph, at: cuts)
      segments = DecisionChecks.segments(of: graph, between: cuts)
    }
    if row.isZigzag {
      let orders = zip(graph.axes, SequenceOrder.reorderable(in: graph)).filter { $1 }
      if orders.isEmpty { return .impossible("fixed order") }
      if !orders.allSatisfy({ SequenceOrder(pairs: world.size).fits($0.0.extent) }) { return .wrong("no order fits") }
    }
    var builder = DecisionBuilder(graph: graph, mesh: layout.mesh, stageMeshes: layout.stageMeshes, segmentsOfStages: segments)
    if row.hasShares { builder.shares = BatchShares(samples, mesh: layout.mesh) }
    let assignments = builder.assignments(row.splits.map { $0.preference(builder) })
    if let reason = missing(row, builder, assignments, layout) { return reason }
    if let parameter = Self.disagreement(builder, assignments) { return .wrong("readers of \(parameter) use it in two ways") }
    if row.recompute.keepingGathered == .selective, !builder.rules.contains(where: \.isAttention) { return .impossible("no attention") }
    var decision = builder.decision(
      assignments, batch: batch * microBatches, microBatches: microBatches, cuts: cuts, schedule: row.schedule, mode: row.mode,
      optimizer: row.optimizer, zero: { _ in row.zero }, recompute: { _ in row.recompute }, zigzagPairs: row.isZigzag ? world.size : 1)
    decision.job.software.updates = row.updates
    return .decision(decision)
  }

  /// What keeps a row's splits from being what they are called.
  private func missing(_ row: TableRow, _ builder: DecisionBuilder, _ assignments: [[Int?]], _ layout: TableRow.Ranks) -> Planned? {
    for (axis, split) in row.splits.enumerated() where layout.mesh[axis] > 1 || !layout.stageMeshes.isEmpty {
      for (word, isMeant) in split.words(of: builder.graph, builder.rules) {
        var extents: [Int] = []
        var isUsed = false
        for (rule, assignment) in zip(builder.rules, assignments) where isMeant(rule) {
          for loop in rule.iteration.indices where rule.iteration[loop].isSplittable && rule.iteration[loop].words.contains(word) {
            extents.append(rule.iteration[loop].extent)
            if assignment[axis] == loop { isUsed = true }
          }
        }
        if isUsed { continue }
        guard let largest = extents.max() else { return .impossible("no \(word)") }
        // Other axes may split it too, before this one.
        return largest < layout.mesh.reduce(1, *) ? .impossible("\(largest) \(word)") : .wrong("nothing is split by \(word) on axis \(axis)")
      }
    }
    return nil
  }

  /// A parameter of which two readers on one mesh do not hold the same part, which no plan may have.
  private static func disagreement(_ builder: DecisionBuilder, _ assignments: [[Int?]]) -> String? {
    for (id, tensor) in builder.graph.tensors.enumerated() where tensor.isParameter {
      let readers = builder.graph.consumers[id]
      let uses = readers.map { Strategy(assignment: assignments[$0.op], rule: builder.rules[$0.op]).operands[$0.operand] }
      for (a, use) in zip(readers, uses) {
        for (b, other) in zip(readers, uses) where use != other && builder.mesh(a.op) == builder.mesh(b.op) { return tensor.name }
      }
    }
    return nil
  }
}
