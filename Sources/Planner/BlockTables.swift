// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Quantities
import Search
import Strategies

/// A folded model's choices with tables instead of nodes for tensors that several operators share: small, and minimised in a fraction of the time,
/// for as many weighted sums as a search asks for.
///
/// A table joins a tensor's producer and all of its readers by the layouts that they give and take; its entries price the conversions, each
/// paid once, and what is kept for backward.
struct BlockTables {
  /// What a table's entries cost.
  fileprivate struct Piece {
    let table: TableMinimum.Table
    let place: FoldedModel.Place
    let costs: Costs
  }

  fileprivate enum Costs {
    /// Whatever is weighted: 0, or `Problem.forbidden`.
    case match([Int64])
    case exchange([Int64])
    case conversions(Conversions)
  }

  /// By pair of a structure's conversions; `Problem.forbidden` in `forward` marks what must not be.
  fileprivate struct Conversions {
    let pairOfEntry: [Int32]
    var forward: [Int64] = []
    var backward: [Int64] = []
    /// Kept for backward per micro-batch in flight, or, where it is computed again, alive during one copy's backward pass; else empty.
    var kept: [Int64] = []
    let isRevived: Bool
  }

  /// What a weighted sum counts, and how often.
  struct Objective {
    /// For each segment, the operators' times and the conversions inside.
    var segments: [Configuration.Weights]
    /// For the conversions of each place.
    var place: (FoldedModel.Place) -> Configuration.Weights
    var price: Price?

    /// What the bytes below the limit count for.
    fileprivate var allowance: Int64 { price?.allowance ?? 0 }
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

