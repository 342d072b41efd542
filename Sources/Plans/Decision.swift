// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// Consecutive copies of one segment.
package struct UnitRange: Hashable, Sendable {
  package var segment: SegmentID
  package var copies: Range<Int>

  package init(segment: SegmentID, copies: Range<Int>) {
    self.segment = segment
    self.copies = copies
  }
}

/// One virtual pipeline stage: which part of the chain of segments it holds. Of p groups of devices, group s runs the virtual stages k ≡ s (mod p),
/// on the ranks that follow those of the groups before.
package struct Stage: Hashable, Sendable {
  package var units: [UnitRange]

  package init(units: [UnitRange]) { self.units = units }
}

/// How one tensor gets from the layout that it has into one that is needed.
package struct Conversion: Hashable, Sendable {
  /// The tensor, as its reader names it (a segment's entry for what comes from the copy before).
  package var tensor: TensorID
  package var from: Layout
  package var to: Layout
  package var steps: [ReshardingStep]

  package init(tensor: TensorID, from: Layout, to: Layout, steps: [ReshardingStep]) {
    self.tensor = tensor
    self.from = from
    self.to = to
    self.steps = steps
  }
}

/// A complete decision: everything that lowering needs to write each rank's program.
package struct Decision: Hashable, Sendable {
  /// The model with the extents of one micro-batch.
  package var graph: Graph
  package var job: Job
  /// The sizes of a stage's mesh axes, outermost first; the last axis's neighbours are adjacent devices. Where stages have several meshes, the first
  /// stage's.
  package var mesh: [Int]
  /// For each group of devices its mesh, where they have several; empty where all have the same. A segment lies on stages of one mesh.
  package var stageMeshes: [[Int]] = []
  package var schedule: Schedule
  /// In the model's order; with one chunk on each group of devices, the pipeline's stages.
  package var stages: [Stage]
  /// For each operator, the iteration axis that each mesh axis goes to.
  package var assignments: [[Int?]]
  /// For each operator, how the weights that it owns are shared out over data replicas.
  package var zero: [ZeROStage]
  /// For each segment, what its backward pass computes again.
  package var recompute: [Recompute]
  package var conversions: [Conversion]
  /// For each axis of the graph, the order in which its positions stand.
  package var orders: [SequenceOrder]
  /// The samples of a micro-batch that each rank along a mesh axis has; nil where they are shared out evenly.
  package var shares: BatchShares?

  package init(
    graph: Graph, job: Job, mesh: [Int], schedule: Schedule, stages: [Stage], assignments: [[Int?]], zero: [ZeROStage]? = nil,
    recompute: [Recompute]? = nil, conversions: [Conversion], orders: [SequenceOrder]? = nil
  ) {
    self.graph = graph
    self.job = job
    self.mesh = mesh
    self.schedule = schedule
    self.stages = stages
    self.assignments = assignments
    self.zero = zero ?? assignments.map { _ in .none }
    self.recompute = recompute ?? graph.segments.map { _ in .none }
    self.conversions = conversions
    self.orders = orders ?? graph.axes.map { _ in .natural }
  }

  /// Groups of devices, which have a chunk of the model each, or several.
  package var groups: Int { stages.count / schedule.chunks }
  package var ranks: Int { ranks(ofGroup: groups - 1).upperBound }
  package func group(ofStage stage: Int) -> Int { stage % groups }
  /// The virtual stage that a pass of a group goes through.
  package func stage(of pass: Pass, on group: Int) -> Int { pass.chunk * groups + group }
}

extension Decision {
  /// How weights are shared out over data replicas: every stage that occurs, that of most elements first.
  package var zeroStages: [ZeROStage] {
    var elements: [ZeROStage: Int] = [:]
    for tensor in graph.tensors.indices where graph.tensors[tensor].isParameter {
      guard let owner = graph.consumers[tensor].first?.op else { continue }
      let copies = graph.segments[graph.segmentOfOperator[owner]].repeats
      elements[zero[owner], default: 0] += copies * graph.shape(tensor).reduce(1, *)
    }
    return elements.sorted { ($1.value, $0.key) < ($0.value, $1.key) }.map(\.key)
  }
}

/// What backward does again.
extension Decision {
  /// Whether a tensor is computed again before it is read in the backward pass.
  package func revives(_ tensor: TensorID, _ rules: [OperatorRule]) -> Bool {
    guard job.mode == .train, let producer = graph.producer[tensor] else { return false }
    return recompute[graph.segmentOfOperator[producer]].revivesResult(of: rules[producer], job.software.attention)
  }

  /// Whether a tensor that operators read gathered is kept as its producer left it.
  package func regathers(_ tensor: TensorID, _ rules: [OperatorRule]) -> Bool {
    guard job.mode == .train, let producer = graph.producer[tensor] else { return false }
    return recompute[graph.segmentOfOperator[producer]].gathers && !revives(tensor, rules)
  }

