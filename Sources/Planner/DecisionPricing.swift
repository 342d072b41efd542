// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Plans
import Quantities
import Strategies

/// Prices a complete decision from scratch, copy by copy and stage by stage, with nothing of the search but the costs of single operators and
/// steps. The search's objective must equal it.
struct DecisionPricing {
  private let decision: Decision
  private let pricing: Pricing
  private let resharder: Resharder
  private let links: Links?
  /// For each group of devices its kind.
  private let kindOfStage: [Int]
  /// By kind, of devices and of meshes.
  private let pricings: [Pricing]
  /// The same decision at the prices of the other kinds.
  private var others: [DecisionPricing] = []
  /// Where devices of several kinds share the batch out unevenly, the same decision at the prices of each of them: what these hold.
  private var ofShares: [DecisionPricing] = []
  private let strategies: [Strategy]
  private var operators: [Prediction.OperatorPart] = []
  private var collectives: [Prediction.CollectivePart] = []
  /// Once per step, per operator: gradient synchronisation and optimizer.
  private var once: [(sync: Seconds, update: Seconds)] = []
  private var memory: [(weights: Bytes, gradients: Bytes, state: Bytes, transient: Bytes)] = []
  /// Conversions at the entries of a segment's copy, by the segment that it follows.
  private var seams: [Seam: PassPart] = [:]
  /// Of each segment, one copy without the conversions at its entries.
  private var inside: [PassPart] = []
  /// Of that, what the host takes longer to hand kernels over than the device to run them.
  private var heldUp: [Int64] = []
  private var kept: [Bytes] = []
  /// By operator, once per step: exchanging the gradients of its tied weights with stages on other meshes.
  private var exchanges: [Seconds] = []
  /// Of each segment, what the backward pass of one copy has computed again.
  private var revived: [Bytes] = []

  /// The links between neighbouring stages, and from the last to the first.
  struct Links {
    let neighbours: Link
    let wrap: Link
    /// Where stages have several meshes: for each stage but the last the link to the next.
    var boundaries: [Link] = []

    func link(after stage: Int, wraps: Bool) -> Link { boundaries.isEmpty ? (wraps ? wrap : neighbours) : boundaries[stage] }
  }

  private struct Seam: Hashable {
    let from: SegmentID
    let to: SegmentID
  }

  /// What of the passes of a micro-batch, in ticks, and how much of both goes by in collectives.
  private struct PassPart {
    var forward: Int64 = 0
    var backward: Int64 = 0
    var communication = Seconds.zero

    static func += (sum: inout PassPart, part: PassPart) {
      sum.forward += part.forward
      sum.backward += part.backward
      sum.communication += part.communication
    }
  }

  /// - Returns: the prediction and the objective in ticks.
  /// - Parameter links: nil with one stage.
  static func predict(_ decision: Decision, pricing: Pricing, links: Links?) throws -> (
    prediction: Prediction, objective: Int64, timeline: PipelineTimeline
  ) {
    try predict(decision, pricings: [pricing], kindOfStage: [Int](repeating: 0, count: decision.groups), links: links)
  }

  /// - Parameters:
  ///   - pricings: of each kind of devices that a stage is on, and each mesh.
  ///   - kindOfStage: for each group of devices the number of its prices.
  ///   - links: nil with one stage.
  static func predict(_ decision: Decision, pricings: [Pricing], kindOfStage: [Int], links: Links?) throws -> (
    prediction: Prediction, objective: Int64, timeline: PipelineTimeline
  ) {
    var pass = try DecisionPricing(decision, pricings, 0, kindOfStage, links)
    try pass.priceParts()
    pass.ofShares = try pass.pricing.kinds.map { pricing in
      var share = try DecisionPricing(decision, [pricing], 0, kindOfStage, links)
      try share.priceParts()
      return share
    }
    pass.others = try pricings.indices.dropFirst().map { kind in
      var other = try DecisionPricing(decision, pricings, kind, kindOfStage, links)
      try other.priceParts()
      return other
    }
    return pass.stagesAndTotal()
  }

