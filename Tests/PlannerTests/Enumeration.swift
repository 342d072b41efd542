// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Plans
import Quantities
import Strategies

@testable import Planner

/// Every decision of the modelled space, written out and priced by `DecisionPricing`: an oracle that shares nothing else with the search.
struct Enumeration {
  struct Entry {
    let decision: Decision
    let objective: Int64
    /// Of the fullest stage; where its devices have a share of the first kind's memory, as if they had all of it.
    let memory: Bytes
  }

  let request: SearchRequest
  private(set) var entries: [Entry] = []

  /// - Parameter copiesAlike: for each operator the one whose assignment it must share; nil leaves all free.
  init(_ request: SearchRequest, copiesAlike: [OperatorID]? = nil) throws {
    self.request = request
    let devices = request.cluster.deviceCount
    let pairs = ((request.mayLeaveIdle ? 1 : devices)...devices).flatMap { used in (1...layerCount).filter { used % $0 == 0 }.map { (used, $0) } }
    for (used, degree) in pairs {
      if let fixed = request.pipelineDegree, fixed != degree { continue }
      for mesh in meshes(used / degree) {
        if let fixed = request.mesh, fixed != mesh { continue }
        for count in 1...request.batch where request.batch % count == 0 {
          if let fixed = request.microBatches, fixed != count { continue }
          for shares in try shares(stages: degree, mesh: mesh, microBatches: count) {
            try enumerate(stages: degree, mesh: mesh, microBatches: count, shares, copiesAlike: copiesAlike)
            if request.layersMayDiffer { try enumerateMixes(stages: degree, mesh: mesh, microBatches: count, shares) }
          }
        }
      }
    }
  }

  /// One decision's frame with other assignments, or carried over to a graph in which copies are written out. No entry where it is outside the space.
  init(_ request: SearchRequest, frame decision: Decision, assignments: [[Int?]]) throws {
    self.request = request
    let stages = decision.groups
    let pricing = try pricing(stages: stages, mesh: decision.mesh, microBatches: decision.job.microBatches)
    let strategies = zip(assignments, pricing.rules).map { Strategy(assignment: $0, rule: $1) }
    guard isInSpace(pricing.graph, strategies), let conversions = conversions(pricing, Resharder(pricing), strategies) else { return }
    let last = decision.graph.segments.count - 1
    let cut = decision.stages.map { $0.units.reduce(0) { $0 + (1..<last ~= $1.segment ? $1.copies.count : 0) } }
    let written = Decision(
      graph: pricing.graph, job: pricing.job, mesh: decision.mesh, schedule: decision.schedule, stages: self.stages(cut, pricing.graph),
      assignments: assignments, zero: zero(pricing, strategies, like: decision), recompute: recompute(pricing.graph, like: decision),
      conversions: conversions)
    let links = links(stages: stages, size: decision.mesh.reduce(1, *))
    entries = [try entry(written, links)]
  }

  /// The cheapest entry that needs no more memory than this.
  func best(memory: Bytes) -> Entry? { entries.filter { $0.memory <= memory }.min { $0.objective < $1.objective } }

  /// The first and the last segment hold no layers: the tiny models' embedding and head.
  private var layerCount: Int { request.graph.segments.dropFirst().dropLast().reduce(0) { $0 + $1.repeats } }

  private func meshes(_ count: Int) -> [[Int]] {
    var shapes = [[count]]
    // Each shape with its last axis divided.
    for axes in 1..<max(1, request.mostMeshAxes) {
      for shape in shapes where shape.count == axes {
        let last = shape[axes - 1]
        for first in 2..<max(2, last) where last % first == 0 { shapes.append(shape.dropLast() + [first, last / first]) }
      }
    }
    return shapes
  }

  /// Every cut into stages; for four stages and more the space keeps the inner ones even, which four layers cannot tell from all.
  private func cuts(_ layers: Int, _ stages: Int) -> [[Int]] {
    if stages == 1 { return layers > 0 ? [[layers]] : [] }
    return (1..<max(1, layers)).flatMap { first in cuts(layers - first, stages - 1).map { [first] + $0 } }
  }

