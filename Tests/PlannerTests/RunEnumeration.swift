// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Plans
import Quantities
import Strategies

@testable import Planner

/// Every decision whose stages have given meshes, written out and priced by `DecisionPricing`: of a tiny model of an embedding, a block that repeats, and
/// a head. Neighbouring stages of one mesh have layers of one kind.
struct RunEnumeration {
  let request: SearchRequest
  let meshes: [[Int]]
  private(set) var entries: [Enumeration.Entry] = []

  /// The stages of each run of equal meshes.
  private let runs: [Range<Int>]

  init(_ request: SearchRequest, _ meshes: [[Int]]) throws {
    self.request = request
    self.meshes = meshes
    var runs: [Range<Int>] = []
    for stage in meshes.indices {
      if stage > 0, meshes[stage] == meshes[stage - 1] {
        runs[runs.count - 1] = runs[runs.count - 1].lowerBound..<stage + 1
      } else {
        runs.append(stage..<stage + 1)
      }
    }
    self.runs = runs
    for microBatches in 1...request.batch where request.batch % microBatches == 0 && request.microBatches ?? microBatches == microBatches {
      for cut in cuts(request.graph.segments[1].repeats, meshes.count) { try enumerate(cut, microBatches: microBatches) }
    }
  }

  func best(memory: Bytes) -> Enumeration.Entry? { entries.filter { $0.memory <= memory }.min { $0.objective < $1.objective } }

  private func cuts(_ layers: Int, _ stages: Int) -> [[Int]] {
    if stages == 1 { return layers > 0 ? [[layers]] : [] }
    return (1..<max(1, layers)).flatMap { first in cuts(layers - first, stages - 1).map { [first] + $0 } }
  }

  private func run(of segment: SegmentID) -> Int { min(max(0, segment - 1), runs.count - 1) }

  private func devices(_ stage: Int) -> Range<Int> {
    let first = meshes[..<stage].reduce(0) { $0 + $1.reduce(1, *) }
    return first..<first + meshes[stage].reduce(1, *)
  }

  private mutating func enumerate(_ cut: [Int], microBatches: Int) throws {
    let graph = request.graph.dividing(1, into: runs.map { cut[$0].reduce(0, +) }).graph
      .sized(batch: request.batch / microBatches, sequence: request.sequence)
    var job = Job(
      batch: request.batch, microBatches: microBatches, sequence: request.sequence, mode: request.mode, optimizer: request.optimizer,
      precision: request.precision)
    job.software = request.software
    let pricings = try runs.map { run in
      let mesh = meshes[run.lowerBound]
      let placements = (0..<1 << mesh.count).map { set in
        let axes = mesh.indices.filter { set >> $0 & 1 == 1 }
        return run.map { request.cluster.placement(ofAxes: axes, in: Mesh(shape: mesh, firstDevice: devices($0).lowerBound)) }.reversed().max {
          CollectiveCost.time(.allReduce, bytes: Bytes(1 << 20), on: $0) < CollectiveCost.time(.allReduce, bytes: Bytes(1 << 20), on: $1)
        }!
      }
      return Pricing(
        graph: graph, mesh: mesh, rates: try DeviceRates(request.cluster.kind(of: 0), request.precision), job: job, placements: placements)
    }
    func slowest(_ links: [Link]) -> Link { links.min { ($0.bandwidth, $1.latency) < ($1.bandwidth, $0.latency) }! }
    let between = meshes.indices.dropLast().map { request.cluster.link(from: devices($0), to: devices($0 + 1)) }
    let links = between.indices.map { stage in
      let run = runs.first { $0.contains(stage) }!
      return run.contains(stage + 1) ? slowest(run.dropLast().map { between[$0] }) : between[stage]
    }
    let placed = DecisionPricing.Links(neighbours: slowest(between), wrap: slowest(between), boundaries: links)

    var next = [Int](repeating: 0, count: graph.segments.count)
    let stages = cut.enumerated().map { stage, count in
      let segment = 1 + runs.firstIndex { $0.contains(stage) }!
      var units = [UnitRange(segment: segment, copies: next[segment]..<next[segment] + count)]
      next[segment] += count
      if stage == 0 { units.insert(UnitRange(segment: 0, copies: 0..<1), at: 0) }
      if stage == cut.count - 1 { units.append(UnitRange(segment: graph.segments.count - 1, copies: 0..<1)) }
      return Stage(units: units)
    }
    let all = graph.operators.indices.map { op in
      let rule = pricings[0].rules[op]
      return Strategy.all(for: rule, mesh: pricings[run(of: graph.segmentOfOperator[op])].mesh)
    }
    let resharders = pricings.map { Resharder($0) }
    var picked = [Int](repeating: 0, count: all.count)
    repeat {
      let strategies = zip(all, picked).map { $0[$1] }
      guard isInSpace(graph, strategies), let conversions = conversions(graph, pricings, resharders, strategies) else { continue }
      for recompute in recomputes {
        for schedule in request.mode == .train ? [Schedule.oneForwardOneBackward, .gpipe] : [.gpipe] {
          for zero in zeroes(graph, pricings, strategies) {
            var decision = Decision(
              graph: graph, job: job, mesh: meshes[0], schedule: schedule, stages: stages, assignments: strategies.map(\.assignment), zero: zero,
              recompute: [.none] + recompute + [.none], conversions: conversions)
            decision.stageMeshes = meshes
            let (prediction, objective, _) = try DecisionPricing.predict(
              decision, pricings: pricings, kindOfStage: meshes.indices.map { stage in runs.firstIndex { $0.contains(stage) }! }, links: placed)
            entries.append(.init(decision: decision, objective: objective, memory: prediction.memory))
          }
        }
      }
    } while advance(&picked, all.map(\.count))
  }

