// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search
import Strategies

/// A folded model's choices with tables instead of nodes for tensors that several operators share: small, and minimised in a fraction of the time,
/// for as many weighted sums as a search asks for.
///
/// A table joins a tensor's producer and all of its readers by the layouts that they give and take; its entries price the conversions, each
/// paid once, and what is kept for backward.
struct BlockTables {
  /// What a weighted sum counts, and how often.
  struct Objective {
    /// For each segment, the operators' times and the conversions inside.
    var segments: [Configuration.Weights]
    /// For the conversions of each place.
    var place: (FoldedModel.Place) -> Configuration.Weights
    var price: Price?
    /// What counts whatever the choice.
    var constant: Int64 = 0

    /// What the bytes below the limit count for, less what counts in any case.
    var allowance: Int64 { (price?.allowance ?? 0) - constant }
  }

  /// A price on one memory row: every byte above the limit counts so many ticks, every byte below it as many less. No legal choice takes less time
  /// than it then costs (Lagrangian relaxation).
  struct Price {
    let row: MemoryRow
    /// Of the largest device.
    let limit: Int64
    var ticksPerByte: Double

    /// What the stage's own devices have costs nothing.
    var allowance: Int64 { Int64((ticksPerByte * Double(limit - row.reserved)).rounded(.up)) }
  }

  /// What one stage holds while one operator runs, or while none does.
  struct MemoryRow: Hashable {
    /// Of each segment, the copies on the stage, and the copies' passes that are kept for backward.
    let copies: [Int]
    let kept: [Int]
    let op: Int?
    /// How much less memory than the largest device the stage's devices have: it counts as used.
    var reserved: Int64 = 0

    /// Whether no choice needs less here than in another row, while none or the same operator runs.
    func covers(_ other: MemoryRow) -> Bool {
      reserved >= other.reserved && zip(copies, other.copies).allSatisfy { $0 >= $1 } && zip(kept, other.kept).allSatisfy { $0 >= $1 }
    }
  }

  private let model: FoldedModel
  private let pieces: [Piece]
  /// The number of strategies of all nodes after the operators'.
  private let held: Int
  private let minimum: TableMinimum
  /// For each operator's node, and that of its weights, where its strategies begin among the costs of all nodes.
  private let starts: [Int]
  /// Of all these nodes, one after the other.
  private let times: NodeTimes

  /// - Parameters:
  ///   - model: its operators; it need not be connected.
  ///   - variants: segments that are kinds of one layer.
  ///   - structures: those that are known, of models of one graph (with these variants).
  /// - Returns: nil where the tables would be too large.
  init?(_ model: FoldedModel, variants: Range<SegmentID>? = nil, structures: KnownStructures? = nil) {
    guard let structure = structures.map({ $0.structure(model, variants) }) ?? BlockStructure(model, variants) else { return nil }
    self.model = model
    minimum = structure.minimum
    held = structure.holders.reduce(0, +)
    starts = model.operatorNodes.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
    times = NodeTimes(model.operatorNodes, starts)
    pieces = structure.pieces.map { piece in
      switch piece.content {
      case .match(let entries): Piece(table: piece.table, place: piece.place, costs: .match(entries))
      case .exchange(let tensor, let first, let second):
        Piece(table: piece.table, place: piece.place, costs: .exchange(Self.exchange(model, tensor, first, second)))
      case .conversions(let conversions):
        Piece(table: piece.table, place: piece.place, costs: .conversions(Self.price(conversions, model, at: piece.place)))
      }
    }
  }

  /// The least weighted sum over all choices of operators' strategies, and a choice that has it; nil where there is no choice.
  ///
  /// - Throws: `SearchError.sumOutOfRange`.
  func least(_ objective: Objective) throws -> (sum: Int64, choice: [Int])? {
    let (nodeCosts, tables) = try weighted(objective)
    guard let (sum, choice) = try minimum.least(nodeCosts: nodeCosts, tables: tables) else { return nil }
    return (sum - objective.allowance, choice)
  }

  /// For each operator and each of its strategies, the least weighted sum of a choice that takes it; where that reaches the cutoff perhaps
  /// `Problem.forbidden`.
  ///
  /// - Throws: `SearchError.sumOutOfRange`.
  func leastByStrategy(_ objective: Objective, below cutoff: Int64) throws -> [[Int64]] {
    let (nodeCosts, tables) = try weighted(objective)
    let all = try minimum.leastByStrategy(nodeCosts: nodeCosts, tables: tables, below: cutoff + objective.allowance)
    var starts = [0]
    for node in model.operatorNodes { starts.append(starts[starts.count - 1] + node.count) }
    return model.nodeOfOperator.map { node in
      all[starts[node]..<starts[node + 1]].map { $0 >= Problem.forbidden ? Problem.forbidden : $0 - objective.allowance }
    }
  }