  /// Whether it is gathered again for what reads it in this layout.
  package func regathers(_ tensor: TensorID, in layout: Layout, _ strategies: [Strategy], _ rules: [OperatorRule]) -> Bool {
    regathers(tensor, rules) && layout.isGathered(from: strategies[graph.producer[tensor]!].result)
  }
}

/// Which ranks and meshes groups of devices have.
extension Decision {
  package func mesh(ofGroup group: Int) -> [Int] { stageMeshes.isEmpty ? mesh : stageMeshes[group] }

  package func ranks(ofGroup group: Int) -> Range<Int> {
    func size(_ mesh: [Int]) -> Int { mesh.reduce(1, *) }
    let first = stageMeshes.isEmpty ? group * size(mesh) : stageMeshes[..<group].reduce(0) { $0 + size($1) }
    return first..<first + size(mesh(ofGroup: group))
  }

  /// Ranks of one group, cut where their shares of the batch change.
  package func ranksAlike(_ ranks: Range<Int>) -> [Range<Int>] {
    guard let shares else { return [ranks] }
    let inner = mesh.reduce(1, *) / shares.samples.count
    return shares.samples.indices.map { (inner * $0..<inner * ($0 + 1)).clamped(to: ranks) }.filter { !$0.isEmpty }
  }

  package func group(ofRank rank: Int) -> Int {
    (0..<groups).first { rank < ranks(ofGroup: $0).upperBound } ?? groups
  }

  /// The mesh of the stages that hold a segment.
  package func mesh(ofSegment segment: SegmentID) -> [Int] {
    if stageMeshes.isEmpty { return mesh }
    return stages.firstIndex { $0.units.contains { $0.segment == segment } }.map { mesh(ofGroup: group(ofStage: $0)) } ?? mesh
  }

  package func mesh(ofOperator op: OperatorID) -> [Int] { stageMeshes.isEmpty ? mesh : mesh(ofSegment: graph.segmentOfOperator[op]) }

  /// Whether a virtual stage gets what it reads from one with another mesh.
  package func changesMesh(before stage: Int) -> Bool {
    !stageMeshes.isEmpty && 1..<stages.count ~= stage && mesh(ofGroup: group(ofStage: stage - 1)) != mesh(ofGroup: group(ofStage: stage))
  }

  /// Whether a segment's first copy gets what it reads from a stage with another mesh.
  package func changesMesh(beforeSegment segment: SegmentID) -> Bool {
    !stageMeshes.isEmpty && segment > 0 && mesh(ofSegment: segment - 1) != mesh(ofSegment: segment)
  }
}

extension Decision {
  /// The groups of devices that read a parameter which is not a repeated one: more than one for tied weights.
  package func groupsHolding(_ tensor: TensorID) -> [Int] {
    guard let source = graph.tensors[tensor].parameter, !Graph.isPerCopy(source.checkpointName) else { return [] }
    let segments = Set(graph.consumers[tensor].map { graph.segmentOfOperator[$0.op] })
    let holding = stages.indices.filter { stages[$0].units.contains { segments.contains($0.segment) && !$0.copies.isEmpty } }
    return Set(holding.map(group(ofStage:))).sorted()
  }
}

extension Decision {
  /// The first operator on a group of devices that reads a parameter which is not a repeated one.
  package func reader(of tensor: TensorID, onGroup group: Int) -> Graph.OperandSite? {
    let stages = self.stages.indices.filter { self.group(ofStage: $0) == group }.map { self.stages[$0] }
    return graph.consumers[tensor].first { site in stages.contains { $0.units.contains { $0.segment == graph.segmentOfOperator[site.op] } } }
  }

  /// Whether stages with several meshes hold a parameter, and exchange its gradient.
  package func tieCrossesMeshes(_ tensor: TensorID) -> Bool {
    if stageMeshes.isEmpty { return false }
    let holders = groupsHolding(tensor)
    return holders.contains { mesh(ofGroup: $0) != mesh(ofGroup: holders[0]) }
  }
}

extension Decision {
  /// The same model and job on one rank, the whole batch at once (in its micro-batches, where the model's loss is theirs): what every split must
  /// compute.
  package func onOneRank() -> Decision {
    var job = job
    if !graph.isPerMicroBatch { job.microBatches = 1 }
    let stage = Stage(units: graph.segments.indices.map { UnitRange(segment: $0, copies: 0..<graph.segments[$0].repeats) })
    return Decision(
      graph: graph.sized(batch: job.batch / job.microBatches, sequence: nil), job: job, mesh: [1], schedule: .gpipe, stages: [stage],
      assignments: graph.operators.map { _ in [nil] }, conversions: [])
  }
}
