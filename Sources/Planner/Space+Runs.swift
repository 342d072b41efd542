// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies

/// Stages with several meshes: runs of consecutive stages, each with a mesh of its own.
extension Space {
  /// Consecutive stages of one mesh. Their layers are alike, and other than those of other runs.
  struct Run: Hashable {
    let stages: Int
    let mesh: [Int]
    /// What its layers compute again.
    var recompute = Recompute.none

    /// `2 stages of 2x4`.
    var description: String { "\(counted(stages, "stage")) of \(mesh.map(String.init).joined(separator: "x"))" }

    /// How many devices each of its stages has.
    var size: Int { mesh.reduce(1, *) }
  }

  /// The given meshes of all stages as runs; empty where all are alike.
  static func runs(_ meshes: [[Int]]) -> [Run] {
    var runs: [Run] = []
    for mesh in meshes {
      if let last = runs.last, last.mesh == mesh {
        runs[runs.count - 1] = Run(stages: last.stages + 1, mesh: mesh)
      } else {
        runs.append(Run(stages: 1, mesh: mesh))
      }
    }
    return runs.count > 1 ? runs : []
  }

  /// A request without meshes of all stages where these are one: that is a mesh and a number of stages.
  ///
  /// - Throws: `PlannerError.usage` where they contradict each other, or the other choices.
  static func withoutEqualMeshes(_ request: SearchRequest) throws -> SearchRequest {
    guard let meshes = request.stageMeshes else { return request }
    var request = request
    let devices = request.cluster.deviceCount
    let option = "--stage-meshes " + meshes.map { $0.map(String.init).joined(separator: "x") }.joined(separator: ",")
    func usage(_ text: String) -> PlannerError { .usage("\(option): \(text)") }
    guard !meshes.isEmpty, meshes.allSatisfy({ 1...Layout.maximumAxes ~= $0.count && $0.allSatisfy { 1...devices ~= $0 } }) else {
      throw usage("expected a mesh for each stage, of 1 to \(Layout.maximumAxes) extents of 1 to \(devices), the number of devices")
    }
    // No extent is above the device count, so that sums and products stay small until one of them is too large.
    var used = 0
    for mesh in meshes where used <= devices { used += mesh.reduce(1) { min(devices + 1, $0 * $1) } }
    guard request.mayLeaveIdle ? used <= devices : used == devices else {
      throw usage("the stages have \(used > devices ? "more than \(devices)" : counted(used, "device")) together; there are \(devices)")
    }
    if let degree = request.pipelineDegree, degree != meshes.count { throw usage("it names \(counted(meshes.count, "stage")) and --pp \(degree)") }
    if request.mesh != nil { throw usage("--mesh is that of all stages; leave one of the two out") }
    if let stages = request.stageLayers, stages.count != meshes.count {
      throw usage("it names \(counted(meshes.count, "stage")) and --stages \(stages.count)")
    }
    if runs(meshes).isEmpty {
      (request.mesh, request.pipelineDegree, request.stageMeshes) = (meshes[0], meshes.count, nil)
    } else {
      request.pipelineDegree = meshes.count
      if request.schedule == .interleaved || (request.chunks ?? 1) > 1 {
        throw usage("stages with several meshes have one chunk of the model each; leave --schedule and --vpp out")
      }
    }
    return request
  }

  /// The frames of the stages whose meshes are given, one for each number of micro-batches.
  var givenFrames: [Frame] {
    if givenRuns.isEmpty { return [] }
    return microBatchCounts.filter { count in givenRuns.allSatisfy { isPossible(mesh: $0.mesh, microBatches: count) } }.map {
      frame(givenRuns, microBatches: $0)
    }
  }

  func frame(_ runs: [Run], microBatches: Int) -> Frame {
    var frame = Frame(stages: runs.reduce(0) { $0 + $1.stages }, mesh: runs[0].mesh, microBatches: microBatches)
    frame.runs = runs
    return frame
  }