  /// One copy of each operator and segment, for one micro-batch, at the prices of this number alone; nothing of those that are on other meshes.
  static func parts(of decision: Decision, pricings: [Pricing], kind: Int, kindOfStage: [Int], links: Links?) throws -> StageParts {
    var pass = try DecisionPricing(decision, pricings, kind, kindOfStage, links)
    try pass.priceParts()
    return StageParts(operators: pass.operators, heldUp: pass.heldUp.map(pass.pricing.seconds))
  }

  private init(_ decision: Decision, _ pricings: [Pricing], _ kind: Int, _ kindOfStage: [Int], _ links: Links?) throws {
    self.kindOfStage = kindOfStage
    self.decision = decision
    self.pricings = pricings
    pricing = pricings[kind]
    self.links = links
    resharder = Resharder(pricing)
    strategies = zip(decision.assignments, pricing.rules).map { Strategy(assignment: $0, rule: $1) }
  }

  private var graph: Graph { decision.graph }
  private var trains: Bool { decision.job.mode == .train }

  private mutating func priceParts() throws {
    inside = graph.segments.map { _ in PassPart() }
    kept = [Bytes](repeating: .zero, count: graph.segments.count)
    revived = kept
    exchanges = graph.operators.map { _ in .zero }
    for op in graph.operators.indices {
      if holds(graph.segmentOfOperator[op]) { priceOperator(op) } else { skipOperator(op) }
    }
    let host = PassTimes.ofHost(graph, pricing: { _ in pricing }, isRecomputed: { isRecomputed($0) })
    // Conversions come on top.
    heldUp = inside.indices.map { segment in
      guard holds(segment) else { return 0 }
      let device = inside[segment]
      inside[segment].forward = max(device.forward, host[segment].forward)
      inside[segment].backward = max(device.backward, host[segment].backward)
      return inside[segment].forward - device.forward + inside[segment].backward - device.backward
    }
    for tensor in graph.tensors.indices where graph.tensors[tensor].isActivation { try priceConversions(of: tensor) }
    priceKept()
  }

  // MARK: - Parts

  /// Whether the prices are for the mesh of a segment.
  private func holds(_ segment: SegmentID) -> Bool { decision.mesh(ofSegment: segment) == pricing.mesh }

  /// What stages on another mesh hold is priced there.
  private mutating func skipOperator(_ op: OperatorID) {
    operators.append(.init(op: op, forward: .zero, backward: .zero, communication: .zero, resident: .zero, kept: .zero))
    once.append((.zero, .zero))
    memory.append((.zero, .zero, .zero, .zero))
  }

  private func splitsTie(_ tensor: TensorID) -> Bool { decision.groupsHolding(tensor).count > 1 }

  /// Whether a reader is the first one of a parameter on its stage: there the stage's copy counts.
  private func isFirst(_ op: OperatorID, toRead tensor: TensorID) -> Bool {
    guard splitsTie(tensor) else { return graph.consumers[tensor].first?.op == op }
    func stage(_ op: OperatorID) -> Int? {
      decision.stages.firstIndex { $0.units.contains { $0.segment == graph.segmentOfOperator[op] && !$0.copies.isEmpty } }.map {
        decision.group(ofStage: $0)
      }
    }
    return graph.consumers[tensor].first { stage($0.op) == stage(op) }?.op == op
  }

