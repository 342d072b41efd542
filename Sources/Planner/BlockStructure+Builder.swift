// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search
import Strategies

extension BlockStructure {
  struct Builder {
    let model: FoldedModel
    private(set) var pieces: [Piece] = []
    /// For each node of what is held of a tensor, which come after the operators' nodes, its number of strategies.
    private(set) var holders: [Int] = []

    init(model: FoldedModel) { self.model = model }

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
      var entries: [Int64] = []
      entries.reserveCapacity(table.count)
      for s in table.representatives[0] {
        for t in table.representatives[1] { entries.append(first[s] == second[t] ? 0 : Problem.forbidden) }
      }
      pieces.append(Piece(table: table, place: .inside(segment), content: .match(entries)))
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
        if model.trains, model.pricing.needsGradient[tensor] { addExchange(tensor, first, second) }
        return
      }
      for other in readers.dropFirst() where other.op != readers[0].op {
        let first = readers[0]
        addMatch(first.op, uses(first), other.op, uses(other))
      }
    }

    /// As in `FoldedModel.exchange`.
    private mutating func addExchange(_ tensor: TensorID, _ first: Graph.OperandSite, _ second: Graph.OperandSite) {
      let (a, b) = (uses(first).map(\.forward), uses(second).map(\.forward))
      let table = TableMinimum.Table(
        scope: [model.nodeOfOperator[first.op], model.nodeOfOperator[second.op]], classes: [classes(a), classes(b)])
      pieces.append(
        Piece(
          table: table, place: .exchange(graph.segmentOfOperator[first.op], graph.segmentOfOperator[second.op]),
          content: .exchange(tensor, table.representatives[0].map { a[$0] }, table.representatives[1].map { b[$0] })))
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

    /// All that read a tensor, and what they ask for.
    private struct Readers {
      var numbering = Numbering()
      var ops: [OperatorID] = []
      /// For each operator and strategy.
      var demands: [[Demand]] = []
      /// Every demand of one use.
      var atoms: [Demand] = []
      /// Where what is held has a node of its own: the node, and for each of its strategies a set of uses.
      var holder: (node: Int, sets: [Part])?
    }

    /// Nil where they ask for more than a demand has bits.
    private func readers(of tensor: TensorID) -> Readers? {
      var readers = Readers()
      let sites = graph.consumers[tensor]
      for site in sites where !readers.ops.contains(site.op) { readers.ops.append(site.op) }
      for op in readers.ops {
        let own = sites.filter { $0.op == op }
        var list: [Demand] = []
        for strategy in model.strategies[op] {
          var all = Demand()
          for site in own {
            guard let demand = readers.numbering.demand(model.keptUse(strategy, site)) else { return nil }
            if !readers.atoms.contains(demand) { readers.atoms.append(demand) }
            all = all.joined(demand)
          }
          list.append(all)
        }
        readers.demands.append(list)
      }
      return readers
    }

    private mutating func addActivation(_ tensor: TensorID) -> Bool {
      let sources = model.sources(of: tensor)
      guard !graph.consumers[tensor].isEmpty, !sources.isEmpty else { return true }
      guard var readers = readers(of: tensor) else { return false }
      for (number, source) in sources.enumerated() {
        guard addPieces(tensor, &readers, source.op, place: source.place, prices: true, keeps: number == 0 && graph.producer[tensor] != nil)
        else { return false }
      }
      // What comes in is kept once, whatever it comes from.
      if graph.producer[tensor] == nil, model.isShared(tensor) {
        let place = FoldedModel.Place.inside(graph.segmentOfOperator[readers.ops[0]])
        return addPieces(tensor, &readers, nil, place: place, prices: false, keeps: true)
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
    /// a table for its conversions from each source and one for each reader.
    ///
    /// - Parameters:
    ///   - made: how many layouts the source gives.
    ///   - entries: of a table over all of them.
    private mutating func hold(_ readers: inout Readers, made: Int, entries: Double, place: FoldedModel.Place) {
      guard readers.holder == nil, readers.ops.count > 2 else { return }
      let sets = holdings(readers.atoms)
      let sizes = readers.demands.map { sets.count * Set($0).count }
      guard Double(sizes.reduce(sets.count * made, +)) < entries / 2 else { return }
      let node = model.operatorNodes.count + holders.count
      holders.append(sets.count)
      for (op, asked) in zip(readers.ops, readers.demands) {
        let table = TableMinimum.Table(scope: [model.nodeOfOperator[op], node], classes: [classes(asked), Array(sets.indices)])
        var entries: [Int64] = []
        entries.reserveCapacity(table.count)
        for wanted in table.representatives[0].map({ asked[$0] }) {
          for held in sets {
            entries.append(wanted.uses & ~held.demand.uses == 0 && wanted.kept & ~held.demand.kept == 0 ? 0 : Problem.forbidden)
          }
        }
        pieces.append(Piece(table: table, place: place, content: .match(entries)))
      }
      readers.holder = (node, sets)
    }

    private mutating func addPieces(
      _ tensor: TensorID, _ readers: inout Readers, _ producer: OperatorID?, place: FoldedModel.Place, prices: Bool, keeps: Bool
    ) -> Bool {
      var made: [Int] = []
      if let producer {
        for strategy in model.strategies[producer] {
          guard let number = readers.numbering.number(strategy.result) else { return false }
          made.append(number)
        }
      }
      let asked = readers.demands.map { $0.map { Part(produced: nil, demand: $0) } }
      let entries = readers.demands.reduce(Double(max(1, Set(made).count))) { $0 * Double(Set($1).count) }
      hold(&readers, made: max(1, Set(made).count), entries: entries, place: place)
      var factors: [(node: Int, parts: [Part])] = []
      if let holder = readers.holder {
        if let producer { factors.append((model.nodeOfOperator[producer], made.map { Part(produced: $0) })) }
        factors.append((holder.node, holder.sets))
      } else {
        // A producer that reads its own result's next copy is one node with both.
        if let producer {
          let own = readers.ops.firstIndex(of: producer)
          factors.append(
            (model.nodeOfOperator[producer], made.enumerated().map { Part(produced: $1, demand: own.map { readers.demands[$0] }?[$0] ?? Demand()) }))
        }
        for (op, parts) in zip(readers.ops, asked) where op != producer { factors.append((model.nodeOfOperator[op], parts)) }
      }
      let table = TableMinimum.Table(scope: factors.map(\.node), classes: factors.map { classes($0.parts) })
      guard table.count <= Self.largestPiece else { return false }
      let classParts = zip(factors.map(\.parts), table.representatives).map { parts, representatives in representatives.map { parts[$0] } }

      var producers: [(result: Layout, gradient: Layout)] = []
      if let producer, prices {
        producers = table.representatives[0].map { number in
          let strategy = model.strategies[producer][number]
          return (strategy.result, strategy.resultGradient)
        }
      }
      let ownIsKept = producer != nil && model.producerKeeps(tensor)
      let (pairs, pairOfEntry) = pairs(classParts, tellsProducers: !producers.isEmpty, ownIsKept: ownIsKept)
      let conversions = Conversions(
        tensor: tensor, layouts: readers.numbering.layouts, produced: producers, carriesGradient: model.trains && model.pricing.needsGradient[tensor],
        isRevived: model.isRevived(tensor), regathers: model.isRegathered(tensor), holds: keeps && model.isShared(tensor), pairs: pairs,
        pairOfEntry: pairOfEntry)
      pieces.append(Piece(table: table, place: place, content: .conversions(conversions)))
      return true
    }

    /// What each entry of a table asks for. Most tables have the producer first, which asks for nothing, so that its classes repeat the same demands.
    private func pairs(_ classParts: [[Part]], tellsProducers: Bool, ownIsKept: Bool) -> (pairs: [Pair], ofEntry: [Int32]) {
      var numbers: [Demand: Int32] = [:]
      var demands: [Demand] = []
      var numberOfEntry: [Int32] = []
      func walk(_ dimension: Int, _ demand: Demand) {
        if dimension == classParts.count {
          let number = numbers[demand] ?? Int32(demands.count)
          if Int(number) == demands.count {
            numbers[demand] = number
            demands.append(demand)
          }
          return numberOfEntry.append(number)
        }
        for part in classParts[dimension] { walk(dimension + 1, demand.joined(part.demand)) }
      }
      var pairs: [Pair] = []
      var ofEntry: [Int32] = []
      for (producer, part) in classParts[0].enumerated() {
        let isRepeated = producer > 0 && part.demand == classParts[0][producer - 1].demand
        if !isRepeated {
          (numbers, demands, numberOfEntry) = ([:], [], [])
          walk(1, part.demand)
        }
        if isRepeated && !tellsProducers && !ownIsKept {
          ofEntry += ofEntry.suffix(numberOfEntry.count)
          continue
        }
        let first = Int32(pairs.count)
        for demand in demands {
          let isForbidden = demand.uses.nonzeroBitCount > FoldedModel.mostUses
          let own: UInt128 = if ownIsKept, let produced = part.produced { 1 << UInt128(produced) } else { 0 }
          pairs.append(
            Pair(
              producer: Int32(tellsProducers ? producer : 0), isForbidden: isForbidden, forward: isForbidden ? 0 : demand.forward,
              gradient: isForbidden ? 0 : demand.gradient, kept: isForbidden ? 0 : demand.kept | own))
        }
        for number in numberOfEntry { ofEntry.append(first + number) }
      }
      return (pairs, ofEntry)
    }
  }
}