  /// A weighted sum's costs, so that an operator's can be changed and the least sum asked for again.
  struct Weighed {
    /// For all strategies of the first operator's node, then of the next node, and so on.
    var nodeCosts: [Int64]
    fileprivate let tables: [[Int64]]
  }

  /// - Throws: `SearchError.sumOutOfRange`.
  func weighed(_ objective: Objective) throws -> Weighed {
    let (nodeCosts, tables) = try weighted(objective)
    return Weighed(nodeCosts: nodeCosts, tables: tables)
  }

  /// Where the strategies of an operator's node, or that of its weights, begin among the costs of all nodes.
  func start(ofNode node: Int) -> Int { starts[node] }

  /// The least sum and a choice that has it, a strategy for each node; nil where there is no choice.
  ///
  /// - Throws: `SearchError.sumOutOfRange`.
  func least(_ weighed: Weighed) throws -> (sum: Int64, choice: [Int])? {
    try minimum.least(nodeCosts: weighed.nodeCosts, tables: weighed.tables)
  }

  /// For every strategy, node by node, the least sum of a choice that takes it; `Problem.forbidden` where there is none.
  ///
  /// - Throws: `SearchError.sumOutOfRange`.
  func leastByStrategy(_ weighed: Weighed) throws -> [Int64] {
    try minimum.leastByStrategy(nodeCosts: weighed.nodeCosts, tables: weighed.tables)
  }

  private func weighted(_ objective: Objective) throws -> (nodeCosts: [Int64], tables: [[Int64]]) {
    let memory = objective.price.map { RowWeights($0.row, model) }
    let ticksPerByte = objective.price?.ticksPerByte ?? 0
    for segment in objective.segments.indices where segment < times.largest.count { try objective.segments[segment].check(times.largest[segment]) }
    let nodeCosts = [Int64](unsafeUninitializedCapacity: starts[starts.count - 1] + held) { costs, filled in
      filled = starts[starts.count - 1] + held
      costs.initialize(repeating: 0)
      times.add(objective.segments, to: costs.baseAddress!)
      guard let memory else { return }
      for (index, node) in model.operatorNodes.enumerated() {
        let own = costs.baseAddress! + starts[index]
        memory.forEach(node, index) { own[$0] += BlockTables.Price.ticks(ticksPerByte, $1) }
      }
    }
    let tables = try pieces.map { piece in
      switch piece.costs {
      case .match(let entries): return entries
      case .exchange(let times):
        let weight = objective.place(piece.place).forward
        return try times.map { try Configuration.Weights.checked(weight, $0) }
      case .conversions(let conversions):
        let w = objective.place(piece.place)
        try w.check((conversions.mostForward, conversions.mostBackward))
        return conversions.weighted(w.forward, w.backward) { costs in
          guard let memory, !conversions.kept.isEmpty else { return }
          let weight = memory.weight(conversions, piece.place)
          if weight == 0 { return }
          for pair in costs.indices where costs[pair] < Problem.forbidden {
            costs[pair] += BlockTables.Price.ticks(ticksPerByte, weight * conversions.kept[pair])
          }
        }
      }
    }
    return (nodeCosts, tables)
  }

  /// A choice's weighted sum of times, without a price on memory.
  func time(_ choice: [Int], _ objective: Objective) -> Int64 {
    let nodes = model.operatorNodes.enumerated().reduce(Int64(0)) { sum, node in
      let (w, s) = (objective.segments[node.element.segment], choice[node.offset])
      return sum + w.forward * node.element.forward[s] + w.backward * node.element.backward[s] + w.once * node.element.once[s]
        + w.sendForward * node.element.sendForward[s] + w.sendBackward * node.element.sendBackward[s]
    }
    return pieces.reduce(nodes + objective.constant) { sum, piece in
      let (w, times) = (objective.place(piece.place), piece.times(choice))
      return sum + w.forward * times.forward + w.backward * times.backward
    }
  }