  private mutating func priceOperator(_ op: OperatorID) {
    let operands = graph.operators[op].operands
    let owns = operands.indices.map { isFirst(op, toRead: operands[$0]) && operands.firstIndex(of: operands[$0]) == $0 }
    let cost = pricing.cost(op, strategies[op])
    let weights = pricing.weights(op, strategies[op], decision.zero[op], ownsParameter: owns)
    let forwardCollectives = cost.interior + weights.forward
    let communication =
      forwardCollectives * (isRecomputed(op) ? 2 : 1) + cost.backwardInterior + weights.backward - weights.passing.update
    operators.append(
      Prediction.OperatorPart(
        op: op, forward: cost.forward + weights.forward, backward: cost.backward + weights.backward, communication: communication,
        resident: weights.resident, kept: isRecomputed(op) ? .zero : cost.extras))
    once.append((weights.gradientSync, weights.update))
    let regathered = operands.indices.filter { position in
      decision.regathers(operands[position], pricing.rules) && pricing.keeps(op, operand: position)
    }
    memory.append(
      (
        weights.weights, weights.gradients, weights.optimizerState,
        cost.transient + weights.transient + pricing.regathered(operands, at: regathered, strategies[op])
      ))
    let segment = graph.segmentOfOperator[op]
    inside[segment].forward += pricing.ticks(cost.forward) + pricing.ticks(weights.forward)
    inside[segment].backward += pricing.ticks(cost.backward) + pricing.ticks(weights.backward)
    inside[segment].communication += communication
    if isRecomputed(op) {
      inside[segment].backward += pricing.ticks(cost.forward) + pricing.ticks(weights.forward)
      operators[op].backward += cost.forward + weights.forward
      revived[segment] += Bytes(Double(cost.extras.whole))
    } else {
      kept[segment] += Bytes(Double(cost.extras.whole))
    }
    let rule = pricing.rules[op]
    let local = pricing.largestExtents(op, strategies[op])
    for interior in rule.interior {
      let axes = strategies[op].meshAxes(on: interior.axis)
      if axes.isEmpty { continue }
      let bytes = Bytes(interior.spans.reduce(4) { $0 * local[$1] })
      collectives.append(
        .init(
          cause: .interior, op: op, tensor: graph.operators[op].operands[0], kind: .allReduce, axes: axes, bytes: bytes,
          time: pricing.collective(.allReduce, bytes: bytes, axes: axes),
          calls: interior.count * (isRecomputed(op) ? 2 : 1)
            + (pricing.hasBackward(op) ? interior.backwardCount : 0),
          copies: graph.segments[segment].repeats))
    }
    priceRing(of: op)
    for part in weights.collectives {
      let cause: Prediction.CollectivePart.Cause =
        switch part.occasion {
        case .beforeUpdate: .gradient
        case .afterUpdate: .updated
        case .forward: .weights
        case .backward: part.kind == .allGather ? .weights : .parts
        }
      collectives.append(
        .init(
          cause: cause, op: op, tensor: operands[part.operand], kind: part.kind, axes: part.axes, bytes: part.bytes, time: part.time,
          calls: part.occasion == .forward && isRecomputed(op) ? 2 : 1,
          copies: graph.segments[segment].repeats))
    }
    for (position, tensor) in operands.enumerated() where graph.tensors[tensor].isParameter && owns[position] && pricing.needsGradient[tensor] {
      let bytes = pricing.bytes(tensor, strategies[op].operands[position].forward, bytesPerElement: pricing.gradientBytesSent)
      if decision.tieCrossesMeshes(tensor) {
        priceExchange(of: tensor, by: op, strategies[op].operands[position].forward)
      } else if splitsTie(tensor), let links {
        let time = links.neighbours.time(bytes)
        once[op].sync += time
        collectives.append(.init(cause: .tied, op: op, tensor: tensor, kind: nil, axes: [], bytes: bytes, time: time, calls: 1, copies: 1))
      }
    }
  }

  /// The messages of an operator's ring; what of their time is not hidden is part of the operator's own.
  private mutating func priceRing(of op: OperatorID) {
    guard let ring = pricing.rules[op].ring else { return }
    let axes = strategies[op].meshAxes(on: ring.axis)
    let ranks = axes.reduce(1) { $0 * pricing.mesh[$1] }
    if ranks == 1 { return }
    for operand in ring.operands {
      let tensor = graph.operators[op].operands[operand]
      let bytes = pricing.bytes(tensor, strategies[op].operands[operand].forward)
      func hops(isBackward: Bool) -> Int {
        OperatorRule.Ring.hops(ranks: ranks, isBackward: isBackward, isLearned: pricing.needsGradient[tensor])
      }
      let calls = hops(isBackward: false) * (isRecomputed(op) ? 2 : 1) + (pricing.hasBackward(op) ? hops(isBackward: true) : 0)
      collectives.append(
        .init(
          cause: .interior, op: op, tensor: tensor, kind: nil, axes: axes, bytes: bytes, time: pricing.hop(bytes, axes: axes), calls: calls,
          copies: graph.segments[graph.segmentOfOperator[op]].repeats))
    }
  }

