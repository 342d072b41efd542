// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Search
import Strategies

/// What lies between nodes: conversions, what is held of shared tensors, and what must agree.
extension FoldedModel {
  /// The operators that a tensor comes from: its producer, or across the seam for what comes in from the copy before.
  func sources(of tensor: TensorID) -> [(op: OperatorID, place: Place)] {
    if let producer = graph.producer[tensor] { return [(producer, .inside(graph.segmentOfOperator[producer]))] }
    var result: [(OperatorID, Place)] = []
    for (index, segment) in graph.segments.enumerated() {
      guard let position = segment.entries.firstIndex(of: tensor) else { continue }
      if index > 0, let op = graph.producer[graph.segments[index - 1].exits[position]] {
        result.append((op, runs?.changes(before: index) ?? false ? .crossing(from: index - 1, to: index) : .seam(from: index - 1, to: index)))
      }
      if segment.repeats > 1, let op = graph.producer[segment.exits[position]] { result.append((op, .seam(from: index, to: index))) }
    }
    return result
  }

  mutating func connect(_ tensor: TensorID) {
    let readers = graph.consumers[tensor]
    let sources = sources(of: tensor)
    guard !readers.isEmpty, !sources.isEmpty else { return }
    if isShared(tensor) {
      connectShared(tensor, readers: readers, sources: sources)
    } else {
      let site = readers[0]
      let uses = strategies[site.op].map { keptUse($0, site) }
      let sets = uses.indices.map { [$0] }
      for source in sources {
        addEdge(tensor, source.op, to: nodeOfOperator[site.op], place: source.place, uses: uses, sets: sets)
      }
    }
  }

  private mutating func connectShared(_ tensor: TensorID, readers: [Graph.OperandSite], sources: [(op: OperatorID, place: Place)]) {
    let wanted = readers.map { site in strategies[site.op].map { keptUse($0, site) } }
    let uses = wanted.reduce(into: Set<KeptUse>()) { $0.formUnion($1) }.sorted()
    let holdings = holdings(of: tensor, uses: uses, wanted: wanted)
    let segment = graph.segmentOfOperator[readers.first?.op ?? sources[0].op]
    let zeros = [Int64](repeating: 0, count: holdings.count)
    let node = nodes.count
    shared.append((node, readers, uses, holdings))
    let held = holdings.map(\.kept)
    nodes.append(
      Node(
        subject: .tensor(tensor), segment: segment, forward: zeros, backward: zeros, once: zeros, resident: zeros,
        kept: isRevived(tensor) ? zeros : held, leastKept: zeros, revived: isRevived(tensor) ? held : zeros, transient: zeros, sendForward: zeros,
        sendBackward: zeros))
    let holds = producerKeeps(tensor) || isRegathered(tensor)
    for source in sources {
      addEdge(tensor, source.op, to: node, place: source.place, uses: uses, sets: holdings.map(\.uses), holdings: holds ? holdings : nil)
    }
    for (site, wanted) in zip(readers, wanted) {
      // Free where the set has the reader's use, forbidden where it lacks it.
      let servers = wanted.map { wanted in uses.map { $0.serves(wanted) } }
      var forward: [Int64] = []
      forward.reserveCapacity(holdings.count * wanted.count)
      for holding in holdings {
        for server in servers { forward.append(holding.uses.contains { server[$0] } ? 0 : Problem.forbidden) }
      }
      edges.append(
        Edge(
          tail: node, head: nodeOfOperator[site.op], place: .inside(segment), forward: forward,
          backward: [Int64](repeating: 0, count: forward.count)))
    }
  }