  /// Every schedule with every cut for it: interleaved ones where all stages have the same kinds of devices.
  private func pipelines(stages: Int, size: Int, microBatches: Int) -> [(schedule: Schedule, cut: [Int])] {
    let trains = request.mode == .train
    let plain: [Schedule] = trains ? (stages == 1 ? [.oneForwardOneBackward] : [.oneForwardOneBackward, .gpipe]) : [.gpipe]
    var all = plain.flatMap { schedule in cuts(layerCount, stages).map { (schedule, $0) } }
    if request.schedule == .interleaved || (request.chunks ?? 1) > 1 { all = [] }
    guard trains, stages > 1, microBatches % stages == 0, [nil, .interleaved].contains(request.schedule), request.chunks != 1 else { return all }
    let kinds = (0..<stages).map { stage in Set(request.cluster.kindOfDevice[stage * size..<(stage + 1) * size]) }
    guard Set(kinds).count == 1 else { return all }
    for chunks in 2..<max(2, layerCount + 1) where request.chunks == nil || request.chunks == chunks {
      for cut in cuts(layerCount, stages * chunks) where isEven(cut) { all.append((.interleaved(chunks: chunks), cut)) }
    }
    return all
  }

  /// Inner chunks alike, those with a layer more all first or all last; the first within one of the even number, the last at most one above it.
  private func isEven(_ cut: [Int]) -> Bool {
    let inner = cut.dropFirst().dropLast()
    let even = Double(layerCount) / Double(cut.count)
    let most = Int(even.rounded(.up)) + 1
    let isSorted = Array(inner) == inner.sorted() || Array(inner) == inner.sorted(by: >)
    return isSorted && (inner.max() ?? 0) - (inner.min() ?? 0) <= 1 && cut[0] <= most && cut[0] >= Int(even) - 1
      && cut[cut.count - 1] <= most
  }

  private mutating func enumerate(stages: Int, mesh: [Int], microBatches: Int, _ shares: BatchShares?, copiesAlike: [OperatorID]?) throws {
    let pricing = try pricing(stages: stages, mesh: mesh, microBatches: microBatches, shares: shares)
    let graph = pricing.graph
    let choices = choices(pricing, mesh)
    // An operator that follows another has one choice of its own.
    let counts = choices.indices.map { (copiesAlike?[$0] ?? $0) == $0 ? choices[$0].count : 1 }
    let resharder = Resharder(pricing)
    let links = links(stages: stages, size: mesh.reduce(1, *))
    let pipelines = pipelines(stages: stages, size: mesh.reduce(1, *), microBatches: microBatches)
    var picked = [Int](repeating: 0, count: choices.count)
    repeat {
      let assignments = choices.indices.map { choices[$0][picked[copiesAlike?[$0] ?? $0]] }
      let strategies = zip(assignments, pricing.rules).map { Strategy(assignment: $0, rule: $1) }
      guard isInSpace(graph, strategies), leavesNoneEmpty(graph, strategies, mesh, shares),
        let conversions = conversions(pricing, resharder, strategies)
      else { continue }
      for zero in zeroes(pricing, strategies) {
        for recompute in recomputes {
          for (schedule, cut) in pipelines {
            var decision = Decision(
              graph: graph, job: pricing.job, mesh: mesh, schedule: schedule, stages: self.stages(cut, graph), assignments: assignments,
              zero: zero, recompute: recompute, conversions: conversions)
            decision.shares = shares
            entries.append(try entry(decision, links))
          }
        }
      }
    } while advance(&picked, counts)
  }