  /// What layers of each run may compute again: every combination, the least first.
  func recomputes(_ frame: Frame) -> [Frame] {
    frame.runs.indices.reduce([frame]) { frames, run in
      frames.flatMap { frame in
        recomputes.map {
          var copy = frame
          copy.runs[run].recompute = $0
          return copy
        }
      }
    }
  }

  /// The operators of a frame, not connected; nil where one has no strategy left.
  func operators(_ frame: Frame, _ ties: Ties) throws -> FoldedModel? {
    if !frame.runs.isEmpty {
      let placed = placed(frame.runs)
      let pricings = try pricings(frame, on: placed)
      let strategies = strategies(pricings[0], frame)
      if strategies.contains(where: \.isEmpty) { return nil }
      return FoldedModel(
        runs: .init(pricings, runOfSegment: runOfSegment(frame), placed), strategies: strategies, ties: ties, zero: request.givenZeRO,
        recompute: recompute(frame))
    }
    let placed = placed(stages: frame.stages, mesh: frame.mesh)
    let pricings = try pricings(frame, on: placed)
    let strategies = strategies(pricings[0], frame)
    if strategies.contains(where: \.isEmpty) { return nil }
    return FoldedModel(
      pricings: pricings, strategies: strategies, ties: ties, zero: request.givenZeRO, recompute: recompute(frame), link: placed.stageLink,
      wrapLink: placed.wrapLink)
  }

  /// The prices of a frame's first stage.
  func firstPricing(_ frame: Frame) throws -> Pricing {
    if frame.runs.isEmpty { return try pricing(frame, on: placed(stages: frame.stages, mesh: frame.mesh)) }
    return try pricings(frame, on: placed(frame.runs))[0]
  }

  /// How the stages of several runs lie on the hardware.
  struct PlacedRuns {
    /// For each run and set of its mesh's axes (bit a: axis a); of its stages, the one that fares worst.
    let placements: [[AxisPlacement]]
    /// For each run the slowest link between neighbours of its own; nil with one stage.
    let inner: [Link?]
    /// For each run but the last the link to the next.
    let crossings: [Link]
    let links: DecisionPricing.Links
  }

  func placed(_ runs: [Run]) -> PlacedRuns {
    let cluster = request.cluster
    var devices: [Range<Int>] = []
    var runOfStage: [Int] = []
    for (number, run) in runs.enumerated() {
      for _ in 0..<run.stages {
        let first = devices.last?.upperBound ?? 0
        devices.append(first..<first + run.size)
        runOfStage.append(number)
      }
    }
    let boundaries = cluster.links(between: devices)
    func slowest(_ links: [Link]) -> Link? { links.min { ($0.bandwidth, $1.latency) < ($1.bandwidth, $0.latency) } }
    let inner = runs.indices.map { run in
      slowest(boundaries.indices.filter { runOfStage[$0] == run && runOfStage[$0 + 1] == run }.map { boundaries[$0] })
    }
    let all = slowest(boundaries) ?? cluster.link(from: devices[0], to: devices[devices.count - 1])
    return PlacedRuns(
      placements: runs.indices.map { run in
        placements(runs[run].mesh, firstDevices: devices.indices.filter { runOfStage[$0] == run }.map { devices[$0].lowerBound })
      }, inner: inner, crossings: boundaries.indices.filter { runOfStage[$0] != runOfStage[$0 + 1] }.map { boundaries[$0] },
      links: .init(
        neighbours: all, wrap: all,
        boundaries: boundaries.indices.map { runOfStage[$0] == runOfStage[$0 + 1] ? inner[runOfStage[$0]] ?? all : boundaries[$0] }))
  }

  /// The prices of each run.
  func pricings(_ frame: Frame, on placed: PlacedRuns, model: Pricing.Model? = nil) throws -> [Pricing] {
    let model = model ?? self.model(frame)
    let orders = orders(frame.runs, model)
    return try frame.runs.indices.map { run in
      Pricing(
        model: model, mesh: frame.runs[run].mesh, rates: try slowestRates(), job: request.job(microBatches: frame.microBatches),
        placements: placed.placements[run], tick: tick, orders: orders)
    }
  }