  /// For each run.
  private var recomputes: [[Recompute]] {
    let kinds = request.mode == .forward ? [Recompute.none] : request.recompute.map { [$0] } ?? Recompute.differing(in: request.graph)
    return runs.reduce([[]]) { lists, _ in lists.flatMap { list in kinds.map { list + [$0] } } }
  }

  private func zeroes(_ graph: Graph, _ pricings: [Pricing], _ strategies: [Strategy]) -> [[ZeROStage]] {
    strategies.enumerated().reduce([[]]) { vectors, op in
      var stages = pricings[run(of: graph.segmentOfOperator[op.offset])].zeroStages(op.offset, op.element)
      if let zero = request.zero { stages = [stages.last { $0 <= zero } ?? .none] }
      return vectors.flatMap { vector in stages.map { vector + [$0] } }
    }
  }

  private func advance(_ picked: inout [Int], _ counts: [Int]) -> Bool {
    for index in picked.indices {
      picked[index] += 1
      if picked[index] < counts[index] { return true }
      picked[index] = 0
    }
    return false
  }

  /// Readers of a tied parameter on one mesh use it alike, and no tensor is held in more than two uses.
  private func isInSpace(_ graph: Graph, _ strategies: [Strategy]) -> Bool {
    graph.tensors.indices.allSatisfy { tensor in
      let sites = graph.consumers[tensor]
      let uses = Set(sites.map { strategies[$0.op].operands[$0.operand] })
      if graph.tensors[tensor].isParameter {
        return Set(sites.map { meshes[runs[run(of: graph.segmentOfOperator[$0.op])].lowerBound] }).count > 1 || uses.count == 1
      }
      return !graph.tensors[tensor].isActivation || uses.count <= 2
    }
  }

  private func conversions(_ graph: Graph, _ pricings: [Pricing], _ resharders: [Resharder], _ strategies: [Strategy]) -> [Conversion]? {
    var result: [Conversion] = []
    func add(_ tensor: TensorID, _ from: Layout, _ to: Layout, _ resharder: Resharder) -> Bool {
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
            // Between runs there are no conversions.
            sources = run(of: number - 1) == run(of: number) ? [graph.producer[graph.segments[number - 1].exits[carry]]] : []
            if segment.repeats > 1 { sources.append(graph.producer[segment.exits[carry]]) }
          }
          for case let source? in sources {
            guard add(tensor, strategies[source].result, use.forward, resharders[run(of: number)]) else { return nil }
            if pricings[0].needsGradient[tensor], !add(tensor, use.gradient, strategies[source].resultGradient, resharders[run(of: number)]) {
              return nil
            }
          }
        }
      }
    }
    return result
  }
}
