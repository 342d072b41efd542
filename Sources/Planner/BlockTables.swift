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
  fileprivate final class Piece {
    let table: TableMinimum.Table
    let place: FoldedModel.Place
    let costs: Costs

    init(table: TableMinimum.Table, place: FoldedModel.Place, costs: Costs) { (self.table, self.place, self.costs) = (table, place, costs) }
  }

  fileprivate enum Costs {
    /// Whatever is weighted: 0, or `Problem.forbidden`.
    case match([Int64])
    case exchange([Int64])
    case conversions(Conversions)
  }

  /// By pair of a structure's conversions; `Problem.forbidden` in `forward` marks what must not be.
  fileprivate final class Conversions {
    let pairOfEntry: [Int32]
    var forward: [Int64] = []
    var backward: [Int64] = []
    /// Kept for backward per micro-batch in flight, or, where it is computed again, alive during one copy's backward pass; else empty.
    var kept: [Int64] = []
    let isRevived: Bool
    /// Of what is not forbidden.
    var mostForward: Int64 = 0
    var mostBackward: Int64 = 0

    init(pairOfEntry: [Int32], isRevived: Bool) { (self.pairOfEntry, self.isRevived) = (pairOfEntry, isRevived) }

    /// For each entry its pair's weighted times, with what `charge` adds to those that are not forbidden.
    func weighted(_ ofForward: Int64, _ ofBackward: Int64, _ charge: (UnsafeMutableBufferPointer<Int64>) -> Void) -> [Int64] {
      withUnsafeTemporaryAllocation(of: Int64.self, capacity: forward.count) { costs in
        for pair in 0..<forward.count {
          let isForbidden = forward[pair] == Problem.forbidden
          costs.initializeElement(
            at: pair, to: isForbidden ? Problem.forbidden : ofForward &* forward[pair] &+ ofBackward &* backward[pair])
        }
        charge(costs)
        return [Int64](unsafeUninitializedCapacity: pairOfEntry.count) { entries, count in
          count = pairOfEntry.count
          for entry in 0..<count { entries.initializeElement(at: entry, to: costs[Int(pairOfEntry[entry])]) }
        }
      }
    }
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
      return sum + weights.weight(conversions, piece.place) * conversions.kept[Int(conversions.pairOfEntry[piece.table.index(choice)])]
    }
  }

  /// The times of operators' nodes.
  private struct NodeTimes {
    /// For each node its segment, and where its strategies begin; at the end their number.
    private let segments: [SegmentID]
    private let starts: [Int]
    private var forward: [Int64] = []
    private var backward: [Int64] = []
    private var once: [Int64] = []
    private var sendForward: [Int64] = []
    private var sendBackward: [Int64] = []
    /// For each segment the largest of each of its nodes' times.
    private(set) var largest: [Configuration.Weights] = []

    init(_ nodes: ArraySlice<FoldedModel.Node>, _ starts: [Int]) {
      segments = nodes.map(\.segment)
      self.starts = starts
      for node in nodes {
        forward += node.forward
        backward += node.backward
        once += node.once
        sendForward += node.sendForward
        sendBackward += node.sendBackward
      }
      largest = .init(repeating: .init(), count: (segments.max() ?? -1) + 1)
      for (node, segment) in segments.enumerated() {
        for s in starts[node]..<starts[node + 1] {
          largest[segment].forward = max(largest[segment].forward, forward[s])
          largest[segment].backward = max(largest[segment].backward, backward[s])
          largest[segment].once = max(largest[segment].once, once[s])
          largest[segment].sendForward = max(largest[segment].sendForward, sendForward[s])
          largest[segment].sendBackward = max(largest[segment].sendBackward, sendBackward[s])
        }
      }
    }

    /// Adds every strategy's weighted times.
    func add(_ weights: [Configuration.Weights], to costs: UnsafeMutablePointer<Int64>) {
      func add(_ times: [Int64], _ weight: (Configuration.Weights) -> Int64) {
        times.withUnsafeBufferPointer { times in
          for node in segments.indices {
            let weight = weight(weights[segments[node]])
            if weight == 0 { continue }
            for s in starts[node]..<starts[node + 1] { costs[s] &+= weight &* times[s] }
          }
        }
      }
      add(forward, \.forward)
      add(backward, \.backward)
      add(once, \.once)
      add(sendForward, \.sendForward)
      add(sendBackward, \.sendBackward)
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

  // MARK: - Pricing

  private static func exchange(_ model: FoldedModel, _ tensor: TensorID, _ first: [Layout], _ second: [Layout]) -> [Int64] {
    guard let runs = model.runs else { preconditionFailure("stages with one mesh exchange no gradients of tied weights") }
    return first.flatMap { a in second.map { model.pricing.ticks(runs.exchange(tensor, a, $0)) } }
  }

  private static func price(_ structure: BlockStructure.Conversions, _ model: FoldedModel, at place: FoldedModel.Place) -> Conversions {
    let (tensor, layouts) = (structure.tensor, structure.layouts)
    // For each of the producer's classes, and each layout that is asked for: the conversions.
    let asked = structure.pairs.reduce((forward: UInt128(0), gradient: UInt128(0))) { ($0.forward | $1.forward, $0.gradient | $1.gradient) }
    let there = model.conversions(tensor, from: structure.produced.map(\.result), to: layouts, at: place, isForward: true) { _, to in
      asked.forward >> UInt128(to) & 1 == 1
    }
    let back =
      !structure.carriesGradient
      ? []
      : model.conversions(tensor, from: layouts, to: structure.produced.map(\.gradient), at: place, isForward: false) { from, _ in
        asked.gradient >> UInt128(from) & 1 == 1
      }
    let pricing = model.graph.segment(ofActivation: tensor).map { model.pricing($0) } ?? model.pricing
    // Where stages have several meshes, some layouts are those of the mesh that a tensor comes from: it is not kept there.
    let kept = structure.pairs.reduce(UInt128(0)) { $0 | $1.kept }
    var bytes =
      !structure.holds
      ? []
      : layouts.enumerated().map { number, layout in
        model.runs == nil || kept >> UInt128(number) & 1 == 1 ? pricing.keptBytes(tensor, layout).whole : 0
      }
    // In a lower bound from axes by themselves, a copy that two layouts of the mesh have in common must not count on every axis anew: of all but the
    // first, what a layout takes more than a perfectly shared one.
    let once = pricing.sharers == nil ? 0 : bytes.min() ?? 0
    for index in bytes.indices { bytes[index] -= once }
    func sum(_ costs: [Int64], _ first: Int, by step: Int = 1, _ bits: UInt128) -> Int64 {
      var (sum, rest) = (Int64(0), bits)
      while rest != 0 {
        sum = min(Problem.forbidden, sum + costs[first + step * rest.trailingZeroBitCount])
        rest &= rest - 1
      }
      return sum
    }
    let costs = Conversions(pairOfEntry: structure.pairOfEntry, isRevived: structure.isRevived)
    costs.forward.reserveCapacity(structure.pairs.count)
    costs.backward.reserveCapacity(structure.pairs.count)
    for pair in structure.pairs {
      var (forward, backward): (Int64, Int64) = (0, 0)
      if pair.isForbidden {
        forward = Problem.forbidden
      } else if !structure.produced.isEmpty {
        let producer = Int(pair.producer)
        forward = sum(there, producer * layouts.count, pair.forward)
        backward = back.isEmpty ? 0 : sum(back, producer, by: structure.produced.count, pair.gradient)
        if structure.isRevived { backward += forward }
        if forward >= Problem.forbidden || backward >= Problem.forbidden { (forward, backward) = (Problem.forbidden, 0) }
      }
      costs.forward.append(forward)
      costs.backward.append(backward)
      if structure.holds { costs.kept.append(pair.kept == 0 ? 0 : once + sum(bytes, 0, pair.kept)) }
      if forward < Problem.forbidden {
        costs.mostForward = max(costs.mostForward, forward)
        costs.mostBackward = max(costs.mostBackward, backward)
      }
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
  fileprivate static func ticks(_ ticksPerByte: Double, _ bytes: Int64) -> Int64 { Int64((ticksPerByte * Double(bytes)).rounded(.down)) }
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

  /// Throws where these weights of such times are more than a sum may hold.
  fileprivate func check(_ largest: Self) throws {
    try check((largest.forward, largest.backward))
    _ = try Self.checked(once, largest.once)
    _ = try Self.checked(sendForward, largest.sendForward)
    _ = try Self.checked(sendBackward, largest.sendBackward)
  }

  fileprivate func check(_ largest: (forward: Int64, backward: Int64)) throws {
    _ = try Self.checked(forward, largest.forward)
    _ = try Self.checked(backward, largest.backward)
  }
}