  /// Whether the backward pass of its segment carries an operator's forward pass out again.
  private func isRecomputed(_ op: OperatorID) -> Bool { trains && decision.recompute[graph.segmentOfOperator[op]].repeats(pricing.rules[op]) }

  /// Whether an activation is kept as its producer left it, and gathered again for what reads it in this layout.
  private func isRegathered(_ tensor: TensorID, _ layout: Layout) -> Bool {
    decision.regathers(tensor, in: layout, strategies, pricing.rules)
      && graph.consumers[tensor].contains {
        strategies[$0.op].operands[$0.operand].forward == layout && pricing.keeps($0.op, operand: $0.operand)
      }
  }

  private mutating func priceConversions(of tensor: TensorID) throws {
    let readers = graph.consumers[tensor]
    guard let first = readers.first, holds(graph.segmentOfOperator[first.op]) else { return }
    var sources: [(op: OperatorID, seam: Seam?)] = []
    if let producer = graph.producer[tensor] {
      sources = [(producer, nil)]
    } else {
      for (index, segment) in graph.segments.enumerated() {
        guard let position = segment.entries.firstIndex(of: tensor) else { continue }
        if index > 0, !decision.changesMesh(beforeSegment: index), let op = graph.producer[graph.segments[index - 1].exits[position]] {
          sources.append((op, Seam(from: index - 1, to: index)))
        }
        if segment.repeats > 1, let op = graph.producer[segment.exits[position]] { sources.append((op, Seam(from: index, to: index))) }
      }
    }
    let repeats = graph.segments[graph.segmentOfOperator[first.op]].repeats
    for (number, source) in sources.enumerated() {
      let isLast = number == sources.count - 1
      // What comes in from another segment does so at the first copy only.
      let copies = source.seam.map { $0.from == $0.to ? repeats - 1 : 1 } ?? repeats
      let producer = strategies[source.op]
      var part = PassPart()
      func add(_ conversion: (time: Seconds, communication: Seconds), forward: Int, backward: Int, at op: OperatorID) {
        part.forward += pricing.ticks(conversion.time) * Int64(forward)
        part.backward += pricing.ticks(conversion.time) * Int64(backward)
        let communication = conversion.communication * (forward + backward)
        part.communication += communication
        operators[op].communication += isLast ? communication : .zero
      }
      var seen: [Layout] = []
      for site in readers {
        let use = strategies[site.op].operands[site.operand]
        if !seen.contains(use.forward) {
          seen.append(use.forward)
          let repeats = source.seam == nil && (decision.revives(tensor, pricing.rules) || isRegathered(tensor, use.forward))
          let conversion = try price(
            tensor, from: producer.result, to: use.forward, cause: .forward, op: site.op, copies: copies, calls: repeats ? 2 : 1)
          add(conversion, forward: 1, backward: repeats ? 1 : 0, at: site.op)
        }
      }
      if trains && pricing.needsGradient[tensor] {
        seen = []
        for site in readers {
          let use = strategies[site.op].operands[site.operand]
          if !seen.contains(use.gradient) {
            seen.append(use.gradient)
            let conversion = try price(tensor, from: use.gradient, to: producer.resultGradient, cause: .backward, op: site.op, copies: copies)
            add(conversion, forward: 0, backward: 1, at: site.op)
          }
        }
      }
      if let seam = source.seam {
        seams[seam, default: PassPart()] += part
      } else {
        inside[graph.segmentOfOperator[first.op]] += part
      }
    }
  }