  /// Every set of at most `mostUses` uses in which each reader finds one of its own.
  private func holdings(of tensor: TensorID, uses: [KeptUse], wanted: [[KeptUse]]) -> [Holding] {
    // For each reader, whether a use would do.
    let serves = wanted.map { wanted in
      let own = Set(wanted)
      return uses.map { use in own.contains { use.serves($0) } }
    }
    var sets = uses.indices.map { [$0] }
    if wanted.count > 1 {
      for a in uses.indices { for b in a + 1..<uses.count where uses[a].use != uses[b].use { sets.append([a, b]) } }
    }
    sets = sets.filter { set in serves.allSatisfy { serves in set.contains { serves[$0] } } }
    let regathers = isRegathered(tensor)
    let producerLayouts: [Layout?] =
      producerKeeps(tensor) || regathers ? Set(strategies[graph.producer[tensor]!].map(\.result)).sorted().map { $0 } : [nil]
    let pricing = graph.segment(ofActivation: tensor).map { self.pricing($0) } ?? pricing
    let bytes = uses.map { pricing.keptBytes(tensor, $0.use.forward).whole }
    let place = Place.inside(graph.segmentOfOperator[graph.producer[tensor] ?? graph.consumers[tensor][0].op])
    return producerLayouts.flatMap { producer in
      let own = producer.map { pricing.keptBytes(tensor, $0).whole } ?? 0
      // What its producer keeps, or what is to be gathered from again, is there once.
      return sets.map { set in
        var (kept, keepsOwn, regathering) = (Int64(0), producerKeeps(tensor), nil as Int64?)
        for (position, use) in set.enumerated() where uses[use].isKept {
          let layout = uses[use].use.forward
          if set[..<position].contains(where: { uses[$0].isKept && uses[$0].use.forward == layout }) { continue }
          if layout == producer {
            keepsOwn = true
          } else if regathers, let producer, layout.isGathered(from: producer) {
            keepsOwn = true
            let time = conversion(tensor, from: producer, to: layout, at: place, isForward: true).map(pricing.ticks) ?? 0
            regathering = (regathering ?? 0) + time
          } else {
            kept += bytes[use]
          }
        }
        return Holding(producer: producer, uses: set, kept: kept + (keepsOwn ? own : 0), regathering: regathering)
      }
    }
  }

  /// Adds the edge from a tensor's producer, which prices the conversions to each set of uses and back.
  ///
  /// A strategy's `resultGradient` is a function of its `result`, so producers of one result layout share their prices.
  ///
  /// - Parameter holdings: those that the sets are of, where each is for one layout of the producer.
  private mutating func addEdge(
    _ tensor: TensorID, _ producer: OperatorID, to head: Int, place: Place, uses: [KeptUse], sets: [[Int]], holdings: [Holding]? = nil
  ) {
    let produced = strategies[producer]
    let carriesGradient = trains && pricing.needsGradient[tensor]
    let repeats = isRevived(tensor)
    var rows: [(layout: Layout, forward: [Int64], backward: [Int64])] = []
    var forward: [Int64] = []
    var backward: [Int64] = []
    forward.reserveCapacity(produced.count * sets.count)
    backward.reserveCapacity(produced.count * sets.count)
    for strategy in produced {
      var number = rows.firstIndex { $0.layout == strategy.result }
      if number == nil {
        number = rows.count
        rows.append((strategy.result, [], []))
        let there = uses.map {
          conversion(tensor, from: strategy.result, to: $0.use.forward, at: place, isForward: true).map(pricing.ticks) ?? Problem.forbidden
        }
        let back = uses.map { use -> Int64 in
          if !carriesGradient { return 0 }
          return conversion(tensor, from: use.use.gradient, to: strategy.resultGradient, at: place, isForward: false).map(pricing.ticks)
            ?? Problem.forbidden
        }
        for set in sets {
          // A conversion is paid once, whoever shares it.
          var (f, b) = (there[set[0]], back[set[0]])
          if set.count == 2 {
            let (first, second) = (uses[set[0]].use, uses[set[1]].use)
            if second.forward != first.forward { f = min(Problem.forbidden, f + there[set[1]]) }
            if second.gradient != first.gradient { b = min(Problem.forbidden, b + back[set[1]]) }
          }
          let isPossible = f < Problem.forbidden && b < Problem.forbidden
          if isPossible && repeats { b += f }
          rows[number!].forward.append(isPossible ? f : Problem.forbidden)
          rows[number!].backward.append(isPossible ? b : 0)
        }
      }
      let row = rows[number!]
      guard let holdings else {
        forward += row.forward
        backward += row.backward
        continue
      }
      for (index, holding) in holdings.enumerated() {
        forward.append(holding.producer == strategy.result ? row.forward[index] : Problem.forbidden)
        backward.append(row.backward[index] + (holding.regathering ?? 0))
      }
    }
    edges.append(Edge(tail: nodeOfOperator[producer], head: head, place: place, forward: forward, backward: backward))
  }

  /// The choice in which every shared tensor is held in the uses that its readers have, and no other: what a decision with these operators'
  /// strategies costs. A solver's choice may hold more where that is free of charge in the chains that it looked at.
  func withoutIdleHoldings(_ choice: [Int]) -> [Int] {
    var choice = choice
    for (node, readers, uses, holdings) in shared {
      let wanted = readers.map { keptUse(strategies[$0.op][choice[nodeOfOperator[$0.op]]], $0) }
      let needed = uses.indices.filter { index in
        let isKept = wanted.contains { $0.use == uses[index].use && $0.isKept }
        return uses[index].isKept == isKept && wanted.contains { $0.use == uses[index].use }
      }
      let producer = holdings[choice[node]].producer
      if let least = holdings.firstIndex(where: { $0.producer == producer && $0.uses == needed }) { choice[node] = least }
    }
    return choice
  }

