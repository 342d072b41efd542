// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies

/// Prices operators, conversions and boundaries for one graph, mesh and device.
package final class Pricing: Sendable {
  /// A graph at its sizes, with what its operators' rules say.
  package struct Model: Sendable {
    package let graph: Graph
    package let rules: [OperatorRule]
    package let needsGradient: [Bool]
    /// The axes along which positions may stand in any order.
    package let reorderable: [Bool]
    /// Of each tensor, at hand for thousands of questions.
    fileprivate let isParameter: [Bool]
    fileprivate let isActivation: [Bool]
    fileprivate let shapes: [[Int]]
    fileprivate let isInteger: [Bool]

    package init(_ graph: Graph, _ mode: Mode) {
      self.graph = graph
      reorderable = SequenceOrder.reorderable(in: graph)
      isParameter = graph.tensors.map(\.isParameter)
      isActivation = graph.tensors.map(\.isActivation)
      shapes = graph.tensors.indices.map { graph.shape($0) }
      isInteger = graph.tensors.map { if case .input(let kind) = $0.kind { kind.isInteger } else { false } }
      rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
      needsGradient = mode == .train ? graph.reachesLoss() : [Bool](repeating: false, count: graph.tensors.count)
    }
  }

  private let model: Model
  package var graph: Graph { model.graph }
  package var rules: [OperatorRule] { model.rules }
  package var needsGradient: [Bool] { model.needsGradient }
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
    CollectiveCost.time(kind, bytes: bytes, on: placements[axes.reduce(0) { $0 | 1 << $1 }])
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
      largestCount(model.shapes[tensor], layout, unevenDimensions: unevenDimensions(of: tensor)) * Double(bytesPerElement ?? elementBytes(tensor)))
  }

  /// The number of elements of a tensor's largest shard.
  package func largestCount(_ shape: [Int], _ layout: Layout) -> Double {
    guard let sharers else { return Double(Shard.largestCount(shape, layout: layout, mesh: mesh)) }
    var count = shape.reduce(1.0) { $0 * Double($1) } / Double(sharers)
    for axis in 0..<layout.axes { if case .split(let dimension) = layout[axis] { count /= Double(min(mesh[axis], shape[dimension])) } }
    return count
  }

  package func isParameter(_ tensor: TensorID) -> Bool { model.isParameter[tensor] }
  package func isActivation(_ tensor: TensorID) -> Bool { model.isActivation[tensor] }
  package func shape(_ tensor: TensorID) -> [Int] { model.shapes[tensor] }

  /// Whole numbers take 4 bytes, everything else what the precision says.
  package func elementBytes(_ tensor: TensorID) -> Int {
    model.isInteger[tensor] ? 4 : precision.elementBytes
  }

  /// Whether the backward pass of `op` reads this operand's values, so that they are kept; parameters and inputs are at hand anyway.
  package func keeps(_ op: OperatorID, operand: Int) -> Bool {
    let operands = graph.operators[op].operands
    return hasBackward(op) && isActivation(operands[operand])
      && rules[op].keeps(operand, forGradientsOf: operands.map { needsGradient[$0] })
  }

  /// Whether the backward pass of `op` reads its own result's values.
  package func keepsResult(_ op: OperatorID) -> Bool { hasBackward(op) && rules[op].keepsResult }

  /// Whether the backward pass runs `op`: its result's gradient is there, and that of an operand is wanted.
  package func hasBackward(_ op: OperatorID) -> Bool {
    let op = graph.operators[op]
    return job.mode == .train && needsGradient[op.result] && op.operands.contains { needsGradient[$0] }
  }

  /// The bytes of a tensor that is kept in a layout. The logits of a cross-entropy are kept in fp32, whatever the precision (Megatron-LM and
  /// PyTorch both do).
  package func keptBytes(_ tensor: TensorID, _ layout: Layout) -> Bytes {
    let isLogits = graph.consumers[tensor].contains { site in
      keeps(site.op, operand: site.operand) && rules[site.op].interior.contains { rules[site.op].isReduced($0.axis) }
    }
    return bytes(tensor, layout, bytesPerElement: isLogits ? 4 : nil)
  }

  /// What one strategy of an operator costs, without its weights.
  package func cost(_ op: OperatorID, _ strategy: Strategy) -> OperatorCost {
    if !kinds.isEmpty { return OperatorCost(slowest: kinds.map { $0.cost(op, strategy) }) }
    let rule = rules[op]
    let operands = graph.operators[op].operands
    let result = graph.operators[op].result
    let local = localExtents(op, strategy)
    let share = 1 / Double(sharers ?? 1)
    let trains = hasBackward(op)
    var cost = OperatorCost(
      forward: .zero, backward: .zero, interior: .zero, extras: .zero, transient: .zero)

    let operandBytes = zip(operands, strategy.operands).map { bytes($0, $1.forward) }
    let resultBytes = bytes(result, strategy.result)
    let moved = operandBytes.reduce(resultBytes, +)

    switch rule.work {
    case .product(let batch, let m, let n, let k):
      let work = FLOPs(2 * (batch + m + n + k).reduce(share) { $0 * local[$1] })
      let inner = depth(k, rule, local)
      cost.forward = rates.product(work, depth: inner, moving: moved)
      if trains {
        // dX contracts what forward produced, dW what it spread over.
        for (position, extents) in [n, m].enumerated() where needsGradient[operands[position]] {
          cost.backward += rates.product(work, depth: depth(extents, rule, local), moving: moved)
        }
      }
    case .attention(let causal, let samples, let queries, let keys, let depth):
      let work = FLOPs(4 * (samples + [queries, keys, depth]).reduce(share) { $0 * local[$1] })
      let block = AttentionBlock(work: work, moving: moved, result: resultBytes)
      if let ring = rule.ring, !strategy.meshAxes(on: ring.axis).isEmpty {
        price(ring, of: op, strategy, block, isCausal: causal, queries: queries, into: &cost)
      } else {
        let share = causal ? causalShare(of: op, queries: queries, strategy) : 1
        cost.forward = block.forward(rates, share: share)
        if trains { cost.backward = block.backward(rates, share: share) }
      }
    case .stream(let readings):
      let read = moved - resultBytes
      cost.forward = rates.stream(read * Double(readings) + resultBytes)
      let keptBytes = zip(operandBytes, rule.keepsOperand).reduce(resultBytes) { $1.1 ? $0 + $1.0 : $0 }
      let written = zip(operands, operandBytes).reduce(Bytes.zero) { needsGradient[$1.0] ? $0 + $1.1 : $0 }
      if trains { cost.backward = rates.stream(keptBytes * Double(readings) + written) }
    case .gather:
      cost.forward = rates.stream(resultBytes * 2)
      if trains { cost.backward = rates.stream(resultBytes * 3) }
    case .free: break
    }

    for interior in rule.interior {
      let axes = strategy.meshAxes(on: interior.axis)
      if axes.isEmpty { continue }
      let size = Bytes(interior.spans.reduce(4 * share) { $0 * local[$1] })
      let time = collective(.allReduce, bytes: size, axes: axes)
      cost.interior += time * interior.count
      cost.forward += time * interior.count
      if trains {
        cost.backwardInterior += time * interior.backwardCount
        cost.backward += time * interior.backwardCount
      }
    }
    if trains {
      for extra in rule.keepsExtra { cost.extras += Bytes(extra.spans.reduce(share * Double(extra.bytesPerElement)) { $0 * local[$1] }) }
    }
    cost.transient += resultBytes
    if trains {
      cost.transient += resultBytes
      for (position, tensor) in operands.enumerated() where needsGradient[tensor] && !isParameter(tensor) {
        cost.transient += bytes(tensor, strategy.operands[position].gradient)
      }
    }
    return cost
  }

  /// The extents of the largest local iteration space.
  private func localExtents(_ op: OperatorID, _ strategy: Strategy) -> [Double] {
    guard sharers != nil else { return largestExtents(op, strategy).map(Double.init) }
    let rule = rules[op]
    var extents = rule.iteration.map { Double($0.extent) }
    for (loop, parts) in strategy.parts(rule, mesh: mesh).enumerated() { extents[loop] /= min(Double(parts), extents[loop]) }
    return extents
  }

  /// The inner extent of a product, on which its efficiency depends; whole in a lower bound.
  private func depth(_ axes: [Int], _ rule: OperatorRule, _ local: [Double]) -> Double {
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
