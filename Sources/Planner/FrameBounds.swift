// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Strategies

/// Lower bounds of what a frame's parts take, from its operators alone: every operator at its own least, conversions free.
struct FrameBounds {
  /// The least of one quantity for a copy of each segment, laid out so that any cut is bounded by a subtraction.
  struct Parts {
    /// Sum over the layers before layer i.
    private(set) var prefix: [Int64] = [0]
    let before: Int64
    let after: Int64
    /// What a stage takes less than the sum of its layers.
    private let lessPerStage: Int64

    /// - Parameter first: of the first copy of each segment, where that is less.
    init(_ perSegment: [Int64], _ space: Space, lessPerStage: Int64 = 0, first: [Int64]? = nil) {
      self.lessPerStage = lessPerStage
      before = perSegment[..<space.layerSegments.lowerBound].reduce(0, +)
      after = perSegment[space.layerSegments.upperBound...].reduce(0, +)
      for segment in space.layerSegments {
        for copy in 0..<space.request.graph.segments[segment].repeats {
          prefix.append(prefix[prefix.count - 1] + (copy == 0 ? first?[segment] ?? perSegment[segment] : perSegment[segment]))
        }
      }
    }

    /// The number of layers.
    var count: Int { prefix.count - 1 }

    /// These layers alone.
    func layers(_ range: Range<Int>) -> Int64 { prefix[range.upperBound] - prefix[range.lowerBound] }

    /// A stage that holds `layers`, with what stands before and after all layers on the outer stages.
    func stage(_ layers: Range<Int>) -> Int64 {
      prefix[layers.upperBound] - prefix[layers.lowerBound] - lessPerStage + (layers.lowerBound == 0 ? before : 0)
        + (layers.upperBound == prefix.count - 1 ? after : 0)
    }

    /// One of a stage's chunks. All but the model's first begin with the conversions between layers.
    func chunk(_ layers: Range<Int>) -> Int64 { stage(layers) + (layers.lowerBound > 0 ? lessPerStage : 0) }

    /// The least that the stage with most layers can be when `layers` are cut into `stages`.
    func largest(stages: Int) -> Int64 {
      let most = (prefix.count - 1 + stages - 1) / stages
      return (0...prefix.count - 1 - most).map { prefix[$0 + most] - prefix[$0] }.min() ?? 0
    }

    /// The least that so many layers can be together, wherever they are.
    func smallest(_ count: Int) -> Int64 { zip(prefix, prefix.dropFirst()).map { $1 - $0 }.sorted().prefix(count).reduce(0, +) }
  }

  /// One micro-batch through every stage, forward and backward (all micro-batches where there is one stage), and once per step what the
  /// smallest first stage does.
  private let whole: Int64
  private let both: Parts
  private let forward: Parts
  private let backward: Parts
  /// What the bounds of all cuts under one schedule share, for the schedules that were asked for.
  private var facts: [Schedule: Facts] = [:]
  /// Of the schedule that was asked for last: cuts come schedule by schedule.
  private var latest: (schedule: Schedule, facts: Facts)?

  private final class Facts {
    /// For each stage, the forward passes that a chain spares which comes back to it.
    let warm: [Int64]
    /// For each virtual stage, where what it holds begins in `memory`.
    let starts: [Int]
    /// By the number of micro-batches in flight: the bytes of the layers before layer 0, 1, …, and what stands before and after all layers.
    let memory: [Int64]

    init(warm: [Int64], starts: [Int], memory: [Int64]) { (self.warm, self.starts, self.memory) = (warm, starts, memory) }
  }
  /// The frame's operators, not connected.
  let operators: FoldedModel
  private let space: Space
  private let frame: Space.Frame
  /// For each stage, how much less memory than the largest device its devices have; empty where none has less.
  private let reserved: [Int64]

  init(_ model: FoldedModel, space: Space, frame: Space.Frame) {
    operators = model
    let nodes = model.nodes
    self.space = space
    self.frame = frame
    reserved = (try? space.reserved(frame)) ?? []
    let graph = model.pricing.graph
    let forwards = zip(Self.least(nodes, graph) { $0.forward[$1] }, model.host).map { max($0, $1.forward) }
    let backwards = zip(Self.least(nodes, graph) { $0.backward[$1] }, model.host).map { max($0, $1.backward) }
    let boths = zip(Self.least(nodes, graph) { $0.forward[$1] + $0.backward[$1] }, zip(forwards, backwards)).map { max($0, $1.0 + $1.1) }
    (both, forward, backward) = (Parts(boths, space), Parts(forwards, space), Parts(backwards, space))
    let rounds = frame.stages == 1 ? Int64(frame.microBatches) : 1
    func once(_ node: FoldedModel.Node, _ s: Int) -> Int64 {
      (frame.stages == 1 ? Int64(graph.segments[node.segment].repeats) : node.segment <= space.layerSegments.lowerBound ? 1 : 0) * node.once[s]
    }
    func passes(_ time: Int64, _ segment: SegmentID) -> Int64 { rounds * Int64(graph.segments[segment].repeats) * time }
    whole = max(
      Self.least(nodes, graph) { passes($0.forward[$1] + $0.backward[$1], $0.segment) + once($0, $1) }.reduce(0, +),
      Self.least(nodes, graph, once).reduce(0, +) + boths.enumerated().reduce(0) { $0 + passes($1.element, $1.offset) })
  }