  /// The segments in which a choice gathers something again.
  func gatheringSegments(_ choice: [Int]) -> Set<SegmentID> {
    Set(shared.filter { $0.holdings[choice[$0.node]].regathering != nil }.map { nodes[$0.node].segment })
  }

  /// Two kinds of one layer read their entries alike, each reader as its counterpart does, and give their exits in the same layouts.
  mutating func matchLayouts(of first: SegmentID, and second: SegmentID) {
    let (a, b) = (graph.segments[first], graph.segments[second])
    func match(_ x: OperatorID, _ y: OperatorID, _ isEqual: (Strategy, Strategy) -> Bool) {
      let forward = strategies[x].flatMap { s in strategies[y].map { isEqual(s, $0) ? Int64(0) : Problem.forbidden } }
      edges.append(
        Edge(
          tail: nodeOfOperator[x], head: nodeOfOperator[y], place: .inside(first), forward: forward,
          backward: [Int64](repeating: 0, count: forward.count)))
    }
    for (entry, other) in zip(a.entries, b.entries) {
      for (site, counterpart) in zip(graph.consumers[entry], graph.consumers[other]) {
        match(site.op, counterpart.op) { $0.operands[site.operand] == $1.operands[counterpart.operand] }
      }
    }
    for (exit, other) in zip(a.exits, b.exits) {
      if let x = graph.producer[exit], let y = graph.producer[other] { match(x, y) { $0.result == $1.result } }
    }
  }

  /// All readers of one parameter use it alike, so that one stored shard serves them all and their gradients add.
  mutating func tie(_ tensor: TensorID) {
    let readers = graph.consumers[tensor]
    if crossesRuns(tensor) { return exchange(tensor, readers) }
    for other in readers.dropFirst() where other.op != readers[0].op { tie(readers[0], other) }
  }

  private mutating func tie(_ first: Graph.OperandSite, _ other: Graph.OperandSite) {
    var forward: [Int64] = []
    for a in strategies[first.op] {
      for b in strategies[other.op] { forward.append(a.operands[first.operand] == b.operands[other.operand] ? 0 : Problem.forbidden) }
    }
    edges.append(
      Edge(
        tail: nodeOfOperator[first.op], head: nodeOfOperator[other.op], place: .inside(graph.segmentOfOperator[first.op]), forward: forward,
        backward: [Int64](repeating: 0, count: forward.count)))
  }

  /// Readers on one mesh use a parameter alike; the first of each side exchange its gradient.
  private mutating func exchange(_ tensor: TensorID, _ readers: [Graph.OperandSite]) {
    guard let runs, let (first, second) = holders(tensor) else { return }
    for (side, own) in runs.sides(readers, graph) { for other in own.dropFirst() where other.op != side.op { tie(side, other) } }
    guard trains, pricing.needsGradient[tensor] else { return }
    let forward = strategies[first.op].flatMap { a in
      strategies[second.op].map { b in
        pricing.ticks(runs.exchange(tensor, a.operands[first.operand].forward, b.operands[second.operand].forward))
      }
    }
    edges.append(
      Edge(
        tail: nodeOfOperator[first.op], head: nodeOfOperator[second.op],
        place: .exchange(graph.segmentOfOperator[first.op], graph.segmentOfOperator[second.op]), forward: forward,
        backward: [Int64](repeating: 0, count: forward.count)))
  }

  /// Whether stages with several meshes read a parameter.
  func crossesRuns(_ tensor: TensorID) -> Bool { holders(tensor) != nil }

  /// The first readers of a parameter before all layers and after them, where these are on several meshes.
  func holders(_ tensor: TensorID) -> (first: Graph.OperandSite, second: Graph.OperandSite)? {
    guard let runs, runs.endsDiffer, case let sides = runs.sides(graph.consumers[tensor], graph), sides.count == 2 else { return nil }
    return (sides[0].first, sides[1].first)
  }
}

extension Bytes {
  /// In whole bytes, rounded up.
  var whole: Int64 { Int64(value.rounded(.up)) }

  /// The whole bytes in it: of memory, a part of a byte holds nothing.
  var wholeWithin: Int64 { Int64(value.rounded(.down)) }
}
