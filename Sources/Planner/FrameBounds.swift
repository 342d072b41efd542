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
  /// By the number of micro-batches in flight, as they are asked for.
  private var memory: [Int: Parts] = [:]
  /// For each stage and chunk, the micro-batches in flight at one of the times when the stage holds most.
  private var held: [Schedule: [[Int]]] = [:]
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
    both = Parts(Self.least(nodes, graph) { $0.forward[$1] + $0.backward[$1] }, space)
    forward = Parts(Self.least(nodes, graph) { $0.forward[$1] }, space)
    backward = Parts(Self.least(nodes, graph) { $0.backward[$1] }, space)
    let rounds = frame.stages == 1 ? Int64(frame.microBatches) : 1
    whole = Self.least(nodes, graph) { node, s in
      let copies = Int64(graph.segments[node.segment].repeats)
      let first = frame.stages == 1 ? copies : (node.segment <= space.layerSegments.lowerBound ? 1 : 0)
      return rounds * copies * (node.forward[s] + node.backward[s]) + first * node.once[s]
    }.reduce(0, +)
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
  func bound(_ schedule: Schedule, cut: [Int]) -> Int64 {
    if frame.stages == 1 { return whole }
    if schedule.kind == .interleaved {
      let chunks = ChunkTimes(cut, both: both.chunk, forward: forward.chunk, backward: backward.chunk)
      return max(whole, chunks.bound(schedule, stages: frame.stages, microBatches: frame.microBatches))
    }
    var most: Int64 = 0
    var start = 0
    for (s, count) in cut.enumerated() {
      let layers = start..<start + count
      start += count
      if space.request.mode == .forward {
        most = max(most, Int64(frame.microBatches - 1) * forward.stage(layers))
      } else {
        most = max(most, added(both.stage(layers), backward.stage(layers), warm: warm(schedule, stage: s)))
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
    if held[schedule] == nil {
      held[schedule] = (0..<frame.stages).map {
        schedule.fullest(stage: $0, stages: frame.stages, microBatches: frame.microBatches, mode: space.request.mode)[0]
      }
    }
    var stages = reserved.isEmpty ? [Int64](repeating: 0, count: frame.stages) : reserved
    var start = 0
    for (k, count) in cut.enumerated() {
      let inFlight = held[schedule]?[k % frame.stages][k / frame.stages] ?? 0
      let parts: Parts
      if let known = memory[inFlight] {
        parts = known
      } else {
        parts = Parts(Self.least(operators.nodes, space.request.graph) { $0.resident[$1] + Int64(inFlight) * $0.leastKept[$1] }, space)
        memory[inFlight] = parts
      }
      stages[k % frame.stages] += parts.stage(start..<start + count)
      start += count
    }
    return stages.max() ?? 0
  }
}