  /// The time of a conversion that the decision lists, and what of it is collectives: a rank cuts by itself.
  private mutating func price(
    _ tensor: TensorID, from: Layout, to: Layout, cause: Prediction.CollectivePart.Cause, op: OperatorID, copies: Int,
    calls: Int = 1
  ) throws -> (time: Seconds, communication: Seconds) {
    if from == to { return (.zero, .zero) }
    guard let conversion = decision.conversions.first(where: { $0.tensor == tensor && $0.from == from && $0.to == to }) else {
      throw PlannerError.inconsistent("the plan lacks a conversion of \(graph.tensors[tensor].name)")
    }
    var (total, communication) = (Seconds.zero, Seconds.zero)
    var layout = from
    for step in conversion.steps {
      let time = resharder.time(step, of: tensor, from: layout)
      total += time
      if let kind = step.collective {
        communication += time
        let bytes = max(pricing.bytes(tensor, layout), pricing.bytes(tensor, step.result))
        collectives.append(
          .init(cause: cause, op: op, tensor: tensor, kind: kind, axes: step.axes, bytes: bytes, time: time, calls: calls, copies: copies))
      }
      layout = step.result
    }
    guard layout == to else { throw PlannerError.inconsistent("a conversion of \(graph.tensors[tensor].name) ends in another layout") }
    return (total, communication)
  }

  /// What backward needs of each tensor, each layout once.
  private mutating func priceKept() {
    guard trains else { return }
    for tensor in graph.tensors.indices where graph.tensors[tensor].isActivation {
      guard let segment = graph.segment(ofActivation: tensor), holds(segment) else { continue }
      var layouts: [Layout] = []
      func keep(_ layout: Layout, at op: OperatorID) {
        if layouts.contains(layout) { return }
        let bytes = pricing.keptBytes(tensor, layout)
        layouts.append(layout)
        if decision.revives(tensor, pricing.rules) {
          revived[graph.segmentOfOperator[op]] += Bytes(Double(bytes.whole))
        } else {
          operators[op].kept += bytes
          kept[graph.segmentOfOperator[op]] += Bytes(Double(bytes.whole))
        }
      }
      if let producer = graph.producer[tensor], pricing.keepsResult(producer) { keep(strategies[producer].result, at: producer) }
      // To compute a segment again, all that comes in is kept.
      let isEntry = graph.producer[tensor] == nil
      for site in graph.consumers[tensor]
      where pricing.keeps(site.op, operand: site.operand) || (isEntry && decision.recompute[graph.segmentOfOperator[site.op]] == .full) {
        let layout = strategies[site.op].operands[site.operand].forward
        if let producer = graph.producer[tensor], isRegathered(tensor, layout) {
          keep(strategies[producer].result, at: site.op)
        } else {
          keep(layout, at: site.op)
        }
      }
    }
  }

  /// Of each operator and collective, the kind of devices that takes longest stands in the list.
  private mutating func takeSlowest() {
    // For each other kind where its collectives stand: kinds on one mesh have the same.
    var starts: [Int] = []
    for (number, other) in others.enumerated() {
      let alike = others[..<number].firstIndex { $0.pricing.mesh == other.pricing.mesh }
      let isNew = other.pricing.mesh != pricing.mesh && alike == nil
      for (index, part) in other.operators.enumerated() where other.holds(graph.segmentOfOperator[index]) {
        if isNew || part.forward + part.backward > operators[index].forward + operators[index].backward { operators[index] = part }
      }
      starts.append(isNew ? collectives.count : alike.map { starts[$0] } ?? 0)
      if isNew { collectives += other.collectives }
      for (index, part) in other.collectives.enumerated() where part.time > collectives[starts[number] + index].time {
        collectives[starts[number] + index].time = part.time
      }
    }
  }

  // MARK: - Between meshes

  /// What a stage sends to the next one, which has another mesh, and gets back: for each tensor, in each layout in which it is read or its gradient
  /// given.
  private mutating func priceCrossings(after stage: Int) -> (forward: Int64, backward: Int64) {
    guard let link = links?.boundaries[stage], let segment = decision.stages[stage + 1].units.first?.segment else { return (0, 0) }
    let cost = CrossingCost(from: pricings[kindOfStage[stage]], to: pricings[kindOfStage[stage + 1]], over: link)
    var (forward, backward): (Int64, Int64) = (0, 0)
    for crossing in decision.crossings(into: segment, strategies, needsGradient: pricing.needsGradient) {
      guard let producer = graph.producer[crossing.exit] else { continue }
      func add(_ part: (bytes: Bytes, time: Seconds), _ tensor: TensorID, _ op: OperatorID) -> Int64 {
        collectives.append(
          .init(cause: .boundary, op: op, tensor: tensor, kind: nil, axes: [], bytes: part.bytes, time: part.time, calls: 1, copies: 1))
        return pricing.ticks(part.time)
      }
      for layout in crossing.forward {
        forward += add(cost.forward(crossing.entry, from: strategies[producer].result, to: layout), crossing.exit, producer)
      }
      for layout in crossing.gradients {
        let reader = graph.consumers[crossing.entry].first { strategies[$0.op].operands[$0.operand].gradient == layout }
        backward += add(
          cost.backward(crossing.entry, from: layout, to: strategies[producer].resultGradient), crossing.entry, reader?.op ?? producer)
      }
    }
    return (forward, backward)
  }

