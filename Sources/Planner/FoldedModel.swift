// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Search
import Strategies

/// The choices of one unique block, and of what surrounds it, with every cost still in its parts.
///
/// A node is an operator, or a tensor that several readers share (its strategies are the sets of uses that are held at once). An edge joins
/// a producer and a reader. Segments occur once, however often they repeat; where a segment follows itself, an edge from its exit's producer
/// to its entry's readers keeps the seam. Times are per micro-batch and copy in ticks, sizes in bytes: `Configuration` weighs them
/// with the number of copies on each stage.
struct FoldedModel {
  struct Node {
    enum Subject {
      case op(OperatorID)
      /// The weights that an operator owns: how they are shared out (its strategies are pairs of layouts and ZeRO stages).
      case weights(OperatorID)
      case tensor(TensorID)
    }
    let subject: Subject
    let segment: SegmentID
    var forward: [Int64]
    var backward: [Int64]
    var once: [Int64]
    /// Resident whatever is in flight: weights, gradients, optimizer state.
    var resident: [Int64]
    /// Kept for backward, per micro-batch in flight.
    var kept: [Int64]
    /// A lower bound of what the operator makes the stage keep, with what it shares with other readers: counted at the first that keeps it.
    var leastKept: [Int64]
    /// Computed again for the backward pass of one copy of the segment, and alive during it.
    var revived: [Int64]
    /// Only while the operator runs (for weights: their operator).
    var transient: [Int64]
    /// For an operator whose result leaves the segment: the time to send it, and its gradient back, to another stage.
    var sendForward: [Int64]
    var sendBackward: [Int64]

    var count: Int { forward.count }

    /// Makes room for so many strategies.
    fileprivate mutating func reserve(_ count: Int) {
      forward.reserveCapacity(count)
      backward.reserveCapacity(count)
      once.reserveCapacity(count)
      resident.reserveCapacity(count)
      kept.reserveCapacity(count)
      leastKept.reserveCapacity(count)
      revived.reserveCapacity(count)
      transient.reserveCapacity(count)
      sendForward.reserveCapacity(count)
      sendBackward.reserveCapacity(count)
    }
  }

  /// Where an edge's conversions are paid: within each copy of a segment, or where a copy follows a copy of another (or the same) segment.
  enum Place: Hashable {
    case inside(SegmentID)
    case seam(from: SegmentID, to: SegmentID)
    /// Between stages with several meshes: paid on the way from the last stage of one segment to the first stage of the next. An edge's times are those
    /// of messages.
    case crossing(from: SegmentID, to: SegmentID)
    /// Once per step, on both stages: `forward` is the time of exchanging a tied weight's gradient between two meshes.
    case exchange(SegmentID, SegmentID)
  }

  struct Edge {
    let tail: Int
    let head: Int
    let place: Place
    /// Row-major, tail × head; `Problem.forbidden` in `forward` marks what must not be.
    var forward: [Int64]
    var backward: [Int64]
  }

  /// Of the first run of stages, or of all.
  let pricing: Pricing
  /// The pricing's.
  let graph: Graph
  private(set) var resharder: Resharder
  /// Where stages have several meshes, each segment's prices.
  let runs: RunPrices?
  /// For each operator, the strategies that may be chosen, in order.
  let strategies: [[Strategy]]
  /// For each segment.
  let recompute: [Recompute]
  /// Which readers of tied parameters hold a copy of their own.
  let ties: Ties
  /// The ZeRO stages that are given.
  let zero: GivenZeRO
  /// What the host takes for a copy of each segment.
  private(set) var host: [PassTimes] = []
  /// Where stages are on devices of several kinds, the same choices at the prices of each; the nodes' and edges' own are then the least of them.
  private(set) var kinds: [FoldedModel] = []
  /// Where devices of several kinds share the batch out unevenly, the same choices for each other kind: what these hold.
  var otherShares: [FoldedModel] = []
  /// The link from the last stage to the first, where it is another than the one between neighbours.
  var wrapLink: Link?
  var nodes: [Node] = []
  var edges: [Edge] = []
  private var operatorNodeCount = 0
  /// For each operator its node.
  private(set) var nodeOfOperator: [Int] = []
  /// For each operator the node of its weights, if these have a choice of their own.
  private(set) var nodeOfWeights: [Int?] = []
  /// For each operator, what its weights may choose from.
  private var weightsOptions: [[OperatorPrices.WeightsOption]] = []
  /// For each shared tensor's node, what its strategies hold.
  var shared: [(node: Int, readers: [Graph.OperandSite], uses: [KeptUse], holdings: [Holding])] = []