  /// For each operator and each of its strategies, the least weighted sum of a choice that takes it.
  ///
  /// - Throws: `SearchError.sumOutOfRange`.
  func leastByStrategy(_ objective: Objective) throws -> [[Int64]] {
    let (nodeCosts, tables) = try weighted(objective)
    let all = try minimum.leastByStrategy(nodeCosts: nodeCosts, tables: tables)
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
    var nodeCosts: [Int64] = []
    let memory = objective.price.map { RowWeights($0.row, model) }
    for (index, node) in model.operatorNodes.enumerated() {
      let w = objective.segments[node.segment]
      for s in 0..<node.count {
        var cost = try w.sum(node, s)
        if let price = objective.price, let memory { cost += price.ticks(memory.bytes(node, index, s)) }
        nodeCosts.append(cost)
      }
    }
    nodeCosts += [Int64](repeating: 0, count: held)
    let tables = try pieces.map { piece in
      switch piece.costs {
      case .match(let entries): return entries
      case .exchange(let times):
        let weight = objective.place(piece.place).forward
        return try times.map { try Configuration.Weights.checked(weight, $0) }
      case .conversions(let conversions):
        let w = objective.place(piece.place)
        let ofPairs = try conversions.forward.indices.map { pair in
          if conversions.forward[pair] == Problem.forbidden { return Problem.forbidden }
          var cost =
            try Configuration.Weights.checked(w.forward, conversions.forward[pair])
            + Configuration.Weights.checked(w.backward, conversions.backward[pair])
          if !conversions.kept.isEmpty, let price = objective.price, let memory { cost += price.ticks(memory.bytes(conversions, pair, piece.place)) }
          return cost
        }
        return ofPairs.withUnsafeBufferPointer { ofPairs in
          [Int64](unsafeUninitializedCapacity: conversions.pairOfEntry.count) { entries, count in
            count = conversions.pairOfEntry.count
            for (entry, pair) in conversions.pairOfEntry.enumerated() { entries.initializeElement(at: entry, to: ofPairs[Int(pair)]) }
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
    return pieces.reduce(nodes) { sum, piece in
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
      return sum + weights.bytes(conversions, Int(conversions.pairOfEntry[piece.table.index(choice)]), piece.place)
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

    func bytes(_ conversions: Conversions, _ pair: Int, _ place: FoldedModel.Place) -> Int64 {
      guard case .inside(let own) = place else { return 0 }
      return conversions.isRevived ? (own == segment ? conversions.kept[pair] : 0) : Int64(row.kept[own]) * conversions.kept[pair]
    }
  }

  // MARK: - Pricing

  private static func exchange(_ model: FoldedModel, _ tensor: TensorID, _ first: [Layout], _ second: [Layout]) -> [Int64] {
    guard let runs = model.runs else { preconditionFailure("stages with one mesh exchange no gradients of tied weights") }
    return first.flatMap { a in second.map { model.pricing.ticks(runs.exchange(tensor, a, $0)) } }
  }

  private static func price(_ structure: BlockStructure.Conversions, _ model: FoldedModel, at place: FoldedModel.Place) -> Conversions {
    let (tensor, layouts) = (structure.tensor, structure.layouts)
    func ticks(_ time: Seconds?) -> Int64 { time.map(model.pricing.ticks) ?? Problem.forbidden }
    // For each of the producer's classes, and each layout that is asked for: the conversions.
    var there: [Int64] = []
    var back: [Int64] = []
    for produced in structure.produced {
      for (number, layout) in layouts.enumerated() {
        let isAsked = structure.askedForward >> number & 1 == 1
        there.append(isAsked ? ticks(model.conversion(tensor, from: produced.result, to: layout, at: place, isForward: true)) : 0)
        let givesBack = structure.carriesGradient && structure.askedGradient >> number & 1 == 1
        back.append(givesBack ? ticks(model.conversion(tensor, from: layout, to: produced.gradient, at: place, isForward: false)) : 0)
      }
    }
    let pricing = model.graph.segment(ofActivation: tensor).map { model.pricing($0) } ?? model.pricing
    var bytes = structure.holds ? layouts.map { pricing.keptBytes(tensor, $0).whole } : []
    // In a lower bound from axes by themselves, a copy that two layouts of the mesh have in common must not count on every axis anew: of all but the
    // first, what a layout takes more than a perfectly shared one.
    let once = pricing.sharers == nil ? 0 : bytes.min() ?? 0
    for index in bytes.indices { bytes[index] -= once }
    func sum(_ costs: [Int64], _ first: Int, _ bits: UInt128) -> Int64 {
      var (sum, rest) = (Int64(0), bits)
      while rest != 0 {
        sum = min(Problem.forbidden, sum + costs[first + rest.trailingZeroBitCount])
        rest &= rest - 1
      }
      return sum
    }
    var costs = Conversions(pairOfEntry: structure.pairOfEntry, isRevived: structure.isRevived)
    costs.forward.reserveCapacity(structure.pairs.count)
    costs.backward.reserveCapacity(structure.pairs.count)
    for pair in structure.pairs {
      var (forward, backward): (Int64, Int64) = (0, 0)
      if pair.isForbidden {
        forward = Problem.forbidden
      } else if !structure.produced.isEmpty {
        let first = Int(pair.producer) * layouts.count
        (forward, backward) = (sum(there, first, pair.forward), sum(back, first, pair.gradient))
        if structure.isRevived { backward += forward }
        if forward >= Problem.forbidden || backward >= Problem.forbidden { (forward, backward) = (Problem.forbidden, 0) }
      }
      costs.forward.append(forward)
      costs.backward.append(backward)
      if structure.holds { costs.kept.append(pair.kept == 0 ? 0 : once + sum(bytes, 0, pair.kept)) }
    }
    return costs
  }
}

extension BlockTables.Piece {
  /// What a choice's conversions take.
  fileprivate func times(_ choice: [Int]) -> (forward: Int64, backward: Int64) {
    switch costs {
    case .match: return (0, 0)
    case .exchange(let times): return (times[table.index(choice)], 0)
    case .conversions(let conversions):
      let pair = Int(conversions.pairOfEntry[table.index(choice)])
      return (conversions.forward[pair], conversions.backward[pair])
    }
  }
}

extension BlockTables.Price {
  /// Rounded down, as for a lower bound.
  fileprivate func ticks(_ bytes: Int64) -> Int64 { Int64((ticksPerByte * Double(bytes)).rounded(.down)) }
}

extension BlockTables.Objective {
  /// A chain's length.
  init(_ chain: Chain) {
    self.init(segments: chain.segments.map(\.all), place: { chain.weights($0).all })
  }

  /// A chain's length through the stages of a configuration.
  init(_ configuration: Configuration, _ path: PipelineTimeline.Path, segments: Int) {
    self.init(segments: configuration.nodeWeights(path, segments: segments), place: { configuration.edgeWeights(path, $0) })
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

  fileprivate func sum(_ node: FoldedModel.Node, _ s: Int) throws -> Int64 {
    try Self.checked(forward, node.forward[s]) + Self.checked(backward, node.backward[s]) + Self.checked(once, node.once[s])
      + Self.checked(sendForward, node.sendForward[s]) + Self.checked(sendBackward, node.sendBackward[s])
  }
}