  static func least(_ nodes: [FoldedModel.Node], _ graph: Graph, _ cost: (FoldedModel.Node, Int) -> Int64) -> [Int64] {
    var sums = [Int64](repeating: 0, count: graph.segments.count)
    for node in nodes {
      var least = cost(node, 0)
      for s in 1..<max(1, node.count) { least = min(least, cost(node, s)) }
      sums[node.segment] += least
    }
    return sums
  }

  /// What a stage adds to `whole` under the chains of `PipelineTimeline.bounds`: (m−w)·t + (w−1)·b, less the more forward passes it may do
  /// before its first backward pass.
  private func added(_ t: Int64, _ b: Int64, warm: Int64) -> Int64 {
    (Int64(frame.microBatches) - warm) * t + (warm - 1) * b
  }

  private func warm(_ schedule: Schedule, stage: Int) -> Int64 {
    Int64(schedule.sparedPasses(stage: stage, stages: frame.stages, microBatches: frame.microBatches, mode: space.request.mode))
  }

  /// A lower bound of the step under every cut: some stage holds at least as many layers as the evenest cut's largest.
  func bound(_ schedule: Schedule) -> Int64 {
    if frame.stages == 1 { return whole }
    if schedule.kind == .interleaved {
      let (p, m) = (frame.stages, Int64(frame.microBatches))
      let mean = (m * both.stage(0..<space.layerCount) + Int64(p * (p - 1) / 2) * both.smallest(1)) / Int64(p)
      return max(whole, mean, m * both.smallest((space.layerCount + p - 1) / p))
    }
    if space.request.mode == .forward { return whole + Int64(frame.microBatches - 1) * forward.largest(stages: frame.stages) }
    return whole + added(both.largest(stages: frame.stages), backward.largest(stages: frame.stages), warm: warm(schedule, stage: 0))
  }

  /// A lower bound of the step under a cut.
  mutating func bound(_ schedule: Schedule, cut: [Int]) -> Int64 {
    if frame.stages == 1 { return whole }
    if schedule.kind == .interleaved {
      let chunks = ChunkTimes(cut, both: both.chunk, forward: forward.chunk, backward: backward.chunk)
      return max(whole, chunks.bound(schedule, stages: frame.stages, microBatches: frame.microBatches))
    }
    let warm = facts(schedule).warm
    var most: Int64 = 0
    var start = 0
    for (s, count) in cut.enumerated() {
      let layers = start..<start + count
      start += count
      if space.request.mode == .forward {
        most = max(most, Int64(frame.microBatches - 1) * forward.stage(layers))
      } else {
        most = max(most, added(both.stage(layers), backward.stage(layers), warm: warm[s]))
      }
    }
    return whole + most
  }

  /// The least that the fullest stage can hold under every cut: what all stages hold together, with one micro-batch in flight, shared out evenly.
  var leastMemoryOfFullest: Int64 {
    let least = Self.least(operators.nodes, space.request.graph) { $0.resident[$1] + $0.leastKept[$1] }
    let all = zip(space.request.graph.segments, least).reduce(reserved.reduce(0, +)) { $0 + Int64($1.0.repeats) * $1.1 }
    return all / Int64(frame.stages)
  }

  /// The least that the fullest stage can hold under a cut, each operator at its own least.
  mutating func leastMemory(_ schedule: Schedule, cut: [Int]) -> Int64 {
    let facts = facts(schedule)
    let layers = both.count
    return withUnsafeTemporaryAllocation(of: Int64.self, capacity: frame.stages) { stages in
      for s in stages.indices { stages.initializeElement(at: s, to: reserved.isEmpty ? 0 : reserved[s]) }
      facts.memory.withUnsafeBufferPointer { memory in
        var (start, stage) = (0, 0)
        for (k, count) in cut.enumerated() {
          let row = facts.starts[k]
          stages[stage] += memory[row + start + count] - memory[row + start]
          if start == 0 { stages[stage] += memory[row + layers + 1] }
          start += count
          if start == layers { stages[stage] += memory[row + layers + 2] }
          stage = stage + 1 == frame.stages ? 0 : stage + 1
        }
      }
      return stages.max() ?? 0
    }
  }

  private mutating func facts(_ schedule: Schedule) -> Facts {
    if let latest, latest.schedule == schedule { return latest.facts }
    if let known = facts[schedule] {
      latest = (schedule, known)
      return known
    }
    let held = (0..<frame.stages).map {
      schedule.full(stage: $0, stages: frame.stages, microBatches: frame.microBatches, mode: space.request.mode)
    }
    let most = (Int64.max >> 2) / Int64((space.layerCount + 2) * max(1, operators.nodes.count))
    var memory: [Int64] = []
    var rows: [Int: Int] = [:]
    let starts = (0..<frame.stages * schedule.chunks).map { k in
      let inFlight = held[k % frame.stages][k / frame.stages]
      if let known = rows[inFlight] { return known }
      let parts = Parts(
        Self.least(operators.nodes, space.request.graph) { node, s in
          // No more than fits into a sum over all nodes and layers; no device has so much.
          let (kept, isTooLarge) = node.leastKept[s].multipliedReportingOverflow(by: Int64(inFlight))
          return min(isTooLarge ? most : kept, most) + node.resident[s]
        }, space)
      rows[inFlight] = memory.count
      memory += parts.prefix + [parts.before, parts.after]
      return memory.count - parts.count - 3
    }
    let facts = Facts(
      warm: schedule.kind == .interleaved ? [] : (0..<frame.stages).map { warm(schedule, stage: $0) }, starts: starts, memory: memory)
    self.facts[schedule] = facts
    latest = (schedule, facts)
    return facts
  }
}