  /// One set of uses that a shared tensor is held in at once.
  struct Holding {
    /// The producer's own layout, where it keeps its result for backward, or what is gathered from it is gathered again.
    let producer: Layout?
    /// Numbers in the tensor's list of uses, ascending.
    let uses: [Int]
    let kept: Int64
    /// The time of gathering again; nil where nothing is gathered.
    let regathering: Int64?
  }

  /// How a reader takes a tensor: with or without keeping it for backward.
  struct KeptUse: Hashable, Comparable {
    let use: Strategy.Use
    let isKept: Bool
    /// Whether a tensor held like this can be read like that.
    func serves(_ wanted: KeptUse) -> Bool { use == wanted.use && (isKept || !wanted.isKept) }

    static func < (a: KeptUse, b: KeptUse) -> Bool { a.use != b.use ? a.use < b.use : !a.isKept && b.isKept }
  }

  /// The most distinct uses of one tensor that are held at once: a bound of the modelled space.
  static let mostUses = 2

  /// - Parameters:
  ///   - strategies: the strategies allowed for each operator (pins and forbids applied).
  ///   - ties: which readers of tied parameters hold a copy of their own.
  ///   - prices: of models with the same operators, strategies and prices, which differ at most in what is computed again.
  ///   - send: the time to send so many bytes to another stage; zero with one stage.
  ///   - zero: the ZeRO stages that are given.
  ///   - recompute: for each segment; nil is none.
  ///   - resharder: with these prices; nil makes one.
  init(
    pricing: Pricing, strategies: [[Strategy]], ties: Ties, zero: GivenZeRO = GivenZeRO(), recompute: [Recompute]? = nil, resharder: Resharder? = nil,
    runs: RunPrices? = nil, prices: OperatorPrices = OperatorPrices(), send: (Bytes) -> Seconds
  ) {
    self.pricing = pricing
    self.runs = runs
    (self.ties, self.zero) = (ties, zero)
    self.recompute = recompute ?? pricing.graph.segments.map { _ in .none }
    self.strategies = strategies
    self.resharder = resharder ?? Resharder(pricing)
    let graph = pricing.graph
    self.graph = graph
    for op in graph.operators.indices {
      if let runs {
        addOperator(op, ties: ties, zero: zero, prices) { runs.send($0, from: graph.segmentOfOperator[op]) }
      } else {
        addOperator(op, ties: ties, zero: zero, prices, send: send)
      }
    }
    operatorNodeCount = nodes.count
    host = PassTimes.ofHost(graph, pricing: { self.pricing($0) }, isRecomputed: { isRecomputed($0) })
  }

  /// Joins the models of several kinds of devices: times are the least of any, for lower bounds.
  init(leastOf kinds: [FoldedModel]) {
    self = kinds[0]
    self.kinds = kinds
    resharder = Resharder(leastOf: kinds.map(\.resharder))
    for other in kinds.dropFirst() {
      for index in nodes.indices {
        let node = other.nodes[index]
        nodes[index].forward = zip(nodes[index].forward, node.forward).map { min($0, $1) }
        nodes[index].backward = zip(nodes[index].backward, node.backward).map { min($0, $1) }
        nodes[index].once = zip(nodes[index].once, node.once).map { min($0, $1) }
      }
      host = zip(host, other.host).map { $0.least($1) }
    }
  }

  /// The prices of the stages that hold a segment.
  func pricing(_ segment: SegmentID) -> Pricing { runs?.pricing(segment) ?? pricing }

  /// The time of a tensor's way from one layout into another at a place; nil where there is none.
  func conversion(_ tensor: TensorID, from: Layout, to: Layout, at place: Place, isForward: Bool) -> Seconds? {
    guard let runs else { return resharder.time(tensor, from: from, to: to) }
    switch place {
    case .inside(let segment), .seam(_, let segment): return runs.resharder(segment).time(tensor, from: from, to: to)
    case .crossing(_, let segment): return runs.crossing(into: segment, tensor, from: from, to: to, isForward: isForward)
    case .exchange: preconditionFailure("nothing is converted between a tied weight's holders")
    }
  }

  /// The times of the ways from each of some layouts to each of others, one source after the other; `Problem.forbidden` where there is none.
  ///
  /// - Parameter isAsked: by the numbers of both; whatever is not asked for may be anything.
  func conversions(
    _ tensor: TensorID, from: [Layout], to: [Layout], at place: Place, isForward: Bool, isAsked: (_ from: Int, _ to: Int) -> Bool
  ) -> [Int64] {
    if runs == nil {
      return resharder.times(tensor, from: from, to: to).map { $0.isFinite ? pricing.ticks(Seconds($0)) : Problem.forbidden }
    }
    return from.indices.flatMap { source in
      to.indices.map { target in
        guard isAsked(source, target) else { return 0 }
        return conversion(tensor, from: from[source], to: to[target], at: place, isForward: isForward).map(pricing.ticks) ?? Problem.forbidden
      }
    }
  }