  /// What the stage that an operator is on exchanges of a tied parameter's gradient with the other stages that hold it.
  private mutating func priceExchange(of tensor: TensorID, by op: OperatorID, _ layout: Layout) {
    guard let links else { return }
    for group in decision.groupsHolding(tensor) {
      guard let site = decision.reader(of: tensor, onGroup: group), site.op != op else { continue }
      let exchange = CrossingCost(from: pricing, to: pricings[kindOfStage[group]], over: links.neighbours)
        .exchange(tensor, layout, strategies[site.op].operands[site.operand].forward)
      exchanges[op] += exchange.time
      collectives.append(
        .init(cause: .tied, op: op, tensor: tensor, kind: nil, axes: [], bytes: exchange.bytes, time: exchange.time, calls: 1, copies: 1))
    }
  }

  // MARK: - Stages

  private mutating func stagesAndTotal() -> (Prediction, Int64, PipelineTimeline) {
    var times: [PipelineTimeline.StageTimes] = []
    var stages: [Prediction.StagePart] = []
    var previous: SegmentID?
    let last = decision.stages.count - 1
    let inFlight = microBatchesInFlight()
    var limit = pricing.rates.usable
    for (index, stage) in decision.stages.enumerated() {
      var t = PipelineTimeline.StageTimes(forward: 0, backward: 0, once: 0, sendForward: 0, sendBackward: 0)
      var (sync, update, communication): (Seconds, Seconds, Seconds) = (.zero, .zero, .zero)
      let kind = kindOfStage[decision.group(ofStage: index)]
      let own = kind == 0 ? self : others[kind - 1]
      for unit in stage.units {
        for _ in unit.copies {
          var pass = own.inside[unit.segment]
          if let previous, let seam = own.seams[Seam(from: previous, to: unit.segment)] { pass += seam }
          t.forward += pass.forward
          t.backward += pass.backward
          communication += pass.communication
          previous = unit.segment
          for op in graph.segments[unit.segment].operators {
            t.once += pricing.ticks(own.once[op].sync + own.once[op].update) + pricing.ticks(own.exchanges[op])
            sync += own.once[op].sync + own.exchanges[op]
            update += own.once[op].update
          }
        }
      }
      if decision.changesMesh(before: index + 1) {
        (t.sendForward, t.sendBackward) = priceCrossings(after: index)
      } else if index < last, let links, let segment = stage.units.last?.segment {
        let wraps = decision.group(ofStage: index + 1) == 0
        let link = links.link(after: index, wraps: wraps)
        for exit in graph.segments[segment].exits {
          guard let producer = graph.producer[exit] else { continue }
          let bytes = own.pricing.boundaryBytes(exit, strategies[producer].result)
          let forward = own.pricing.boundary(exit, strategies[producer].result, by: link.time)
          t.sendForward += pricing.ticks(forward)
          let sendsBack = trains && pricing.needsGradient[exit]
          if sendsBack {
            t.sendBackward += pricing.ticks(own.pricing.boundary(exit, strategies[producer].resultGradient, by: link.time))
          }
          // Boundaries after copies of one segment are alike, unless those from the last stage to the first have another link.
          let alike = decision.stages.indices.filter { other in
            other < last && decision.stages[other].units.last?.segment == segment
              && links.link(after: other, wraps: decision.group(ofStage: other + 1) == 0) == link && !decision.changesMesh(before: other + 1)
          }
          if index == alike.first {
            collectives.append(
              .init(
                cause: .boundary, op: producer, tensor: exit, kind: nil, axes: [], bytes: bytes, time: forward, calls: sendsBack ? 2 : 1,
                copies: alike.count))
          }
        }
      }
      times.append(t)
      let held = own.fullest(stage, inFlight: inFlight[index])
      if !own.ofShares.isEmpty { limit = held.limit }
      stages.append(
        .init(
          forward: pricing.seconds(t.forward), backward: pricing.seconds(t.backward), gradientSync: sync, update: update,
          communication: communication, memory: held.memory,
          memoryLimit: others.isEmpty || !decision.stageMeshes.isEmpty ? nil : own.pricing.rates.usable))
    }
    let timeline = PipelineTimeline(times, schedule: decision.schedule, microBatches: decision.job.microBatches, mode: decision.job.mode)
    takeSlowest()
    var prediction = Prediction(
      step: pricing.seconds(timeline.end), bubble: timeline.bubble, stages: stages, groups: decision.groups, operators: operators,
      collectives: collectives, memoryLimit: limit)
    prediction.memoryLimit = prediction.memoryLimit(ofGroup: prediction.fullest)
    return (prediction, timeline.end, timeline)
  }

