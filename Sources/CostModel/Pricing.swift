// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies

/// Prices operators, conversions and boundaries for one graph, mesh and device.
package final class Pricing: Sendable {
  /// A graph at its sizes, with what its operators' rules say.
  package final class Model: Sendable {
    package let graph: Graph
    package let rules: [OperatorRule]
    package let needsGradient: [Bool]
    /// The axes along which positions may stand in any order.
    package let reorderable: [Bool]
    /// Of each tensor, at hand for thousands of questions.
    fileprivate let tensors: [TensorFacts]
    fileprivate let operators: [OperatorFacts]

    package init(_ graph: Graph, _ mode: Mode) {
      self.graph = graph
      let rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
      let needsGradient = mode == .train ? graph.reachesLoss() : [Bool](repeating: false, count: graph.tensors.count)
      reorderable = SequenceOrder.reorderable(in: graph)
      let operators = graph.operators.enumerated().map { op, own in
        // The backward pass runs an operator whose result's gradient is there, and that of an operand is wanted.
        let hasBackward = mode == .train && needsGradient[own.result] && own.operands.contains { needsGradient[$0] }
        let wanted = own.operands.map { needsGradient[$0] }
        return OperatorFacts(
          operands: own.operands, result: own.result, hasBackward: hasBackward, wanted: wanted,
          keeps: own.operands.enumerated().map { position, tensor in
            hasBackward && graph.tensors[tensor].isActivation && rules[op].keeps(position, forGradientsOf: wanted)
          })
      }
      tensors = graph.tensors.indices.map { tensor in
        let isInteger = if case .input(let kind) = graph.tensors[tensor].kind { kind.isInteger } else { false }
        return TensorFacts(
          shape: graph.shape(tensor), isParameter: graph.tensors[tensor].isParameter, isActivation: graph.tensors[tensor].isActivation,
          isInteger: isInteger,
          isKeptAsLogits: graph.consumers[tensor].contains { site in
            operators[site.op].keeps[site.operand] && rules[site.op].interior.contains { rules[site.op].isReduced($0.axis) }
          })
      }
      (self.rules, self.needsGradient, self.operators) = (rules, needsGradient, operators)
    }
  }

  fileprivate struct TensorFacts {
    let shape: [Int]
    let isParameter: Bool
    let isActivation: Bool
    let isInteger: Bool
    /// Whether a cross-entropy keeps it for backward.
    let isKeptAsLogits: Bool
  }

  fileprivate struct OperatorFacts {
    let operands: [TensorID]
    let result: TensorID
    let hasBackward: Bool
    /// For each operand whether its gradient is wanted, and whether backward reads its values, so that they are kept.
    let wanted: [Bool]
    let keeps: [Bool]
  }

  private let model: Model
  package let graph: Graph
  package let rules: [OperatorRule]
  package let needsGradient: [Bool]
  package let mesh: [Int]
  package let rates: DeviceRates
  package let job: Job
  /// For each set of mesh axes (bit a: axis a), how the groups over it lie on the hardware's levels.
  package let placements: [AxisPlacement]
  /// The unit in which times enter a search: a picosecond, or a power of ten of it where a step is so long that sums would not fit.
  package let tick: Seconds
  /// For each axis of the graph, the order in which its positions stand where a causal attention splits them.
  package let orders: [SequenceOrder]
  /// For lower bounds: so many further devices share all work and all data perfectly, and every extent divides that is not smaller than the number
  /// of its parts. Nil for true prices.
  package let sharers: Int?
  /// How ranks share the batch out, where not evenly.
  package let uneven: UnevenBatch?

  package init(
    model: Model, mesh: [Int], rates: DeviceRates, job: Job, placements: [AxisPlacement], tick: Seconds = Seconds(picoseconds: 1),
    isZigzag: Bool = true, sharers: Int? = nil, orders: [SequenceOrder]? = nil, uneven: UnevenBatch? = nil
  ) {
    precondition(placements.count == 1 << mesh.count)
    self.model = model
    (graph, rules, needsGradient) = (model.graph, model.rules, model.needsGradient)
    self.mesh = mesh
    self.rates = rates
    self.job = job
    self.placements = placements
    self.tick = tick
    self.sharers = sharers
    self.uneven = uneven
    self.orders = orders ?? zip(model.graph.axes, model.reorderable).map { isZigzag && $1 ? .zigzag($0.extent, mesh: mesh) : .natural }
  }

  package convenience init(graph: Graph, mesh: [Int], rates: DeviceRates, job: Job, placements: [AxisPlacement]) {
    self.init(model: Model(graph, job.mode), mesh: mesh, rates: rates, job: job, placements: placements)
  }

  /// A time in whole ticks, rounded to nearest.
  package func ticks(_ time: Seconds) -> Int64 { Int64((time.value * (1e-12 / tick.value) * 1e12).rounded()) }
  package func seconds(_ ticks: Int64) -> Seconds { Seconds(Double(ticks) * tick.value) }

  package var precision: Precision { job.precision }

  /// The time of a collective over some mesh axes.
  package func collective(_ kind: CollectiveKind, bytes: Bytes, axes: [Int]) -> Seconds {
    collective(kind, bytes: bytes, over: axes.reduce(0) { $0 | 1 << $1 })
  }

  /// The same over a set of mesh axes: bit a is axis a.
  package func collective(_ kind: CollectiveKind, bytes: Bytes, over set: Int) -> Seconds {
    CollectiveCost.time(kind, bytes: bytes, on: placements[set])
  }

  /// The time in which every rank sends its neighbour on the ring over some mesh axes so many bytes.
  package func hop(_ bytes: Bytes, axes: [Int]) -> Seconds {
    let placement = placements[axes.reduce(0) { $0 | 1 << $1 }]
    // What hides behind work that several ranks repeat grows with it, but its latencies do not: of a lower bound they are no part.
    return bytes == .zero ? .zero : CollectiveCost.hop(bytes, on: sharers == nil ? placement : placement.withoutLatencies)
  }

  /// The bytes of a tensor's largest shard.
  package func bytes(_ tensor: TensorID, _ layout: Layout, bytesPerElement: Int? = nil) -> Bytes {
    Bytes(
      largestCount(model.tensors[tensor].shape, layout, unevenDimensions: unevenDimensions(of: tensor))
        * Double(bytesPerElement ?? elementBytes(tensor)))
  }

  /// The number of elements of a tensor's largest shard.
  package func largestCount(_ shape: [Int], _ layout: Layout) -> Double {
    guard let sharers else { return Double(Shard.largestCount(shape, layout: layout, mesh: mesh)) }
    var count = shape.reduce(1.0) { $0 * Double($1) } / Double(sharers)
    for axis in 0..<layout.axes { if case .split(let dimension) = layout[axis] { count /= Double(min(mesh[axis], shape[dimension])) } }
    return count
  }

  package func isParameter(_ tensor: TensorID) -> Bool { model.tensors[tensor].isParameter }
  package func isActivation(_ tensor: TensorID) -> Bool { model.tensors[tensor].isActivation }
  package func shape(_ tensor: TensorID) -> [Int] { model.tensors[tensor].shape }

  /// Whole numbers take 4 bytes, everything else what the precision says.
  package func elementBytes(_ tensor: TensorID) -> Int {
    model.tensors[tensor].isInteger ? 4 : precision.elementBytes
  }

  /// Whether the backward pass of `op` reads this operand's values, so that they are kept; parameters and inputs are at hand anyway.
  package func keeps(_ op: OperatorID, operand: Int) -> Bool { model.operators[op].keeps[operand] }

  /// Whether the backward pass of `op` reads its own result's values.
  package func keepsResult(_ op: OperatorID) -> Bool { hasBackward(op) && rules[op].keepsResult }

  /// Whether the backward pass runs `op`: its result's gradient is there, and that of an operand is wanted.
  package func hasBackward(_ op: OperatorID) -> Bool { model.operators[op].hasBackward }

  /// Whether an operator's backward pass computes the gradient of an operand.
  func wants(_ op: OperatorID, operand: Int) -> Bool { hasBackward(op) && model.operators[op].wanted[operand] }

  /// The bytes of a tensor that is kept in a layout. The logits of a cross-entropy are kept in fp32, whatever the precision (Megatron-LM and
  /// PyTorch both do).
  package func keptBytes(_ tensor: TensorID, _ layout: Layout) -> Bytes {
    bytes(tensor, layout, bytesPerElement: model.tensors[tensor].isKeptAsLogits ? 4 : nil)
  }

  /// What a rank sends to its counterpart on the next stage of a tensor in a layout.
  package func boundaryBytes(_ tensor: TensorID, _ layout: Layout) -> Bytes {
    let whole = bytes(tensor, layout)
    return job.software.boundaries == .scattered ? whole / layout.parts(gatheredOn: mesh) : whole
  }

  /// The time of a tensor's way to the next stage, from one layout to the same; scattered, ranks that hold the same send a part each, and gather behind.
  package func boundary(_ tensor: TensorID, _ layout: Layout, by send: (Bytes) -> Seconds) -> Seconds {
    let sent = send(boundaryBytes(tensor, layout))
    let axes = mesh.indices.filter { mesh[$0] > 1 && layout[$0] == .replicated }
    if job.software.boundaries == .whole || axes.isEmpty { return sent }
    return sent + collective(.allGather, bytes: bytes(tensor, layout), axes: axes)
  }

  /// Memory for operands that backward gathers again, while an operator reads them: of those that it reads in a layout that may be a gathered one.
  package func regathered(_ operands: [TensorID], at positions: [Int], _ strategy: Strategy) -> Bytes {
    positions.reduce(.zero) { sum, position in
      let layout = strategy.operands[position].forward
      return layout.parts(gatheredOn: mesh) > 1 ? sum + bytes(operands[position], layout) : sum
    }
  }

  /// What one strategy of an operator costs, without its weights.
  package func cost(_ op: OperatorID, _ strategy: Strategy) -> OperatorCost {
    if uneven != nil, !kinds.isEmpty { return OperatorCost(slowest: kinds.map { $0.cost(op, strategy) }) }
    return withUnsafeTemporaryAllocation(of: Double.self, capacity: rules[op].iteration.count) { local in
      measure(op, strategy, into: local)
      return cost(op, strategy, local)
    }
  }

  /// - Parameter local: the extents of the largest local iteration space.
  private func cost(_ op: OperatorID, _ strategy: Strategy, _ local: UnsafeMutableBufferPointer<Double>) -> OperatorCost {
    let rule = rules[op]
    let own = model.operators[op]
    let share = 1 / Double(sharers ?? 1)
    let trains = own.hasBackward
    var cost = OperatorCost(
      forward: .zero, backward: .zero, interior: .zero, extras: .zero, transient: .zero)

    var keepsScores = false

    func operandBytes(_ position: Int) -> Bytes { bytes(own.operands[position], strategy.operands[position].forward) }
    let resultBytes = bytes(own.result, strategy.result)
    let moved = own.operands.indices.reduce(resultBytes) { $0 + operandBytes($1) }
    func product(_ axes: [Int], _ first: Double) -> Double { axes.reduce(first) { $0 * local[$1] } }

    switch rule.work {
    case .product(let batch, let m, let n, let k):
      let work = FLOPs(2 * product(k, product(n, product(m, product(batch, share)))))
      let (rows, columns, depth) = (extent(m, rule, local), extent(n, rule, local), extent(k, rule, local))
      // All three passes read or write matrices with rows of n or k elements. In a lower bound the extents are whole, and parts may be aligned that
      // the whole is not.
      let rowBytes = Double(precision.elementBytes)
      let isAligned =
        sharers != nil || (columns * rowBytes).truncatingRemainder(dividingBy: 16) == 0 && (depth * rowBytes).truncatingRemainder(dividingBy: 16) == 0
      func time(rows: Double, columns: Double, depth: Double) -> Seconds {
        rates.product(work, rows: rows, columns: columns, depth: depth, isAligned: isAligned, moving: moved)
      }
      cost.forward = time(rows: rows, columns: columns, depth: depth)
      if trains {
        // dX [m, k] contracts what forward produced, dW [k, n] what it spread over.
        if own.wanted[0] { cost.backward += time(rows: rows, columns: depth, depth: columns) }
        if own.wanted[1] { cost.backward += time(rows: depth, columns: columns, depth: rows) }
      }
    case .attention(let attention):
      let scores = product(attention.samples, share) * local[attention.queries] * local[attention.keys]
      let block = AttentionBlock(work: FLOPs(4 * scores * local[attention.depth]), moving: moved, result: resultBytes)
      if let ring = rule.ring, strategy.meshSet(on: ring.axis) != 0 {
        price(ring, of: op, strategy, block, isCausal: attention.isCausal, queries: attention.queries, into: &cost)
      } else if job.software.attention == .unfused {
        keepsScores = true
        price(
          ScoreMatrix(
            count: scores, bytesPerElement: precision.elementBytes, drops: job.mode == .train && attention.drops, moving: moved,
            extents: (
              queries: extent([attention.queries], rule, local), keys: extent([attention.keys], rule, local), depth: local[attention.depth]
            )), trains: trains, into: &cost)
      } else {
        let share =
          attention.isCausal
          ? min(1, causalShare(of: op, queries: attention.queries, strategy) + rates.maskWaste(keys: local[attention.keys])) : 1
        cost.forward = block.forward(rates, share: share)
        if trains { cost.backward = block.backward(rates, share: share) }
      }
    case .stream where isFusedBias(op):
      if trains { cost.backward = rates.stream(resultBytes) }
    case .stream(let readings):
      let read = moved - resultBytes
      let exponentials = exponentials(of: op, local)
      cost.forward = rates.stream(read * Double(readings) + resultBytes, exponentials: exponentials.forward * share)
      if trains {
        var (kept, written) = (resultBytes, Bytes.zero)
        for position in own.operands.indices {
          if rule.keepsOperand[position] { kept += operandBytes(position) }
          if own.wanted[position] { written += operandBytes(position) }
        }
        cost.backward = rates.stream(kept * Double(readings) + written, exponentials: exponentials.backward * share)
      }
    case .gather:
      cost.forward = rates.stream(resultBytes * 2)
      if trains { cost.backward = rates.stream(resultBytes * 3) }
    case .crossEntropy:
      let passes = CrossEntropyPasses(precision, job.software.crossEntropy)
      let logits = operandBytes(0).value / Double(elementBytes(own.operands[0]))
      let exponentials = exponentials(of: op, local)
      cost.forward = rates.stream(Bytes(logits * passes.forward), exponentials: exponentials.forward * share)
      if trains { cost.backward = rates.stream(Bytes(logits * passes.backward), exponentials: exponentials.backward * share) }
    case .free: break
    }

    for interior in rule.interior {
      let axes = strategy.meshSet(on: interior.axis)
      if axes == 0 { continue }
      let time = collective(.allReduce, bytes: Bytes(product(interior.spans, 4 * share)), over: axes)
      cost.interior += time * interior.count
      cost.forward += time * interior.count
      if trains {
        cost.backwardInterior += time * interior.backwardCount
        cost.backward += time * interior.backwardCount
      }
    }
    // Statistics of a softmax are kept in place of its scores.
    if trains, !keepsScores {
      for extra in rule.keepsExtra { cost.extras += Bytes(product(extra.spans, share * Double(extra.bytesPerElement))) }
    }
    // Logits that are kept as they were computed are counted there, and their gradient takes their place.
    func isKeptInPlace(_ tensor: TensorID) -> Bool { model.tensors[tensor].isKeptAsLogits && !precision.isMixed }
    if !isKeptInPlace(own.result) { cost.transient += trains ? resultBytes * 2 : resultBytes }
    for (position, tensor) in own.operands.enumerated() where !isParameter(tensor) {
      if !trains {
        // Nothing is kept for backward, so that what is read is counted here.
        cost.transient += operandBytes(position)
      } else if own.wanted[position], !isKeptInPlace(tensor) {
        cost.transient += bytes(tensor, strategy.operands[position].gradient)
      }
    }
    return cost
  }

  /// Whether an operator adds a bias that the product before it adds as it writes its result.
  func isFusedBias(_ op: OperatorID) -> Bool {
    if case .bias = graph.operators[op].kind { rates.efficiency.fusesBias } else { false }
  }

  /// The extents of the largest local iteration space.
  private func measure(_ op: OperatorID, _ strategy: Strategy, into local: UnsafeMutableBufferPointer<Double>) {
    let rule = rules[op]
    if uneven != nil {
      for (loop, extent) in largestExtents(op, strategy).enumerated() { local.initializeElement(at: loop, to: Double(extent)) }
      return
    }
    for (loop, axis) in rule.iteration.enumerated() { local.initializeElement(at: loop, to: Double(axis.extent)) }
    for (meshAxis, iterationAxis) in strategy.assignment.enumerated() {
      guard let iterationAxis else { continue }
      let parts = Double(mesh[meshAxis])
      for loop in rule.iteration[iterationAxis].splits {
        // Extents and parts are whole numbers far below 2^53, so that quotients are rounded up exactly.
        local[loop] = sharers == nil ? (local[loop] / parts).rounded(.up) : local[loop] / min(parts, Double(rule.iteration[loop].extent))
      }
    }
  }

  /// An extent of a product, on which its efficiency depends; whole in a lower bound.
  private func extent(_ axes: [Int], _ rule: OperatorRule, _ local: UnsafeMutableBufferPointer<Double>) -> Double {
    axes.reduce(1) { $0 * (sharers == nil ? local[$1] : Double(rule.iteration[$1].extent)) }
  }

  /// The part of the score matrix under a causal mask that the rank with most of it computes: 1/2 for whole sequences, and where all parts have
  /// the same work; 1 − 1/(2p) for the last of p contiguous chunks of queries.
  func causalShare(of op: OperatorID, queries: Int, _ strategy: Strategy) -> Double {
    if isBalanced(op, queries: queries, strategy) { return 0.5 }
    return 1 - 1 / (2 * Double(strategy.parts(rules[op], mesh: mesh)[queries]))
  }

  /// Whether every rank has the same part of a causal mask's work.
  func isBalanced(_ op: OperatorID, queries: Int, _ strategy: Strategy) -> Bool {
    if sharers != nil { return true }
    guard let dimension = rules[op].operands[0].firstIndex(of: queries) else { return true }
    let axis = graph.tensors[graph.operators[op].operands[0]].dimensions[dimension]
    return orders[axis].balances(parts: strategy.parts(rules[op], mesh: mesh)[queries])
  }
}