  /// The first 1, 2, … layers of each stage differ from the rest: each such pattern written out as a model of its own.
  private mutating func enumerateMixes(stages count: Int, mesh: [Int], microBatches: Int, _ shares: BatchShares?) throws {
    guard request.mode == .train, request.graph.segments.count == 3, layerCount > 1 else { return }
    let links = links(stages: count, size: mesh.reduce(1, *))
    let pipelines = pipelines(stages: count, size: mesh.reduce(1, *), microBatches: microBatches)
    for cut in Set(pipelines.map(\.cut)).sorted(by: { $0.lexicographicallyPrecedes($1) }) {
      for first in 1..<max(2, cut.max()!) where cut.max()! > 1 {
        // (copies, whether they are of the first kind) for each run of equal layers.
        let runs = cut.map { [(min(first, $0), true), ($0 - min(first, $0), false)].filter { $0.0 > 0 } }
        let kinds = runs.joined().map(\.1)
        let (graph, origins) = request.graph.dividing(1, into: runs.joined().map(\.0))
        let pricing = try pricing(stages: count, mesh: mesh, microBatches: microBatches, graph: graph, shares: shares)
        /// The first operator that stems from the same one and is of the same kind.
        let alike = origins.indices.map { op in
          origins.indices.first { origins[$0] == origins[op] && kind($0, pricing.graph, kinds) == kind(op, pricing.graph, kinds) }!
        }
        var next = 1
        let stages = runs.enumerated().map { index, runs in
          var units = runs.map { run in
            next += 1
            return UnitRange(segment: next - 1, copies: 0..<run.0)
          }
          if index == 0 { units.insert(UnitRange(segment: 0, copies: 0..<1), at: 0) }
          if index == cut.count - 1 { units.append(UnitRange(segment: graph.segments.count - 1, copies: 0..<1)) }
          return Stage(units: units)
        }
        let choices = choices(pricing, mesh)
        let counts = choices.indices.map { alike[$0] == $0 ? choices[$0].count : 1 }
        let resharder = Resharder(pricing)
        var picked = [Int](repeating: 0, count: choices.count)
        repeat {
          let assignments = choices.indices.map { choices[$0][picked[alike[$0]]] }
          let strategies = zip(assignments, pricing.rules).map { Strategy(assignment: $0, rule: $1) }
          guard isInSpace(pricing.graph, strategies), seamsAgree(pricing.graph, strategies),
            leavesNoneEmpty(pricing.graph, strategies, mesh, shares),
            let conversions = conversions(pricing, resharder, strategies)
          else { continue }
          for zero in zeroes(pricing, strategies) where zero.indices.allSatisfy({ zero[$0] == zero[alike[$0]] }) {
            for more in kindsOfRecompute {
              for less in kindsOfRecompute where less <= more {
                let recompute = [.none] + kinds.map { $0 ? more : less } + [.none]
                for schedule in pipelines.filter({ $0.cut == cut }).map(\.schedule)
                where schedule.kind != .interleaved || Set(cut).count == 1 {
                  var decision = Decision(
                    graph: pricing.graph, job: pricing.job, mesh: mesh, schedule: schedule, stages: stages, assignments: assignments, zero: zero,
                    recompute: recompute, conversions: conversions)
                  decision.shares = shares
                  entries.append(try entry(decision, links))
                }
              }
            }
          }
        } while advance(&picked, counts)
      }
    }
  }

  /// Of which kind an operator's layers are: nil for what stands before and after all layers.
  private func kind(_ op: OperatorID, _ graph: Graph, _ kinds: [Bool]) -> Bool? {
    let segment = graph.segmentOfOperator[op]
    return kinds.indices.contains(segment - 1) ? kinds[segment - 1] : nil
  }

  /// Layers take in and hand on what passes between them in the same layouts.
  private func seamsAgree(_ graph: Graph, _ strategies: [Strategy]) -> Bool {
    let layers = graph.segments.dropFirst().dropLast()
    let entries = layers.map { segment in
      segment.entries.map { graph.consumers[$0].map { strategies[$0.op].operands[$0.operand] } }
    }
    let exits = layers.map { segment in segment.exits.map { strategies[graph.producer[$0]!].result } }
    return Set(entries).count == 1 && Set(exits).count == 1
  }

  private var kindsOfRecompute: [Recompute] {
    request.mode == .forward ? [.none] : request.recompute.map { [$0] } ?? Recompute.differing(in: request.graph)
  }

  /// What all layers compute again; the first and the last segment nothing.
  private var recomputes: [[Recompute]] {
    let last = request.graph.segments.count - 1
    return kindsOfRecompute.map { mode in (0...last).map { $0 == 0 || $0 == last ? .none : mode } }
  }

  /// Every stage for every operator's weights, or the one asked for, as far as they can have it.
  private func zeroes(_ pricing: Pricing, _ strategies: [Strategy]) -> [[ZeROStage]] {
    strategies.enumerated().reduce([[]]) { vectors, op in
      var stages = pricing.zeroStages(op.offset, op.element)
      if let zero = request.zero { stages = [stages.last { $0 <= zero } ?? .none] }
      return vectors.flatMap { vector in stages.map { vector + [$0] } }
    }
  }