  /// The prices of every kind of device.
  var pricings: [Pricing] { kinds.isEmpty ? [pricing] : kinds.map(\.pricing) }

  /// Adds the shared tensors and the edges; before, the model holds operators alone, which is enough for bounds.
  ///
  /// - Parameter variants: segments that are kinds of one layer: they agree on the layouts in which layers take in and hand on what passes
  ///   between them, so that any layer may follow any other.
  mutating func connect(variants: Range<SegmentID>? = nil) {
    precondition(edges.isEmpty, "the model is connected already")
    for op in graph.operators.indices { connectWeights(of: op) }
    for tensor in graph.tensors.indices where graph.tensors[tensor].isActivation { connect(tensor) }
    for tensor in graph.tensors.indices where graph.tensors[tensor].isParameter { tie(tensor) }
    for segment in (variants ?? 0..<0).dropFirst() { matchLayouts(of: segment - 1, and: segment) }
    for kind in kinds.indices { kinds[kind].connect(variants: variants) }
    for share in otherShares.indices { otherShares[share].connect(variants: variants) }
  }

  /// For each node the name of its operator, or of the tensor whose layouts it holds.
  var nodeNames: [String] {
    nodes.map { node in
      switch node.subject {
      case .op(let op): graph.operators[op].name
      case .weights(let op): "weights of " + graph.operators[op].name
      case .tensor(let tensor): "layouts of " + graph.tensors[tensor].name
      }
    }
  }

  var trains: Bool { pricing.job.mode == .train }

  // MARK: - Nodes

  private mutating func addOperator(_ op: OperatorID, ties: Ties, zero: GivenZeRO, _ prices: OperatorPrices, send: (Bytes) -> Seconds) {
    let segment = graph.segmentOfOperator[op]
    let operands = graph.operators[op].operands
    let leaves = graph.segments[segment].exits.contains(graph.operators[op].result)
    let keepsAlone = operands.indices.filter { isKept(operands[$0], by: op, operand: $0) && !isShared(operands[$0]) }
    let repeats = isRecomputed(op)
    let pricing = self.pricing(segment)
    // A result that leaves the segment may have no reader inside.
    let keepsResultAlone = pricing.keepsResult(op) && graph.consumers[graph.operators[op].result].isEmpty
    var node = Node(
      subject: .op(op), segment: segment, forward: [], backward: [], once: [], resident: [], kept: [], leastKept: [], revived: [], transient: [],
      sendForward: [], sendBackward: [])
    let keepsFirst = operands.indices.filter { position in
      let tensor = operands[position]
      return isKept(tensor, by: op, operand: position) && isShared(tensor) && !isRevived(tensor)
        && graph.consumers[tensor].first { isKept(tensor, by: $0.op, operand: $0.operand) } == Graph.OperandSite(op: op, operand: position)
    }
    let regathered = operands.indices.filter { isRegathered(operands[$0]) && isKept(operands[$0], by: op, operand: $0) }
    node.reserve(strategies[op].count)
    let costs = prices.costs(op) { strategies[op].map { pricing.cost(op, $0) } }
    for (strategy, cost) in zip(strategies[op], costs) {
      node.forward.append(pricing.ticks(cost.forward))
      node.backward.append(pricing.ticks(cost.backward) + (repeats ? pricing.ticks(cost.forward) : 0))
      node.once.append(0)
      node.resident.append(0)
      var (kept, revived) = repeats ? (Bytes.zero, cost.extras) : (cost.extras, .zero)
      for position in keepsAlone {
        let bytes = pricing.keptBytes(operands[position], strategy.operands[position].forward)
        if isRevived(operands[position]) { revived += bytes } else { kept += bytes }
      }
      if keepsResultAlone {
        let bytes = pricing.keptBytes(graph.operators[op].result, strategy.result)
        if isRevived(graph.operators[op].result) { revived += bytes } else { kept += bytes }
      }
      node.kept.append(kept.whole)
      node.revived.append(revived.whole)
      node.leastKept.append(
        keepsFirst.reduce(kept) { sum, position in
          let layout = strategy.operands[position].forward
          let bytes = pricing.keptBytes(operands[position], layout)
          return sum + (regathered.contains(position) ? Bytes((bytes.value / layout.parts(gatheredOn: pricing.mesh)).rounded(.down)) : bytes)
        }.whole)
      node.transient.append(
        (cost.transient + pricing.regathered(operands, at: regathered, strategy)).whole)
      let result = graph.operators[op].result
      node.sendForward.append(leaves ? pricing.ticks(pricing.boundary(result, strategy.result, by: send)) : 0)
      node.sendBackward.append(
        leaves && trains && pricing.needsGradient[result] ? pricing.ticks(pricing.boundary(result, strategy.resultGradient, by: send)) : 0)
    }
    nodeOfOperator.append(nodes.count)
    nodes.append(node)
    addWeights(of: op, ties: ties, zero: zero, prices, send: send)
  }

