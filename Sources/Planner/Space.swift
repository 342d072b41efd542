// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies

/// The modelled space around the operators' choices: pipeline degrees, meshes, micro-batch counts, schedules and cuts.
package struct Space: Sendable {
  /// A pipeline degree with a mesh for its stages and a number of micro-batches: what a folded model is priced for.
  struct Frame: Hashable {
    let stages: Int
    let mesh: [Int]
    let microBatches: Int
    /// What the layers compute again in their backward passes.
    var recompute = Recompute.none
    /// Where layers differ, what the first ones of each stage compute again; `recompute` is then that of the rest.
    var first: Recompute?
    /// Where stages have several meshes, the runs of stages with one each; `mesh` is then the first one's.
    var runs: [Run] = []
    /// The samples of each rank along the outermost mesh axis of several devices; empty where these share the batch out evenly.
    var shares: [Int] = []

    /// How many devices each stage has.
    var size: Int { mesh.reduce(1, *) }

    /// What tells it from others in a ranking: layers of two kinds that compute the same again may be alike.
    var configuration: Frame { first == recompute ? recomputing(recompute) : self }

    /// With all layers alike, or the first ones of each stage as another kind.
    func recomputing(_ recompute: Recompute, first: Recompute? = nil) -> Frame {
      var copy = self
      (copy.recompute, copy.first) = (recompute, first)
      return copy
    }
  }

  /// The model with its layers written twice: any stage holds some layers of the one kind and then some of the other. Written as often as there are
  /// runs of stages, each run holds those of its number.
  struct Variants: Sendable {
    let graph: Graph
    /// The kinds.
    let segments: Range<SegmentID>
    /// For each operator of the graph, the one of the model that it stems from.
    let origins: [OperatorID]

    init(_ graph: Graph, segment: SegmentID) {
      (self.graph, origins) = graph.dividing(segment, into: [1, 1], countsAreSymbolic: true)
      segments = segment..<segment + 2
    }

    /// For so many runs of stages. Layers of a run may follow one another.
    init(_ graph: Graph, segment: SegmentID, runs: Int) {
      (self.graph, origins) = graph.dividing(segment, into: [Int](repeating: 2, count: runs), countsAreSymbolic: true)
      segments = segment..<segment + runs
    }
  }

  let request: SearchRequest
  /// The unit of times; the same for every frame, so that frames compare.
  let tick: Seconds
  /// Segments whose copies are layers that a cut may fall between; the ones before stay with the first layer, the ones after with the last.
  let layerSegments: Range<SegmentID>
  /// Numbers of devices that a plan may use, ascending; the others stay idle.
  package let deviceCounts: [Int]
  package let pipelineDegrees: [Int]
  package let microBatchCounts: [Int]
  package let schedules: [Schedule.Kind]
  /// What layers may compute again, from the least on.
  package let recomputes: [Recompute]
  /// Where the layers of a stage may be of two kinds.
  let variants: Variants?
  /// By their number, the model with its layers once for each run of stages.
  private(set) var runGraphs: [Int: Variants] = [:]
  /// The runs of stages that are given; empty where none are.
  let givenRuns: [Run]
  /// For each kind of devices what the model's operators take, where the batch may be shared out unevenly.
  let timesOfKinds: [Double]
  /// Where the model's blocks are divided as these runs already, as in a plan: for each of its segments the run.
  private(set) var runOfDividedSegment: [Int] = []

  /// - Throws: `PlannerError.usage` where a fixed choice is impossible.
  init(_ request: SearchRequest, tick: Seconds? = nil) throws {
    let request = try Self.fixingShares(Self.withoutEqualMeshes(request))
    self.request = request
    timesOfKinds = try Self.timesOfKinds(request)
    givenRuns = Self.runs(request.stageMeshes ?? [])
    self.tick = try tick ?? Self.tick(for: request)
    try Self.check(request)
    let graph = request.graph
    let last = graph.segments.count - 1
    var range = 0..<graph.segments.count
    if range.count > 1 && !graph.holdsLayers(0) { range = 1..<range.upperBound }
    if range.count > 1 && !graph.holdsLayers(last) { range = range.lowerBound..<last }
    layerSegments = range
    let layers = range.reduce(0) { $0 + graph.segments[$1].repeats }
    let devices = request.cluster.deviceCount

    let allSchedules = try Self.schedules(request)
    schedules = givenRuns.isEmpty ? allSchedules : allSchedules.filter { $0 != .interleaved }
    let counts = DeviceCounts.possible(request)
    deviceCounts = counts

    var degrees = (1...layers).filter { degree in counts.contains { $0 % degree == 0 } }
    if schedules == [.interleaved] {
      degrees = try Self.interleavedDegrees(request, degrees, layers: layers)
    } else if let fixed = request.pipelineDegree ?? request.stageLayers?.count {
      // Two sizes of stages may make a number of devices that one does not.
      let isFree = !givenRuns.isEmpty || request.mayLeaveIdle || request.mayHaveSubMeshes
      guard isFree ? fixed <= devices : devices % fixed == 0 else { throw Self.tooManyStages(fixed, request) }
      guard fixed <= layers || request.stageLayers?.count == fixed else {
        throw PlannerError.usage("\(fixed) stages are more than the model's \(counted(layers, "layer"))")
      }
      degrees = [fixed]
    }
    if let mesh = request.mesh {
      let size = mesh.reduce(1, *)
      degrees = degrees.filter { counts.contains(size * $0) }
      guard !degrees.isEmpty else {
        throw PlannerError.usage(
          "a mesh of \(mesh.map(String.init).joined(separator: "×")) = \(counted(size, "device")) does not divide \(counted(devices, "device")) into a possible number of stages"
        )
      }
    }
    if let stages = request.stageLayers {
      // What comes before the layers, or after them, can be a stage of its own.
      let (mayBegin, mayEnd) = (range.lowerBound > 0, range.upperBound < graph.segments.count)
      let isHeld = stages.indices.allSatisfy { stages[$0] > 0 || stages[$0] == 0 && ($0 == 0 && mayBegin || $0 == stages.count - 1 && mayEnd) }
      guard isHeld, stages.allSatisfy({ $0 <= layers }), stages.reduce(0, +) == layers else {
        throw PlannerError.usage(
          "--stages \(stages.map(String.init).joined(separator: ",")): the model has \(counted(layers, "layer")), each stage needs at least one"
            + ", but for a first stage with the embedding, or a last one with the head, alone")
      }
      if let degree = request.pipelineDegree, degree != stages.count, schedules != [.interleaved] {
        throw PlannerError.usage("--stages names \(counted(stages.count, "stage")) and --pp \(degree)")
      }
    }
    if request.mode == .forward || request.recomputeOfSegments != nil {
      recomputes = [.none]
    } else if let recompute = request.recompute {
      recomputes = request.recomputedLayers == nil ? [recompute] : Set([recompute, request.recomputeOfRest]).sorted()
    } else {
      recomputes = Recompute.searched
    }
    let maySplit = request.mode == .train && range.count == 1 && layers > 1 && request.recomputeOfSegments == nil
    variants = maySplit && (request.layersMayDiffer || request.recomputedLayers != nil) ? Variants(graph, segment: range.lowerBound) : nil

    if graph.couplesBatch, let count = request.microBatches, count != 1 {
      throw PlannerError.usage(
        "the model has an operator that couples the samples of the whole batch, so a step has one micro-batch, not \(count); \"per_microbatch\": true in a native "
          + "model file asks for another function, that of each micro-batch")
    }
    if let count = request.microBatches {
      guard count <= Self.mostMicroBatches else {
        throw PlannerError.usage("\(count) micro-batches are more than the \(Self.mostMicroBatches) that a time line can have; choose fewer")
      }
      guard count > 0, request.batch % count == 0 else {
        throw PlannerError.usage("\(count) micro-batches do not divide the batch of \(request.batch)")
      }
      if let size = request.microBatchSize, request.batch / count % size != 0 {
        throw PlannerError.usage("\(count) micro-batches of a batch of \(request.batch) do not divide into parts of \(counted(size, "sequence"))")
      }
      microBatchCounts = [count]
      if schedules == [.interleaved] { degrees = try Self.interleavedDegrees(request, degrees, microBatches: count) }
    } else {
      var counts = graph.couplesBatch ? [1] : Self.divisors(request.batch).filter { $0 <= Self.mostMicroBatches }
      if let size = request.microBatchSize {
        counts = counts.filter { request.batch / $0 % size == 0 }
        if counts.isEmpty { throw PlannerError.usage("micro-batches of \(size) do not divide the batch of \(request.batch)") }
      }
      if schedules == [.interleaved] {
        counts = counts.filter { count in degrees.contains { count % $0 == 0 } }
        if counts.isEmpty {
          throw PlannerError.usage("no number of micro-batches of a batch of \(request.batch) is a multiple of the stages; interleaving needs one")
        }
      }
      microBatchCounts = counts
    }
    let mostOnStage = request.stageLayers?.max() ?? layers - (degrees.min() ?? 1) + 1
    if let fixed = request.recomputedLayers, fixed > mostOnStage {
      throw PlannerError.usage("--recompute-layers \(fixed): no stage has more than \(counted(mostOnStage, "layer")) (of several chunks, no chunk)")
    }
    // Stages whose meshes are given are no frame of a single mesh.
    pipelineDegrees = givenRuns.isEmpty ? degrees : []
    if givenRuns.isEmpty, schedules == [.interleaved],
      !degrees.contains(where: { degree in sizes(stages: degree).contains { isOfOneKind(stages: degree, size: $0) } })
    {
      throw PlannerError.usage(
        "the interleaved schedule is planned for stages on devices of one kind, and the devices are of several; leave --schedule and --vpp out, or "
          + "choose --devices of one kind")
    }
    try writeRuns()
    if request.shares?.isEmpty == false, frames().isEmpty { throw Self.sharesWithoutMesh(request) }
  }

  /// Lays out the models of stages with several meshes.
  private mutating func writeRuns() throws {
    try checkSubMeshes()
    runOfDividedSegment = runsOfDividedModel()
    if !runOfDividedSegment.isEmpty { return }
    if let obstacle = obstacleToRuns {
      if givenRuns.isEmpty { return }
      throw PlannerError.usage("--stage-meshes: stages cannot have several meshes where \(obstacle)")
    }
    for count in Set([givenRuns.count, request.mayHaveSubMeshes ? 2 : 0]) where count > 0 {
      runGraphs[count] = Variants(request.graph, segment: layerSegments.lowerBound, runs: count)
    }
  }

  /// More stages than there are devices for, or where none may be idle a number that does not divide them.
  static func tooManyStages(_ stages: Int, _ request: SearchRequest) -> PlannerError {
    let devices = request.cluster.deviceCount
    return .usage(
      request.mayLeaveIdle
        ? "\(stages) stages need as many devices; there are \(devices). Choose fewer with --pp or other --devices"
        : "\(stages) stages do not divide \(counted(devices, "device")); choose a divisor with --pp or other --devices")
  }

  /// Every micro-batch is on the time line; more than these no plan has.
  static let mostMicroBatches = 1 << 20

  /// In ascending order.
  private static func divisors(_ n: Int) -> [Int] {
    var (low, high): ([Int], [Int]) = ([], [])
    var candidate = 1
    while candidate <= n / candidate {
      if n % candidate == 0 {
        low.append(candidate)
        if candidate != n / candidate { high.append(n / candidate) }
      }
      candidate += 1
    }
    return low + high.reversed()
  }

  /// A picosecond, or the power of ten of it in which the whole step on one device, with every tensor sent over the slowest link, stays far
  /// from the largest sum that a problem may hold.
  private static func tick(for request: SearchRequest) throws -> Seconds {
    let cluster = request.cluster
    let graph = request.graph.sized(batch: request.batch, sequence: request.sequence)
    let alone = cluster.placement(ofAxes: [0], in: Mesh(shape: [1]))
    let pricing = Pricing(
      graph: graph, mesh: [1], rates: try DeviceRates(cluster.kind(of: 0), request.precision), job: request.job(microBatches: 1),
      placements: [alone, alone])
    let perNode = Double(cluster.deviceCount) / Double(cluster.nodeCount)
    let slowest = cluster.levels.map { $0.bandwidth * $0.efficiency / perNode }.min() ?? Bandwidth(1)
    var total = Seconds.zero
    for (op, rule) in pricing.rules.enumerated() {
      let strategy = Strategy(assignment: [nil], rule: rule)
      let cost = pricing.cost(op, strategy)
      let weights = pricing.weights(op, strategy, .none, ownsParameter: graph.operators[op].operands.map { _ in true })
      let moved = graph.operators[op].operands.reduce(pricing.bytes(graph.operators[op].result, strategy.result)) {
        $0 + pricing.bytes($1, Layout(replicatedOn: 1))
      }
      let copies = graph.segments[graph.segmentOfOperator[op]].repeats
      total += (cost.forward + cost.backward + weights.gradientSync + weights.update + moved / slowest) * copies
    }
    var tick = 1e-12
    while total.value / tick > 1e17 { tick *= 10 }
    return Seconds(tick)
  }

  /// For each segment of a frame's graph what it computes again: the layers alone do, where they have a backward pass (all may be frozen).
  func recompute(_ frame: Frame) -> [Recompute] {
    if let given = request.recomputeOfSegments { return given }
    let graph = graph(frame)
    let hasBackward = graph.segmentsWithBackward()
    return graph.segments.indices.map { segment in
      guard hasBackward[segment] else { return .none }
      if !frame.runs.isEmpty {
        let run = segment - layerSegments.lowerBound
        return frame.runs.indices.contains(run) ? frame.runs[run].recompute : .none
      }
      if let first = frame.first, let variants {
        return variants.segments.contains(segment) ? (segment == variants.segments.lowerBound ? first : frame.recompute) : .none
      }
      return layerSegments.contains(segment) ? frame.recompute : .none
    }
  }

  /// A frame without gathering again in the segments in which there is nothing to gather.
  func frame(_ frame: Frame, gatheringIn segments: Set<SegmentID>) -> Frame {
    var result = frame
    let layers = frame.first == nil ? layerSegments : variants!.segments
    for run in result.runs.indices where !segments.contains(layers.lowerBound + run) {
      result.runs[run].recompute = result.runs[run].recompute.keepingGathered
    }
    if let first = frame.first, !segments.contains(layers.lowerBound) { result.first = first.keepingGathered }
    if layers.dropFirst(frame.first == nil ? 0 : 1).allSatisfy({ !segments.contains($0) }) { result.recompute = frame.recompute.keepingGathered }
    return result
  }

  /// The kinds of layers that a stage may hold together, the one that comes first, first: what computes more again.
  var mixes: [(first: Recompute, rest: Recompute)] {
    if variants == nil { return [] }
    if request.recomputedLayers != nil { return [(request.recompute ?? .none, request.recomputeOfRest)] }
    return recomputes.reversed().flatMap { first in recomputes.filter { $0 <= first }.map { (first, $0) } }
  }

  /// Those that a frame's stages may hold: on meshes of more than two axes all layers are alike, unless numbers of layers that differ are given.
  func mixes(_ frame: Frame) -> [(first: Recompute, rest: Recompute)] {
    Self.isFine(frame.mesh) && request.recomputedLayers == nil ? [] : mixes
  }

  /// Whether all layers may be alike and compute this again: a number of layers that is given allows it where it is none of them, or all.
  func allowsAlike(_ recompute: Recompute, cut: [Int]) -> Bool {
    guard let fixed = request.recomputedLayers else { return true }
    return fixed == 0 && recompute == request.recomputeOfRest || fixed >= cut.max()! && recompute == request.recompute
  }

  /// The model, or where layers differ the model with two kinds of layers.
  func graph(_ frame: Frame) -> Graph {
    if !frame.runs.isEmpty { return runGraphs[frame.runs.count]?.graph ?? request.graph }
    return frame.first == nil ? request.graph : variants!.graph
  }

  var layerCount: Int { layerSegments.reduce(0) { $0 + request.graph.segments[$1].repeats } }

  /// Meshes for a stage of so many devices.
  package func meshes(size: Int) -> [[Int]] {
    if let mesh = request.mesh { return [mesh] }
    return Mesh.shapes(devices: size, maximumAxes: request.mostMeshAxes)
  }

  /// Whether a mesh has more axes than two that split anything: one whose operators have so many strategies that they are bounded before they are
  /// priced.
  static func isFine(_ mesh: [Int]) -> Bool { mesh.count { $0 > 1 } > 2 }

  /// Every frame, in a fixed order.
  func frames() -> [Frame] {
    givenFrames
      + pipelineDegrees.flatMap { stages in
        sizes(stages: stages).flatMap { size in microBatchCounts.flatMap { frames(stages: stages, size: size, microBatches: $0) } }
      }
  }

  /// The frames of a pipeline degree, a size of its stages and a number of micro-batches: one for each mesh.
  func frames(stages: Int, size: Int, microBatches: Int) -> [Frame] {
    if schedules(stages: stages, size: size, microBatches: microBatches).isEmpty { return [] }
    return meshes(size: size).filter { isPossible(mesh: $0, microBatches: microBatches) }.flatMap {
      withShares(Frame(stages: stages, mesh: $0, microBatches: microBatches))
    }
  }

  /// A fixed micro-batch size fixes the data-parallel degree: batch = size × degree × count.
  func dataDegree(microBatches: Int) -> Int? {
    request.microBatchSize.map { request.batch / microBatches / $0 }
  }

  func isPossible(mesh: [Int], microBatches: Int) -> Bool {
    guard let degree = dataDegree(microBatches: microBatches) else { return true }
    return (0..<1 << mesh.count).contains { set in
      mesh.indices.reduce(1) { set & (1 << $1) != 0 ? $0 * mesh[$1] : $0 } == degree
    }
  }

  /// The cuts of the model's layers into stages of one chunk: the first and the last stage hold any number of layers, the stages between are as even as they
  /// can be, with the larger ones first or last.
  func plainCuts(stages: Int) -> [[Int]] {
    if let fixed = request.stageLayers { return [fixed] }
    let layers = layerCount
    if stages == 1 { return [[layers]] }
    if stages == 2 { return (1..<layers).map { [$0, layers - $0] } }
    return cuts(into: stages, first: 1...layers, last: 1...layers)
  }

  /// The cuts into three parts or more with so many layers on the first and the last, while those between are as even as they can be.
  func cuts(into parts: Int, first: ClosedRange<Int>, last: ClosedRange<Int>) -> [[Int]] {
    var cuts: [[Int]] = []
    let inner = parts - 2
    for first in first {
      for last in last {
        let rest = layerCount - first - last
        if rest < inner { break }
        let (low, extra) = (rest / inner, rest % inner)
        let counts = [Int](repeating: low + 1, count: extra) + [Int](repeating: low, count: inner - extra)
        cuts.append([first] + counts + [last])
        if extra > 0 { cuts.append([first] + counts.reversed() + [last]) }
      }
    }
    return cuts
  }

  /// The cut whose virtual stages are as equal as they can be.
  func evenCut(stages: Int, chunks: Int = 1) -> [Int] {
    let count = stages * chunks
    return request.stageLayers ?? (0..<count).map { ($0 + 1) * layerCount / count - $0 * layerCount / count }
  }

  /// The units on each virtual stage of a cut, where the first so many layers of each are of the first kind.
  func stages(cut: [Int], first: Int) -> [[UnitCount]] {
    let segment = layerSegments.lowerBound
    return stages(cut: cut).map { units in
      units.flatMap { unit -> [UnitCount] in
        if unit.segment != segment { return [UnitCount(unit.segment < segment ? unit.segment : unit.segment + 1, unit.copies)] }
        let count = min(first, unit.copies)
        return [UnitCount(segment, count), UnitCount(segment + 1, unit.copies - count)].filter { $0.copies > 0 }
      }
    }
  }

  /// The units on each virtual stage of a cut.
  func stages(cut: [Int]) -> [[UnitCount]] {
    if layerSegments.count == 1, let layer = layerSegments.first {
      return cut.indices.map { index in
        var units: [UnitCount] = []
        if index == 0 { for segment in 0..<layer { units.append(UnitCount(segment, 1)) } }
        if cut[index] > 0 { units.append(UnitCount(layer, cut[index])) }
        if index == cut.count - 1 { for segment in layer + 1..<request.graph.segments.count { units.append(UnitCount(segment, 1)) } }
        return units
      }
    }
    var layers: [SegmentID] = layerSegments.flatMap { [SegmentID](repeating: $0, count: request.graph.segments[$0].repeats) }
    layers.reverse()
    return cut.enumerated().map { index, count in
      var units: [UnitCount] = []
      func add(_ segment: SegmentID, _ copies: Int) {
        if let last = units.last, last.segment == segment {
          units[units.count - 1].copies += copies
        } else {
          units.append(UnitCount(segment, copies))
        }
      }
      if index == 0 { for segment in 0..<layerSegments.lowerBound { add(segment, 1) } }
      for _ in 0..<count { add(layers.removeLast(), 1) }
      if index == cut.count - 1 { for segment in layerSegments.upperBound..<request.graph.segments.count { add(segment, 1) } }
      return units
    }
  }

  /// Copies of one segment on one stage.
  struct UnitCount {
    var segment: SegmentID
    var copies: Int

    init(_ segment: SegmentID, _ copies: Int) {
      self.segment = segment
      self.copies = copies
    }
  }

  // MARK: - Pricing

  /// How the groups of a mesh and the neighbours of a pipeline lie on the hardware, for stages of one size.
  struct Placed {
    /// Which kinds of devices the stages have.
    let kinds: StageKinds
    /// By kind of stage, for each set of mesh axes (bit a: axis a); of the kind's stages, the one that fares worst.
    let placementsOfKinds: [[AxisPlacement]]
    /// The slowest link between neighbouring stages, while all of their devices send; nil with one stage.
    let stageLink: Link?
    /// The link from the last stage to the first, which interleaved chunks take from one to the next; nil with one stage.
    let wrapLink: Link?

    /// What a decision's messages take.
    var links: DecisionPricing.Links? { stageLink.map { .init(neighbours: $0, wrap: wrapLink ?? $0) } }

    /// One mesh axis by itself, no dearer than its part of any collective that it takes part in; nil where groups lie unevenly on the levels, or
    /// stages are of several kinds.
    func relaxed(_ axis: Int) -> AxisPlacement? {
      if placementsOfKinds.count > 1 { return nil }
      let placements = placementsOfKinds[0]
      let alone = placements.indices.filter { $0.nonzeroBitCount == 1 }.map { placements[$0] }
      return placements[1 << axis].relaxed(by: placements.indices.filter { $0 >> axis & 1 == 1 }.map { placements[$0] }) { level in
        alone.count { $0.steps.contains { $0.level == level } }
      }
    }
  }

  /// The graph at the sizes of one micro-batch, with its rules.
  func model(_ frame: Frame) -> Pricing.Model {
    Pricing.Model(graph(frame).sized(batch: request.batch / frame.microBatches, sequence: request.sequence), request.mode)
  }

  /// What prices operators and conversions in a frame, on the first stage's kind of devices.
  func pricing(_ frame: Frame, on placed: Placed, model: Pricing.Model? = nil) throws -> Pricing {
    try pricings(frame, on: placed, model: model)[0]
  }

  /// The rates of the slowest device, with the memory of the smallest.
  func slowestRates() throws -> DeviceRates { try slowestRates(of: Set(request.cluster.kindOfDevice).sorted()) }

  func placed(stages: Int, mesh: [Int]) -> Placed {
    let size = mesh.reduce(1, *)
    let kinds = kinds(stages: stages, size: size)
    let placements = kinds.sets.indices.map { kind in
      self.placements(mesh, firstDevices: (0..<stages).filter { kinds.ofStage[$0] == kind }.map { $0 * size })
    }
    let links = request.cluster.links(between: (0..<stages).map { $0 * size..<($0 + 1) * size })
    return Placed(
      kinds: kinds, placementsOfKinds: placements, stageLink: links.min { ($0.bandwidth, $1.latency) < ($1.bandwidth, $0.latency) },
      wrapLink: stages > 1 ? request.cluster.link(from: (stages - 1) * size..<stages * size, to: 0..<size) : nil)
  }

  /// For each set of a mesh's axes, its placement on the stage that fares worst.
  func placements(_ mesh: [Int], firstDevices: [Int]) -> [AxisPlacement] {
    let size = mesh.reduce(1, *)
    let stages = request.cluster.differing(firstDevices.map { $0..<$0 + size })
    return (0..<1 << mesh.count).map { set in
      let axes = mesh.indices.filter { set & (1 << $0) != 0 }
      var worst = request.cluster.placement(ofAxes: axes, in: Mesh(shape: mesh, firstDevice: stages[0].lowerBound))
      for stage in stages.dropFirst() {
        let other = request.cluster.placement(ofAxes: axes, in: Mesh(shape: mesh, firstDevice: stage.lowerBound))
        let probe = Bytes(1 << 20)
        if other != worst, CollectiveCost.time(.allReduce, bytes: probe, on: worst) < CollectiveCost.time(.allReduce, bytes: probe, on: other) {
          worst = other
        }
      }
      return worst
    }
  }

  /// The strategies that the constraints leave to each operator.
  ///
  /// - Parameter structures: those that are known.
  func strategies(_ pricing: Pricing, _ frame: Frame, _ structures: KnownStructures = KnownStructures()) -> [[Strategy]] {
    if frame.runs.isEmpty, frame.shares.isEmpty, request.microBatchSize == nil, request.form == nil, request.constraints.isEmpty,
      request.alikeAxis == nil
    {
      return structures.strategies(pricing.rules, mesh: frame.mesh)
    }
    let degree = dataDegree(microBatches: frame.microBatches)
    let carried = MegatronForm.carried(request.graph)
    let runs = frame.runs.isEmpty ? [] : runOfSegment(frame)
    let shares = batchShares(frame)
    // Otherwise a layer's name in a part of the model says with which copy it starts.
    let isWrittenOnce = frame.first == nil && (frame.runs.isEmpty || !runOfDividedSegment.isEmpty)
    return pricing.rules.enumerated().map { op, rule in
      let name = pricing.graph.operators[op].name
      // What is alike, in frames that bound both kinds, has the choices of either.
      let kind = frame.first == nil ? nil : variants.map { pricing.graph.segmentOfOperator[op] - $0.segments.lowerBound }
      let constraints = request.constraints.filter {
        $0.matches(isWrittenOnce ? name : Graph.withoutFirstCopy(name)) && ($0.kind == nil || $0.kind == kind)
      }
      let mesh = runs.isEmpty ? frame.mesh : frame.runs[runs[pricing.graph.segmentOfOperator[op]]].mesh
      let allowed = Strategy.all(for: rule, mesh: mesh).filter { strategy in
        if let degree, !rule.worksOnSlots, let batch = rule.iteration.firstIndex(where: { $0.role == .batch }) {
          let parts = strategy.assignment.enumerated().reduce(1) { $1.element == batch ? $0 * mesh[$1.offset] : $0 }
          if parts != degree { return false }
        }
        if let shares, !shares.allow(strategy, rule: rule, mesh: mesh) { return false }
        if let form = request.form, !form.allows(strategy, rule: rule, carried: carried, mesh: mesh) { return false }
        return constraints.allSatisfy { $0.allows(strategy, rule: rule) }
      }
      guard let axis = request.alikeAxis else { return allowed }
      let alike = allowed.filter { $0.assignment[axis] == $0.assignment[axis + 1] }
      return alike.isEmpty ? allowed : alike
    }
  }
}