  /// What each virtual stage of a configuration takes under a choice; nil where stages are on devices of several kinds.
  func stageTimes(_ choice: [Int], _ configuration: Configuration) -> [PipelineTimeline.StageTimes]? {
    guard model.kinds.isEmpty else { return nil }
    return configuration.stageTimes(
      model, choice, nodes: model.operatorNodes.indices,
      conversions: pieces.compactMap { piece in
        if case .match = piece.costs { return nil }
        let times = piece.times(choice)
        return (piece.place, times.forward, times.backward)
      })
  }

  /// The bytes of a memory row under a choice.
  func memory(_ choice: [Int], _ row: MemoryRow) -> Int64 {
    let weights = RowWeights(row, model)
    let nodes = model.operatorNodes.enumerated().reduce(row.reserved) { $0 + weights.bytes($1.element, $1.offset, choice[$1.offset]) }
    return pieces.reduce(nodes) { sum, piece in
      guard case .conversions(let conversions) = piece.costs, !conversions.kept.isEmpty else { return sum }
      return sum + weights.weight(conversions, piece.place) * conversions.kept[Int(conversions.pairOfEntry[piece.table.index(choice)])]
    }
  }

  /// How a memory row counts each part.
  private struct RowWeights {
    let row: MemoryRow
    let running: [Int]
    let segment: SegmentID?

    init(_ row: MemoryRow, _ model: FoldedModel) {
      self.row = row
      running = row.op.map(model.runningWith) ?? []
      segment = row.op.map { model.nodes[$0].segment }
    }

    func bytes(_ node: FoldedModel.Node, _ index: Int, _ s: Int) -> Int64 {
      Int64(row.copies[node.segment]) * node.resident[s] + Int64(row.kept[node.segment]) * node.kept[s]
        + (running.contains(index) ? node.transient[s] : 0) + (node.segment == segment ? node.revived[s] : 0)
    }

    /// The bytes of each of a node's strategies.
    func forEach(_ node: FoldedModel.Node, _ index: Int, _ body: (_ s: Int, _ bytes: Int64) -> Void) {
      let (copies, kept) = (Int64(row.copies[node.segment]), Int64(row.kept[node.segment]))
      let (isRunning, isRevived) = (running.contains(index), node.segment == segment)
      for s in 0..<node.count {
        var bytes = copies * node.resident[s] + kept * node.kept[s]
        if isRunning { bytes += node.transient[s] }
        if isRevived { bytes += node.revived[s] }
        body(s, bytes)
      }
    }

    /// How often what conversions keep counts.
    func weight(_ conversions: Conversions, _ place: FoldedModel.Place) -> Int64 {
      guard case .inside(let own) = place else { return 0 }
      return conversions.isRevived ? (own == segment ? 1 : 0) : Int64(row.kept[own])
    }
  }
}

extension BlockTables.Price {
  /// Rounded down, as for a lower bound.
  fileprivate static func ticks(_ ticksPerByte: Double, _ bytes: Int64) -> Int64 { Int64((ticksPerByte * Double(bytes)).rounded(.down)) }
}

extension BlockTables.Objective {
  /// A chain's length.
  init(_ chain: Chain) {
    self.init(segments: chain.segments.map(\.all), place: { chain.weights($0).all })
  }

  /// A chain's length through the stages of a configuration.
  init(_ configuration: Configuration, _ path: PipelineTimeline.Path, _ model: FoldedModel) {
    self.init(
      segments: configuration.nodeWeights(path, segments: model.graph.segments.count), place: { configuration.edgeWeights(path, $0) },
      constant: configuration.hostTime(path, model))
  }
}

extension Chain.Weights {
  fileprivate var all: Configuration.Weights { .init(forward: forward, backward: backward, once: once) }
}

extension Configuration.Weights {
  /// A product that no sum of a search may exceed.
  fileprivate static func checked(_ weight: Int64, _ time: Int64) throws -> Int64 {
    let (product, overflow) = weight.multipliedReportingOverflow(by: time)
    guard !overflow, product.magnitude <= Problem.largestSum.magnitude / 8 else { throw SearchError.sumOutOfRange(what: "weighted times") }
    return product
  }

  /// Throws where these weights of such times are more than a sum may hold.
  func check(_ largest: Self) throws {
    try check((largest.forward, largest.backward))
    _ = try Self.checked(once, largest.once)
    _ = try Self.checked(sendForward, largest.sendForward)
    _ = try Self.checked(sendBackward, largest.sendBackward)
  }

  func check(_ largest: (forward: Int64, backward: Int64)) throws {
    _ = try Self.checked(forward, largest.forward)
    _ = try Self.checked(backward, largest.backward)
  }
}