  /// For each axis the order in which its positions stand: one for all meshes, that with the most chunks that serves splits on each of them.
  func orders(_ runs: [Run], _ model: Pricing.Model) -> [SequenceOrder] {
    zip(model.graph.axes, model.reorderable).map { axis, isReorderable in
      guard request.isZigzag, isReorderable else { return .natural }
      let pairs = runs.map { run in
        (0..<1 << run.mesh.count).map { set in run.mesh.indices.reduce(1) { set >> $1 & 1 == 1 ? $0 * run.mesh[$1] : $0 } }
      }
      let common = pairs.reduce([1]) { known, own in Set(known.flatMap { a in own.map { leastCommonMultiple(a, $0) } }).sorted() }
      return common.last { SequenceOrder(pairs: $0).fits(axis.extent) }.map { SequenceOrder(pairs: $0) } ?? .natural
    }
  }

  /// The number of each stage's run.
  func runOfStage(_ frame: Frame) -> [Int] { frame.runs.enumerated().flatMap { [Int](repeating: $0.offset, count: $0.element.stages) } }

  /// For each segment of a frame's graph the number of its run. What stands before all layers goes with the first, what stands after with the last.
  func runOfSegment(_ frame: Frame) -> [Int] {
    if !runOfDividedSegment.isEmpty { return runOfDividedSegment }
    return graph(frame).segments.indices.map { min(max(0, $0 - layerSegments.lowerBound), frame.runs.count - 1) }
  }

  /// The units on each stage of a cut, where the layers of each run are a segment of their own.
  func stages(cut: [Int], runs: [Run]) -> [[UnitCount]] {
    if !runOfDividedSegment.isEmpty { return stages(cut: cut) }
    let layer = layerSegments.lowerBound
    let run = runs.enumerated().flatMap { [Int](repeating: $0.offset, count: $0.element.stages) }
    return zip(stages(cut: cut), run).map { units, run in
      units.map { UnitCount($0.segment < layer ? $0.segment : $0.segment > layer ? $0.segment + runs.count - 1 : layer + run, $0.copies) }
    }
  }

  /// The run of each segment where all that are held by several stages are on one mesh; empty where the model is to be divided, or the layers of stages
  /// are not given.
  func runsOfDividedModel() -> [Int] {
    guard !givenRuns.isEmpty, layerSegments.count > 1, let cut = request.stageLayers, request.cluster.isUniform else { return [] }
    let run = givenRuns.enumerated().flatMap { [Int](repeating: $0.offset, count: $0.element.stages) }
    var holders = [Set<Int>](repeating: [], count: request.graph.segments.count)
    for (stage, units) in stages(cut: cut).enumerated() { for unit in units { holders[unit.segment].insert(run[stage]) } }
    return holders.allSatisfy { $0.count == 1 } ? holders.map { $0.first ?? 0 } : []
  }

  /// For each operator of a frame's graph the one of the model that it stems from.
  func origins(_ frame: Frame) -> [OperatorID] {
    frame.runs.isEmpty ? Array(request.graph.operators.indices) : runGraphs[frame.runs.count]?.origins ?? Array(request.graph.operators.indices)
  }

  /// Why the model's stages cannot have several meshes; nil where they can.
  var obstacleToRuns: String? {
    let graph = request.graph
    if layerSegments.count != 1 { return "the model has layers of several blocks" }
    let shared = graph.tensors.indices.contains { tensor in
      guard let source = graph.tensors[tensor].parameter, !Graph.isPerCopy(source.checkpointName) else { return false }
      return graph.consumers[tensor].contains { layerSegments.contains(graph.segmentOfOperator[$0.op]) }
    }
    if shared { return "the model's layers share weights" }
    if !request.cluster.isUniform { return "the devices are of several kinds" }
    if request.recomputedLayers != nil { return "--recompute-layers makes the layers of a stage differ" }
    return nil
  }
}

private func leastCommonMultiple(_ a: Int, _ b: Int) -> Int {
  var (x, y) = (a, b)
  while y > 0 { (x, y) = (y, x % y) }
  return a / x * b
}