  /// The ZeRO stages of another decision: by name, where its copies are written out or folded.
  private func zero(_ pricing: Pricing, _ strategies: [Strategy], like decision: Decision) -> [ZeROStage] {
    strategies.indices.map { op in
      let name = pricing.graph.operators[op].name
      let other = decision.graph.operators.firstIndex { $0.name == name || $0.name == name.replacing(#/\.\d+\./#, with: ".{i}.") }
      return other.map { decision.zero[$0] } ?? .none
    }
  }

  private func recompute(_ graph: Graph, like decision: Decision) -> [Recompute] {
    let last = graph.segments.count - 1
    return graph.segments.indices.map { $0 == 0 || $0 == last ? .none : decision.recompute[1] }
  }

  private func advance(_ picked: inout [Int], _ counts: [Int]) -> Bool {
    for index in picked.indices {
      picked[index] += 1
      if picked[index] < counts[index] { return true }
      picked[index] = 0
    }
    return false
  }

  /// For each operator the assignments that the request's constraints leave.
  private func choices(_ pricing: Pricing, _ mesh: [Int]) -> [[[Int?]]] {
    pricing.rules.enumerated().map { op, rule in
      let constraints = request.constraints.filter { $0.matches(pricing.graph.operators[op].name) }
      return assignments(rule, mesh).filter { assignment in
        constraints.allSatisfy { $0.allows(Strategy(assignment: assignment, rule: rule), rule: rule) }
      }
    }
  }

  /// Each mesh axis to each splittable iteration axis or to none, as long as every rank gets a part.
  func assignments(_ rule: OperatorRule, _ mesh: [Int]) -> [[Int?]] {
    var all: [[Int?]] = [[]]
    for size in mesh {
      all = all.flatMap { prefix in
        ([nil] + (size > 1 ? rule.iteration.indices.filter { rule.iteration[$0].isSplittable }.map { $0 } : [])).map { prefix + [$0] }
      }
    }
    return all.filter { assignment in
      rule.iteration.indices.allSatisfy { axis in
        zip(assignment, mesh).reduce(1) { $1.0 == axis ? $0 * $1.1 : $0 } <= rule.iteration[axis].extent
      }
    }
  }

  /// A tied parameter is used alike by all, and no tensor is held in more than two uses.
  private func isInSpace(_ graph: Graph, _ strategies: [Strategy]) -> Bool {
    graph.tensors.indices.allSatisfy { tensor in
      let uses = Set(graph.consumers[tensor].map { strategies[$0.op].operands[$0.operand] })
      if graph.tensors[tensor].isParameter { return uses.count == 1 }
      return !graph.tensors[tensor].isActivation || uses.count <= 2
    }
  }

  private func conversions(_ pricing: Pricing, _ resharder: Resharder, _ strategies: [Strategy]) -> [Conversion]? {
    let graph = pricing.graph
    var result: [Conversion] = []
    func add(_ tensor: TensorID, _ from: Layout, _ to: Layout) -> Bool {
      if from == to { return true }
      guard let path = resharder.path(tensor, from: from, to: to) else { return false }
      result.append(Conversion(tensor: tensor, from: from, to: to, steps: path.steps))
      return true
    }
    for (number, segment) in graph.segments.enumerated() {
      for op in segment.operators {
        for (position, tensor) in graph.operators[op].operands.enumerated() where graph.tensors[tensor].isActivation {
          let use = strategies[op].operands[position]
          var sources = [graph.producer[tensor]]
          if let carry = segment.entries.firstIndex(of: tensor) {
            sources = [graph.producer[graph.segments[number - 1].exits[carry]]]
            if segment.repeats > 1 { sources.append(graph.producer[segment.exits[carry]]) }
          }
          for case let source? in sources {
            guard add(tensor, strategies[source].result, use.forward) else { return nil }
            if pricing.needsGradient[tensor], !add(tensor, use.gradient, strategies[source].resultGradient) { return nil }
          }
        }
      }
    }
    return result
  }

  private func stages(_ cut: [Int], _ graph: Graph) -> [Stage] {
    var layers = graph.segments.indices.dropFirst().dropLast().flatMap { id in
      (0..<graph.segments[id].repeats).map { UnitRange(segment: id, copies: $0..<$0 + 1) }
    }
    let last = graph.segments.count - 1
    return cut.indices.map { index in
      var units = Array(layers.prefix(cut[index]))
      layers.removeFirst(cut[index])
      if index == 0 { units.insert(UnitRange(segment: 0, copies: 0..<1), at: 0) }
      if index == cut.count - 1 { units.append(UnitRange(segment: last, copies: 0..<1)) }
      return Stage(units: units)
    }
  }

  /// Prices as the frame's devices have it. The tiny clusters are uniform, but groups of later stages may lie worse: the slowest counts.
  func pricing(
    stages: Int, mesh: [Int], microBatches: Int, graph: Graph? = nil, kind: DeviceKind? = nil, only: [Int]? = nil, shares: BatchShares? = nil,
    uneven: UnevenBatch? = nil
  ) throws -> Pricing {
    if let shares, uneven == nil {
      let kinds = try pricingsOfKinds(shares, mesh: mesh, microBatches: microBatches, graph: graph)
      return try pricing(
        stages: 1, mesh: mesh, microBatches: microBatches, graph: graph, shares: shares,
        uneven: UnevenBatch(shares, samples: shares.samples.max()!, kinds: kinds))
    }
    let cluster = request.cluster
    let size = mesh.reduce(1, *)
    let placements = (0..<1 << mesh.count).map { set in
      let axes = mesh.indices.filter { set >> $0 & 1 == 1 }
      return (only ?? Array(0..<stages)).map { cluster.placement(ofAxes: axes, in: Mesh(shape: mesh, firstDevice: $0 * size)) }.reversed().max {
        CollectiveCost.time(.allReduce, bytes: Bytes(1 << 20), on: $0) < CollectiveCost.time(.allReduce, bytes: Bytes(1 << 20), on: $1)
      }!
    }
    var job = Job(
      batch: request.batch, microBatches: microBatches, sequence: request.sequence, mode: request.mode, optimizer: request.optimizer,
      precision: request.precision)
    job.software = request.software
    return Pricing(
      model: .init((graph ?? request.graph).sized(batch: request.batch / microBatches, sequence: request.sequence), request.mode), mesh: mesh,
      rates: try DeviceRates(kind ?? cluster.kind(of: 0), request.precision), job: job, placements: placements,
      uneven: uneven)
  }

  /// A decision's price, each stage by its own kind of devices: the one with the lower peak where it has both.
  private func entry(_ decision: Decision, _ links: DecisionPricing.Links?) throws -> Entry {
    if decision.shares != nil { return try unevenEntry(decision) }
    let (stages, size) = (decision.groups, decision.mesh.reduce(1, *))
    let cluster = request.cluster
    let sets = (0..<stages).map { stage in Set((stage * size..<(stage + 1) * size).map { cluster.kindOfDevice[$0] }) }
    let different = sets.indices.filter { stage in !sets[..<stage].contains(sets[stage]) }.map { sets[$0] }
    let pricings = try different.map { set in
      let slowest = try set.map { cluster.kinds[$0] }.min { try $0.peak(request.precision) < $1.peak(request.precision) }!
      return try pricing(
        stages: stages, mesh: decision.mesh, microBatches: decision.job.microBatches, graph: decision.graph, kind: slowest,
        only: sets.indices.filter { sets[$0] == set })
    }
    let (prediction, objective, _) = try DecisionPricing.predict(
      decision, pricings: pricings, kindOfStage: sets.map { different.firstIndex(of: $0)! }, links: links)
    let largest = cluster.kinds.map(\.usableMemory).max()!
    let memory = (0..<stages).map { stage in
      prediction.memory(ofGroup: stage).total * (largest / sets[stage].map { cluster.kinds[$0].usableMemory }.min()!)
    }
    return Entry(decision: decision, objective: objective, memory: memory.max()!)
  }

  private func links(stages: Int, size: Int) -> DecisionPricing.Links? {
    func devices(_ stage: Int) -> Range<Int> { stage * size..<(stage + 1) * size }
    return (1..<max(1, stages)).map { request.cluster.link(from: devices($0 - 1), to: devices($0)) }
      .min { ($0.bandwidth, $1.latency) < ($1.bandwidth, $0.latency) }
      .map { .init(neighbours: $0, wrap: request.cluster.link(from: devices(stages - 1), to: devices(0))) }
  }
}

extension Recompute {
  /// Those that are not the same: without attention, to compute it again is nothing.
  static func differing(in graph: Graph) -> [Recompute] {
    let attends = graph.operators.contains { if case .attention = $0.kind { true } else { false } }
    return attends ? allCases : [.none, .gathered, .full]
  }
}