  /// Adds a node for the weights of an operator, or, where they have no choice, their costs to the operator's node.
  private mutating func addWeights(of op: OperatorID, ties: Ties, zero: GivenZeRO, _ prices: OperatorPrices, send: (Bytes) -> Seconds) {
    let operands = graph.operators[op].operands
    let owns = operands.indices.map { ties.owns(operands[$0], Graph.OperandSite(op: op, operand: $0), graph) }
    let repeats = isRecomputed(op)
    let pricing = self.pricing(graph.segmentOfOperator[op])
    nodeOfWeights.append(nil)
    weightsOptions.append([])
    guard operands.indices.contains(where: { owns[$0] && pricing.isParameter(operands[$0]) }) else { return }
    func cost(_ strategy: Strategy, _ stage: ZeROStage) -> WeightsCost {
      var cost = pricing.weights(op, strategy, stage, ownsParameter: owns, listsCollectives: false)
      for (position, tensor) in operands.enumerated() where owns[position] && ties.isSplit(tensor) && pricing.needsGradient[tensor] {
        if crossesRuns(tensor) { continue }
        let bytes = pricing.bytes(tensor, strategy.operands[position].forward, bytesPerElement: pricing.gradientBytesSent)
        cost.gradientSync += runs?.sendTied(bytes) ?? send(bytes)
      }
      return cost
    }
    func stages(_ strategy: Strategy) -> [ZeROStage] {
      zero.stages(of: op, amongst: pricing.zeroStages(op, strategy))
    }
    let weights = prices.weights(op, ties) {
      if strategies[op].allSatisfy({ stages($0).count == 1 }) {
        return .init(
          hasChoice: false,
          options: strategies[op].map { strategy in
            let stage = stages(strategy)[0]
            return .init(uses: [], zero: stage, cost: cost(strategy, stage))
          })
      }
      var options: [OperatorPrices.WeightsOption] = []
      for strategy in strategies[op] {
        let uses = parameterUses(of: op, strategy)
        if options.contains(where: { $0.uses == uses }) { continue }
        for stage in stages(strategy) { options.append(.init(uses: uses, zero: stage, cost: cost(strategy, stage))) }
      }
      return .init(hasChoice: true, options: options)
    }
    weightsOptions[op] = weights.options
    if !weights.hasChoice {
      let node = nodeOfOperator[op]
      for (s, option) in weights.options.enumerated() {
        let cost = option.cost
        nodes[node].forward[s] += pricing.ticks(cost.forward)
        nodes[node].backward[s] += pricing.ticks(cost.backward) + (repeats ? pricing.ticks(cost.forward) : 0)
        nodes[node].once[s] += pricing.ticks(cost.gradientSync + cost.update)
        nodes[node].resident[s] += cost.resident.whole
        nodes[node].transient[s] += cost.transient.whole
      }
      return
    }
    var node = Node(
      subject: .weights(op), segment: graph.segmentOfOperator[op], forward: [], backward: [], once: [], resident: [], kept: [], leastKept: [],
      revived: [], transient: [], sendForward: [], sendBackward: [])
    for option in weights.options {
      let cost = option.cost
      node.forward.append(pricing.ticks(cost.forward))
      node.backward.append(pricing.ticks(cost.backward) + (repeats ? pricing.ticks(cost.forward) : 0))
      node.once.append(pricing.ticks(cost.gradientSync + cost.update))
      node.resident.append(cost.resident.whole)
      node.transient.append(cost.transient.whole)
    }
    let zeros = [Int64](repeating: 0, count: node.count)
    (node.kept, node.leastKept, node.revived, node.sendForward, node.sendBackward) = (zeros, zeros, zeros, zeros, zeros)
    nodeOfWeights[op] = nodes.count
    nodes.append(node)
  }

  func parameterUses(of op: OperatorID, _ strategy: Strategy) -> [Strategy.Use] {
    let operands = graph.operators[op].operands
    return operands.indices.filter { pricing.isParameter(operands[$0]) }.map { strategy.operands[$0] }
  }

