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
  private struct Piece {
    let table: TableMinimum.Table
    let place: FoldedModel.Place
    /// By entry; `Problem.forbidden` in `forward` marks what must not be.
    var forward: [Int64] = []
    var backward: [Int64] = []
    /// Kept for backward per micro-batch in flight, or, where it is computed again, alive during one copy's backward pass; else empty.
    var kept: [Int64] = []
    var isRevived = false
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
  /// The numbers of strategies of the nodes after the operators'.
  private let holders: [Int]
  private let minimum: TableMinimum
  /// For each operator's node, and that of its weights, where its strategies begin among the costs of all nodes.
  private let starts: [Int]

  /// - Parameters:
  ///   - model: its operators; it need not be connected.
  ///   - variants: segments that are kinds of one layer.
  /// - Returns: nil where the tables would be too large.
  init?(_ model: FoldedModel, variants: Range<SegmentID>? = nil) {
    self.model = model
    var builder = Builder(model: model)
    guard builder.addAll(variants) else { return nil }
    pieces = builder.pieces
    holders = builder.holders
    guard let minimum = TableMinimum(strategyCounts: model.operatorNodes.map(\.count) + holders, tables: pieces.map(\.table)) else { return nil }
    self.minimum = minimum
    starts = model.operatorNodes.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
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
    nodeCosts += [Int64](repeating: 0, count: holders.reduce(0, +))
    let tables = try pieces.map { piece in
      let w = objective.place(piece.place)
      return try piece.forward.indices.map { entry in
        if piece.forward[entry] == Problem.forbidden { return Problem.forbidden }
        var cost =
          try Configuration.Weights.checked(w.forward, piece.forward[entry]) + Configuration.Weights.checked(w.backward, piece.backward[entry])
        if !piece.kept.isEmpty, let price = objective.price, let memory { cost += price.ticks(memory.bytes(piece, entry)) }
        return cost
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
      let (w, entry) = (objective.place(piece.place), piece.table.index(choice))
      return sum + w.forward * piece.forward[entry] + w.backward * piece.backward[entry]
    }
  }

  /// What each virtual stage of a configuration takes under a choice; nil where stages are on devices of several kinds.
  func stageTimes(_ choice: [Int], _ configuration: Configuration) -> [PipelineTimeline.StageTimes]? {
    guard model.kinds.isEmpty else { return nil }
    return configuration.stageTimes(
      model, choice, nodes: model.operatorNodes.indices,
      conversions: pieces.map { piece in
        let entry = piece.table.index(choice)
        return (piece.place, piece.forward[entry], piece.backward[entry])
      })
  }

  /// The bytes of a memory row under a choice.
  func memory(_ choice: [Int], _ row: MemoryRow) -> Int64 {
    let weights = RowWeights(row, model)
    let nodes = model.operatorNodes.enumerated().reduce(row.reserved) { $0 + weights.bytes($1.element, $1.offset, choice[$1.offset]) }
    return pieces.reduce(nodes) { $1.kept.isEmpty ? $0 : $0 + weights.bytes($1, $1.table.index(choice)) }
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

    func bytes(_ piece: Piece, _ entry: Int) -> Int64 {
      guard case .inside(let own) = piece.place else { return 0 }
      return piece.isRevived ? (own == segment ? piece.kept[entry] : 0) : Int64(row.kept[own]) * piece.kept[entry]
    }
  }

  // MARK: - Building

  private struct Builder {
    let model: FoldedModel
    var pieces: [Piece] = []
    /// For each node of what is held of a tensor, which come after the operators' nodes, its number of strategies.
    var holders: [Int] = []

    /// Tables with more entries are left to a `Problem`.
    static let largestPiece = 1 << 17

    private var graph: Graph { model.graph }

    mutating func addAll(_ variants: Range<SegmentID>?) -> Bool {
      for op in graph.operators.indices { addWeights(of: op) }
      for tensor in graph.tensors.indices where graph.tensors[tensor].isActivation {
        guard addActivation(tensor) else { return false }
      }
      for tensor in graph.tensors.indices where graph.tensors[tensor].isParameter { addTie(tensor) }
      for segment in (variants ?? 0..<0).dropFirst() { addMatches(of: segment - 1, and: segment) }
      return true
    }

    /// Classes by equal keys, numbered by first appearance.
    private func classes<Key: Hashable>(_ keys: [Key]) -> [Int] {
      var numbers: [Key: Int] = [:]
      return keys.map { key in
        if let known = numbers[key] { return known }
        numbers[key] = numbers.count
        return numbers.count - 1
      }
    }

    private mutating func addWeights(of op: OperatorID) {
      guard let (node, uses) = model.weightsUses(of: op) else { return }
      addMatch(model.nodeOfOperator[op], model.strategies[op].map { model.parameterUses(of: op, $0) }, node, uses, in: graph.segmentOfOperator[op])
    }

    /// Two operators agree in one respect.
    private mutating func addMatch<Key: Hashable>(_ x: OperatorID, _ a: [Key], _ y: OperatorID, _ b: [Key]) {
      addMatch(model.nodeOfOperator[x], a, model.nodeOfOperator[y], b, in: graph.segmentOfOperator[x])
    }

    /// Two nodes agree in one respect.
    private mutating func addMatch<Key: Hashable>(_ x: Int, _ a: [Key], _ y: Int, _ b: [Key], in segment: SegmentID) {
      // Classes numbered over both alike.
      let all = classes(a + b)
      let (first, second) = (Array(all[..<a.count]), Array(all[a.count...]))
      let table = TableMinimum.Table(scope: [x, y], classes: [classes(first), classes(second)])
      var piece = Piece(table: table, place: .inside(segment))
      piece.forward.reserveCapacity(table.count)
      for s in table.representatives[0] {
        for t in table.representatives[1] { piece.forward.append(first[s] == second[t] ? 0 : Problem.forbidden) }
      }
      piece.backward = [Int64](repeating: 0, count: table.count)
      pieces.append(piece)
    }

    private func uses(_ site: Graph.OperandSite) -> [Strategy.Use] { model.strategies[site.op].map { $0.operands[site.operand] } }

    /// As in `FoldedModel.matchLayouts`.
    private mutating func addMatches(of first: SegmentID, and second: SegmentID) {
      let (a, b) = (graph.segments[first], graph.segments[second])
      for (entry, other) in zip(a.entries, b.entries) {
        for (site, counterpart) in zip(graph.consumers[entry], graph.consumers[other]) {
          addMatch(site.op, uses(site), counterpart.op, uses(counterpart))
        }
      }
      for (exit, other) in zip(a.exits, b.exits) {
        if let x = graph.producer[exit], let y = graph.producer[other] {
          addMatch(x, model.strategies[x].map(\.result), y, model.strategies[y].map(\.result))
        }
      }
    }

    private mutating func addTie(_ tensor: TensorID) {
      let readers = graph.consumers[tensor]
      if let runs = model.runs, let (first, second) = model.holders(tensor) {
        for (side, own) in runs.sides(readers, graph) {
          for other in own.dropFirst() where other.op != side.op { addMatch(side.op, uses(side), other.op, uses(other)) }
        }
        if model.trains, model.pricing.needsGradient[tensor] { addExchange(tensor, first, second, runs) }
        return
      }
      for other in readers.dropFirst() where other.op != readers[0].op {
        let first = readers[0]
        addMatch(first.op, uses(first), other.op, uses(other))
      }
    }

    /// As in `FoldedModel.exchange`.
    private mutating func addExchange(
      _ tensor: TensorID, _ first: Graph.OperandSite, _ second: Graph.OperandSite, _ runs: FoldedModel.RunPrices
    ) {
      let (a, b) = (uses(first).map(\.forward), uses(second).map(\.forward))
      let table = TableMinimum.Table(
        scope: [model.nodeOfOperator[first.op], model.nodeOfOperator[second.op]], classes: [classes(a), classes(b)])
      var piece = Piece(
        table: table, place: .exchange(graph.segmentOfOperator[first.op], graph.segmentOfOperator[second.op]))
      for s in table.representatives[0] {
        for t in table.representatives[1] { piece.forward.append(ticks(runs.exchange(tensor, a[s], b[t]))) }
      }
      piece.backward = [Int64](repeating: 0, count: piece.forward.count)
      pieces.append(piece)
    }

    /// What an operator's strategy has to do with a tensor: the layout in which it makes it, and the uses in which it reads it.
    private struct Part: Hashable {
      var produced: Int?
      var demand = Demand()
    }

    /// Which of a tensor's uses are asked for, and in which layouts forward, backward, and kept: a bit for each.
    private struct Demand: Hashable {
      var uses: UInt128 = 0
      var forward: UInt128 = 0
      var gradient: UInt128 = 0
      var kept: UInt128 = 0

      func joined(_ other: Demand) -> Demand {
        Demand(uses: uses | other.uses, forward: forward | other.forward, gradient: gradient | other.gradient, kept: kept | other.kept)
      }
    }

    /// The different uses and layouts of one tensor, numbered.
    private struct Numbering {
      var uses: [Strategy.Use] = []
      var layouts: [Layout] = []
      static let most = 128

      /// Nil where there are more than a demand has bits.
      mutating func number(_ layout: Layout) -> Int? {
        if let known = layouts.firstIndex(of: layout) { return known }
        layouts.append(layout)
        return layouts.count <= Self.most ? layouts.count - 1 : nil
      }

      mutating func demand(_ kept: FoldedModel.KeptUse) -> Demand? {
        guard let forward = number(kept.use.forward), let gradient = number(kept.use.gradient) else { return nil }
        let use = uses.firstIndex(of: kept.use) ?? uses.count
        if use == uses.count { uses.append(kept.use) }
        guard uses.count <= Self.most else { return nil }
        return Demand(uses: 1 << use, forward: 1 << forward, gradient: 1 << gradient, kept: kept.isKept ? 1 << forward : 0)
      }
    }

    private mutating func addActivation(_ tensor: TensorID) -> Bool {
      let readers = graph.consumers[tensor]
      let sources = model.sources(of: tensor)
      guard !readers.isEmpty, !sources.isEmpty else { return true }
      for (number, source) in sources.enumerated() {
        guard addPieces(tensor, readers, source.op, place: source.place, prices: true, keeps: number == 0 && graph.producer[tensor] != nil)
        else { return false }
      }
      // What comes in is kept once, whatever it comes from.
      if graph.producer[tensor] == nil, model.isShared(tensor) {
        return addPieces(tensor, readers, nil, place: .inside(graph.segmentOfOperator[readers[0].op]), prices: false, keeps: true)
      }
      return true
    }

    /// The sets of uses that may be held at once, as demands: each use that some reader asks for by itself, and each pair.
    private func holdings(_ atoms: [Demand]) -> [Part] {
      var sets = atoms
      for (number, first) in atoms.enumerated() {
        for second in atoms[(number + 1)...] where second.uses != first.uses { sets.append(first.joined(second)) }
      }
      return sets.map { Part(produced: nil, demand: $0) }
    }

    /// Readers that ask for a tensor in many ways each: a table over all of them would be large. What is held becomes a node of its own, with
    /// a table for its conversions and one for each reader.
    private mutating func holding(
      _ ops: [OperatorID], _ parts: [[Part]], _ producer: OperatorID?, _ atoms: [Demand], entries: Int, place: FoldedModel.Place
    ) -> [(node: Int, parts: [Part])]? {
      let sets = holdings(atoms)
      let readers = zip(ops, parts).filter { $0.1.contains { $0.demand.uses != 0 } }
      let sizes = readers.map { sets.count * Set($0.1.map(\.demand)).count }
      let made = producer == nil ? 1 : Set(parts[0].map(\.produced)).count
      guard readers.count > 2, sizes.reduce(sets.count * made, +) < entries / 2 else { return nil }
      let node = model.operatorNodes.count + holders.count
      holders.append(sets.count)
      for (op, list) in readers {
        let asked = list.map(\.demand)
        let table = TableMinimum.Table(scope: [model.nodeOfOperator[op], node], classes: [classes(asked), Array(sets.indices)])
        var piece = Piece(table: table, place: place)
        piece.forward.reserveCapacity(table.count)
        for wanted in table.representatives[0].map({ asked[$0] }) {
          for held in sets {
            piece.forward.append(wanted.uses & ~held.demand.uses == 0 && wanted.kept & ~held.demand.kept == 0 ? 0 : Problem.forbidden)
          }
        }
        piece.backward = [Int64](repeating: 0, count: piece.forward.count)
        pieces.append(piece)
      }
      let makers = producer.map { [(node: model.nodeOfOperator[$0], parts: parts[0].map { Part(produced: $0.produced) })] } ?? []
      return makers + [(node, sets)]
    }

    private mutating func addPieces(
      _ tensor: TensorID, _ readers: [Graph.OperandSite], _ producer: OperatorID?, place: FoldedModel.Place, prices: Bool, keeps: Bool
    ) -> Bool {
      var ops: [OperatorID] = []
      if let producer { ops.append(producer) }
      for site in readers where !ops.contains(site.op) { ops.append(site.op) }
      var numbering = Numbering()
      var parts: [[Part]] = []
      var atoms: [Demand] = []
      for op in ops {
        let own = readers.filter { $0.op == op }
        var list: [Part] = []
        for strategy in model.strategies[op] {
          var part = Part()
          if op == producer {
            guard let number = numbering.number(strategy.result) else { return false }
            part.produced = number
          }
          for site in own {
            guard let demand = numbering.demand(model.keptUse(strategy, site)) else { return false }
            if !atoms.contains(demand) { atoms.append(demand) }
            part.demand = part.demand.joined(demand)
          }
          list.append(part)
        }
        parts.append(list)
      }
      var factors = zip(ops, parts).map { (node: model.nodeOfOperator[$0], parts: $1) }
      let entries = parts.reduce(1.0) { $0 * Double(Set($1).count) }
      if let held = holding(ops, parts, producer, atoms, entries: Int(min(entries, 1e15)), place: place) { factors = held }
      let table = TableMinimum.Table(scope: factors.map(\.node), classes: factors.map { classes($0.parts) })
      guard table.count <= Self.largestPiece else { return false }
      let classParts = zip(factors.map(\.parts), table.representatives).map { parts, representatives in representatives.map { parts[$0] } }

      let layouts = numbering.layouts
      let repeats = model.isRevived(tensor)
      let holds = keeps && model.isShared(tensor)
      let pricing = graph.segment(ofActivation: tensor).map { model.pricing($0) } ?? model.pricing
      var bytes = holds ? layouts.map { pricing.keptBytes(tensor, $0).whole } : []
      // In a lower bound from axes by themselves, a copy that two layouts of the mesh have in common must not count on every axis anew: of all but the
      // first, what a layout takes more than a perfectly shared one.
      let once = pricing.sharers == nil ? 0 : bytes.min() ?? 0
      for index in bytes.indices { bytes[index] -= once }
      let ownIsKept = producer != nil && model.producerKeeps(tensor)
      let carriesGradient = model.trains && model.pricing.needsGradient[tensor]
      let asked = parts.joined().reduce(Demand()) { $0.joined($1.demand) }
      // For each of the producer's classes, and each layout that is asked for: the conversions.
      var there: [[Int64]] = []
      var back: [[Int64]] = []
      if let producer, prices {
        for representative in table.representatives[0] {
          let strategy = model.strategies[producer][representative]
          there.append(
            layouts.indices.map {
              asked.forward >> $0 & 1 == 0 ? 0 : ticks(model.conversion(tensor, from: strategy.result, to: layouts[$0], at: place, isForward: true))
            })
          back.append(
            layouts.indices.map {
              carriesGradient && asked.gradient >> $0 & 1 == 1
                ? ticks(model.conversion(tensor, from: layouts[$0], to: strategy.resultGradient, at: place, isForward: false)) : 0
            })
        }
      }
      func sum(_ costs: [Int64], _ bits: UInt128) -> Int64 {
        var (sum, rest) = (Int64(0), bits)
        while rest != 0 {
          sum = min(Problem.forbidden, sum + costs[rest.trailingZeroBitCount])
          rest &= rest - 1
        }
        return sum
      }
      var piece = Piece(table: table, place: place)
      piece.isRevived = repeats
      piece.forward.reserveCapacity(table.count)
      piece.backward.reserveCapacity(table.count)
      func add(_ demand: Demand, producerClass: Int, produced: Int?) {
        var (forward, backward): (Int64, Int64) = (0, 0)
        if demand.uses.nonzeroBitCount > FoldedModel.mostUses {
          forward = Problem.forbidden
        } else if producer != nil, prices {
          (forward, backward) = (sum(there[producerClass], demand.forward), sum(back[producerClass], demand.gradient))
          if repeats { backward += forward }
          if forward >= Problem.forbidden || backward >= Problem.forbidden { (forward, backward) = (Problem.forbidden, 0) }
        }
        piece.forward.append(forward)
        piece.backward.append(backward)
        if holds {
          let layouts = demand.kept | (ownIsKept ? 1 << produced! : 0)
          piece.kept.append(layouts == 0 ? 0 : once + sum(bytes, layouts))
        }
      }
      func walk(_ dimension: Int, _ demand: Demand, producerClass: Int, produced: Int?) {
        if dimension == classParts.count { return add(demand, producerClass: producerClass, produced: produced) }
        for (number, part) in classParts[dimension].enumerated() {
          walk(
            dimension + 1, demand.joined(part.demand), producerClass: dimension == 0 ? number : producerClass, produced: part.produced ?? produced)
        }
      }
      walk(0, Demand(), producerClass: 0, produced: nil)
      pieces.append(piece)
      return true
    }

    private func ticks(_ time: Seconds?) -> Int64 { time.map(model.pricing.ticks) ?? Problem.forbidden }
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