  /// What a device of a virtual stage holds, and what it may; of several kinds that share the batch out unevenly, of the one that needs most of its
  /// memory.
  private func fullest(_ stage: Stage, inFlight: Int) -> (memory: Prediction.MemoryPart, limit: Bytes) {
    let kinds = (ofShares.isEmpty ? [self] : ofShares).map { ($0.memory(stage, inFlight: inFlight), $0.pricing.rates.usable) }
    return kinds.max { $0.0.total.value * $1.1.value < $1.0.total.value * $0.1.value } ?? kinds[0]
  }

  /// At the instant at which a stage holds most. What later segments keep of the micro-batch that runs is not there yet in its forward pass, and no more
  /// in its backward pass; with several chunks on the devices, another chunk may hold it.
  private func memory(_ stage: Stage, inFlight: Int) -> Prediction.MemoryPart {
    let releases = decision.job.mode == .train && decision.schedule.chunks == 1
    var part = Prediction.MemoryPart(
      weights: .zero, gradients: .zero, optimizerState: .zero, activations: .zero, microBatchesInFlight: inFlight, transient: .zero)
    for unit in stage.units {
      for op in graph.segments[unit.segment].operators {
        part.weights += memory[op].weights * unit.copies.count
        part.gradients += memory[op].gradients * unit.copies.count
        part.optimizerState += memory[op].state * unit.copies.count
      }
      let activations = stage.units.reduce(Bytes.zero) { sum, other in
        sum + kept[other.segment] * (releases && other.segment > unit.segment ? max(0, inFlight - 1) : inFlight) * other.copies.count
      }
      let transient = graph.segments[unit.segment].operators.map { memory[$0].transient + revived[unit.segment] }.max() ?? .zero
      if activations + transient >= part.activations + part.transient { (part.activations, part.transient) = (activations, transient) }
    }
    return part
  }

  /// Of a copy of a segment, per micro-batch.
  private func kept(of segment: SegmentID) -> Bytes {
    holds(segment) ? kept[segment] : others.first { $0.holds(segment) }?.kept[segment] ?? .zero
  }

  /// For each virtual stage, its micro-batches in flight at the time when its stage keeps most.
  private func microBatchesInFlight() -> [Int] {
    let perMicroBatch = decision.stages.map { stage in stage.units.reduce(Bytes.zero) { $0 + kept(of: $1.segment) * $1.copies.count } }
    var inFlight = [Int](repeating: 0, count: decision.stages.count)
    for group in 0..<decision.groups {
      let chunks = Array(stride(from: group, to: decision.stages.count, by: decision.groups))
      let times = decision.schedule.fullest(
        stage: group, stages: decision.groups, microBatches: decision.job.microBatches, mode: decision.job.mode)
      func bytes(_ time: [Int]) -> Bytes { zip(chunks, time).reduce(.zero) { $0 + perMicroBatch[$1.0] * $1.1 } }
      var most = times[0]
      for time in times where bytes(time) > bytes(most) { most = time }
      for (k, count) in zip(chunks, most) { inFlight[k] = count }
    }
    return inFlight
  }
}