  /// The nodes of operators and of their weights: those of shared tensors come after them.
  var operatorNodes: ArraySlice<Node> { nodes[..<operatorNodeCount] }

  /// The node of an operator's weights and for each of its strategies the uses that it goes with; nil where the weights have no choice of their own.
  func weightsUses(of op: OperatorID) -> (node: Int, uses: [[Strategy.Use]])? {
    nodeOfWeights[op].map { ($0, weightsOptions[op].map(\.uses)) }
  }

  /// An operator and its weights agree on the weights' layouts.
  private mutating func connectWeights(of op: OperatorID) {
    guard let node = nodeOfWeights[op] else { return }
    let forward = strategies[op].flatMap { strategy in
      let uses = parameterUses(of: op, strategy)
      return weightsOptions[op].map { $0.uses == uses ? Int64(0) : Problem.forbidden }
    }
    edges.append(
      Edge(
        tail: nodeOfOperator[op], head: node, place: .inside(graph.segmentOfOperator[op]), forward: forward,
        backward: [Int64](repeating: 0, count: forward.count)))
  }

  /// The nodes whose transient memory lives while a node's operator runs: itself and its weights. Empty for a node that runs nothing.
  func runningWith(_ node: Int) -> [Int] {
    guard case .op(let op) = nodes[node].subject else { return [] }
    return [node] + (nodeOfWeights[op].map { [$0] } ?? [])
  }

  /// The ZeRO stage of each operator's weights under a choice.
  func zeroStages(_ choice: [Int]) -> [ZeROStage] {
    graph.operators.indices.map { op in
      if weightsOptions[op].isEmpty { return .none }
      return weightsOptions[op][choice[nodeOfWeights[op] ?? nodeOfOperator[op]]].zero
    }
  }

  /// Whether the backward pass of its segment carries an operator's forward pass out again.
  func isRecomputed(_ op: OperatorID) -> Bool { trains && recompute[graph.segmentOfOperator[op]].repeats(pricing.rules[op]) }

  /// Whether a tensor is computed again before it is read in the backward pass.
  func isRevived(_ tensor: TensorID) -> Bool {
    guard trains, let producer = graph.producer[tensor] else { return false }
    return recompute[graph.segmentOfOperator[producer]].revivesResult(of: pricing.rules[producer], pricing.job.software.attention)
  }

  /// Whether a tensor that operators read gathered is kept as its producer left it, and gathered again in the backward pass.
  func isRegathered(_ tensor: TensorID) -> Bool {
    guard trains, let producer = graph.producer[tensor], recompute[graph.segmentOfOperator[producer]].gathers, !isRevived(tensor) else {
      return false
    }
    return graph.consumers[tensor].contains { isKept(tensor, by: $0.op, operand: $0.operand) }
  }

  /// Whether an operand is needed again: for the operator's own backward pass, or, as what comes into a segment, to compute everything again.
  func isKept(_ tensor: TensorID, by op: OperatorID, operand: Int) -> Bool {
    if pricing.keeps(op, operand: operand) { return true }
    return trains && recompute[graph.segmentOfOperator[op]] == .full && pricing.isActivation(tensor) && graph.producer[tensor] == nil
  }

  /// Whether a tensor has a node of its own: it has several readers, its producer's backward pass counted, so that its conversions and its kept
  /// copies are shared, or follows itself.
  func isShared(_ tensor: TensorID) -> Bool {
    graph.consumers[tensor].count + (producerKeeps(tensor) ? 1 : 0) > 1 || followsItself(tensor) || isRegathered(tensor)
  }

  /// Whether what comes in is read by the operator that gives what goes out in its place, so that its copies follow one another: the tensor's
  /// node stands between them, or an edge would join the operator to itself.
  private func followsItself(_ tensor: TensorID) -> Bool {
    guard graph.producer[tensor] == nil, let reader = graph.consumers[tensor].first?.op else { return false }
    let segment = graph.segments[graph.segmentOfOperator[reader]]
    guard segment.repeats > 1, let position = segment.entries.firstIndex(of: tensor) else { return false }
    return graph.producer[segment.exits[position]] == reader
  }

  func producerKeeps(_ tensor: TensorID) -> Bool {
    graph.producer[tensor].map { pricing.keepsResult($0) } ?? false
  }

  func keptUse(_ strategy: Strategy, _ site: Graph.OperandSite) -> KeptUse {
    KeptUse(use: strategy.operands[site.operand], isKept: isKept(graph.operators[site.op].operands[site.operand], by: site.op, operand: site.operand))
  }
}
