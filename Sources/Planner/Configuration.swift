// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search
import Strategies

/// One fully given frame around the operators' choices: how the chain of segments is cut into stages, in which order micro-batches run.
///
/// It turns a folded model into problems: each objective row is one chain of the schedule's time line, each memory row one stage while one
/// operator runs, at a time when it keeps most.
struct Configuration {
  /// For each virtual stage the number of copies of each segment.
  let copies: [[Int]]
  /// For each virtual stage but the last, the segment whose last copy sends on.
  let boundaries: [SegmentID]
  /// For each virtual stage, whether it sends to a stage with another mesh.
  private(set) var crosses: [Bool]
  /// Segments that are kinds of one layer, if layers differ.
  let variants: Range<SegmentID>?
  let schedule: Schedule
  let microBatches: Int
  let mode: Mode
  /// For each stage its kind of devices.
  var kindOfStage: [Int]
  /// For each stage, how much less memory than the largest device its devices have.
  var reserved: [Int64]
  /// Where devices of several kinds share the batch out unevenly, the same of each kind.
  private(set) var reservedOfShares: [Int64] = []

  /// - Parameters:
  ///   - stages: for each virtual stage the units that it holds, consecutive over them.
  ///   - variants: segments that are kinds of one layer and follow each other in any order.
  init(
    stages: [[Space.UnitCount]], segments: Int, variants: Range<SegmentID>? = nil, schedule: Schedule, microBatches: Int, mode: Mode
  ) {
    self.variants = variants
    copies = stages.map { units in
      var count = [Int](repeating: 0, count: segments)
      for unit in units { count[unit.segment] += unit.copies }
      return count
    }
    boundaries = stages.dropLast().map { $0.last!.segment }
    crosses = [Bool](repeating: false, count: stages.count)
    self.schedule = schedule
    self.microBatches = microBatches
    self.mode = mode
    kindOfStage = [Int](repeating: 0, count: stages.count / schedule.chunks)
    reserved = [Int64](repeating: 0, count: stages.count / schedule.chunks)
  }

  /// A cut of a frame, where layers differ with so many of each stage's layers of the first kind.
  init(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], first: Int = 0, space: Space) {
    let variants = frame.first == nil ? nil : space.variants
    let units =
      !frame.runs.isEmpty
      ? space.stages(cut: cut, runs: frame.runs) : variants == nil ? space.stages(cut: cut) : space.stages(cut: cut, first: first)
    self.init(
      stages: units, segments: space.graph(frame).segments.count,
      variants: variants?.segments, schedule: schedule, microBatches: frame.microBatches, mode: space.request.mode)
    if !frame.runs.isEmpty {
      let run = space.runOfStage(frame)
      for stage in run.indices.dropLast() { crosses[stage] = run[stage] != run[stage + 1] }
    }
    if !space.request.cluster.isUniform {
      kindOfStage = space.kinds(frame).ofStage
      if let lacking = try? space.reserved(frame), !lacking.isEmpty { reserved = lacking }
      if !frame.shares.isEmpty { reservedOfShares = (try? space.reservedOfShares(frame)) ?? [] }
    }
  }

  /// Groups of devices; each holds a chunk, or several.
  var stages: Int { copies.count / schedule.chunks }

  /// How often an edge's place occurs on a virtual stage. A seam belongs to the copy that follows it.
  func occurrences(_ place: FoldedModel.Place, stage: Int) -> Int {
    switch place {
    case .inside(let segment): return copies[stage][segment]
    case .seam(let from, let to):
      if let variants, variants.contains(from), variants.contains(to) {
        // Kinds of one layer agree on what passes between them: one seam stands for all.
        let isFirst = copies[..<stage].allSatisfy { copies in variants.allSatisfy { copies[$0] == 0 } }
        let here = variants.reduce(0) { $0 + copies[stage][$1] }
        return isFirst ? max(0, here - 1) : here
      }
      let first = copies[..<stage].allSatisfy { $0[to] == 0 }
      let here = copies[stage][to]
      if from == to { return first ? max(0, here - 1) : here }
      return first && here > 0 ? 1 : 0
    case .crossing, .exchange: return 0
    }
  }

  /// The stage that sends to one with another mesh where a segment begins.
  private func sender(into segment: SegmentID) -> Int? { crosses.indices.first { crosses[$0] && copies[$0 + 1][segment] > 0 } }

  /// The stages that hold a segment which occurs once.
  private func holder(of segment: SegmentID) -> Int { copies.firstIndex { $0[segment] > 0 } ?? 0 }

  /// Whether a virtual stage sends on from the last group of devices to the first.
  func wraps(_ stage: Int) -> Bool { stage % stages == stages - 1 }

  // MARK: - Stage times of a choice

  /// What each virtual stage takes under a choice of strategies.
  func stageTimes(_ model: FoldedModel, _ choice: [Int]) -> [PipelineTimeline.StageTimes] {
    if !model.kinds.isEmpty { return stageTimesOfKinds(model, choice) }
    return stageTimes(
      model, choice, nodes: model.nodes.indices,
      conversions: model.edges.map { edge in
        let entry = choice[edge.tail] * model.nodes[edge.head].count + choice[edge.head]
        return (edge.place, edge.forward[entry], edge.backward[entry])
      })
  }

  /// - Parameters:
  ///   - nodes: those whose own times count.
  ///   - conversions: what one copy of each place takes forward and backward.
  func stageTimes(
    _ model: FoldedModel, _ choice: [Int], nodes: Range<Int>, conversions: [(place: FoldedModel.Place, forward: Int64, backward: Int64)]
  ) -> [PipelineTimeline.StageTimes] {
    var times = [PipelineTimeline.StageTimes](
      repeating: .init(forward: 0, backward: 0, once: 0, sendForward: 0, sendBackward: 0), count: copies.count)
    var device = [PassTimes](repeating: PassTimes(), count: model.host.count)
    for index in nodes {
      let (node, s) = (model.nodes[index], choice[index])
      device[node.segment].forward += node.forward[s]
      device[node.segment].backward += node.backward[s]
      for stage in copies.indices {
        let count = Int64(copies[stage][node.segment])
        times[stage].once += count * node.once[s]
        if stage < boundaries.count, boundaries[stage] == node.segment, !crosses[stage] {
          let sends = model.sends(index, wraps: wraps(stage))
          times[stage].sendForward += sends.forward[s]
          times[stage].sendBackward += sends.backward[s]
        }
      }
    }
    for (segment, host) in model.host.enumerated() {
      let (isForward, isBackward) = (device[segment].forward < host.forward, device[segment].backward < host.backward)
      for stage in copies.indices where copies[stage][segment] > 0 {
        let count = Int64(copies[stage][segment])
        times[stage].forward += count * (isForward ? host : device[segment]).forward
        times[stage].backward += count * (isBackward ? host : device[segment]).backward
        if isForward { times[stage].hostForward |= 1 << UInt64(segment) }
        if isBackward { times[stage].hostBackward |= 1 << UInt64(segment) }
      }
    }
    for conversion in conversions {
      switch conversion.place {
      case .crossing(_, let segment):
        guard let stage = sender(into: segment) else { continue }
        times[stage].sendForward += conversion.forward
        times[stage].sendBackward += conversion.backward
      case .exchange(let first, let second):
        for segment in [first, second] { times[holder(of: segment)].once += conversion.forward }
      case .inside, .seam: break
      }
      for stage in copies.indices {
        let count = Int64(occurrences(conversion.place, stage: stage))
        times[stage].forward += count * conversion.forward
        times[stage].backward += count * conversion.backward
      }
    }
    return times
  }

  /// What of a chain takes the host's time, whatever the choice.
  func hostTime(_ path: PipelineTimeline.Path, _ model: FoldedModel) -> Int64 {
    path.hostForward.indices.reduce(0) { sum, stage in
      let host = model.kinds.isEmpty ? model.host : model.kinds[kindOfStage[stage % stages]].host
      return host.indices.reduce(sum) { sum, segment in
        let copies = Int64(copies[stage][segment])
        return sum + (path.takesHostForward(stage, segment) ? copies * path.forward[stage] * host[segment].forward : 0)
          + (path.takesHostBackward(stage, segment) ? copies * path.backward[stage] * host[segment].backward : 0)
      }
    }
  }

  func timeline(_ times: [PipelineTimeline.StageTimes]) -> PipelineTimeline {
    PipelineTimeline(times, schedule: schedule, microBatches: microBatches, mode: mode)
  }

  // MARK: - The problem

  /// How much a chain weighs the parts of one node or edge.
  struct Weights: Hashable {
    var forward: Int64 = 0
    var backward: Int64 = 0
    var once: Int64 = 0
    var sendForward: Int64 = 0
    var sendBackward: Int64 = 0
    /// From the last group of devices to the first.
    var wrapForward: Int64 = 0
    var wrapBackward: Int64 = 0

    /// Whether other weights are nowhere less.
    func isCovered(by other: Weights) -> Bool {
      forward <= other.forward && backward <= other.backward && once <= other.once && sendForward <= other.sendForward
        && sendBackward <= other.sendBackward && wrapForward <= other.wrapForward && wrapBackward <= other.wrapBackward
    }
  }

  func nodeWeights(_ path: PipelineTimeline.Path, segments: Int) -> [Weights] {
    (0..<segments).map { segment in
      var weights = Weights()
      for stage in copies.indices {
        let count = Int64(copies[stage][segment])
        if !path.takesHostForward(stage, segment) { weights.forward += count * path.forward[stage] }
        if !path.takesHostBackward(stage, segment) { weights.backward += count * path.backward[stage] }
        weights.once += count * path.once[stage]
        guard stage < boundaries.count, boundaries[stage] == segment, !crosses[stage] else { continue }
        if wraps(stage) {
          weights.wrapForward += path.sendForward[stage]
          weights.wrapBackward += path.sendBackward[stage]
        } else {
          weights.sendForward += path.sendForward[stage]
          weights.sendBackward += path.sendBackward[stage]
        }
      }
      return weights
    }
  }

  /// How a chain weighs each segment and each place of conversions: chains of one frame that weigh alike are the same problem.
  func weights(_ model: FoldedModel, _ path: PipelineTimeline.Path) -> [Weights] {
    let segments = copies[0].count
    let seams = (0..<segments).flatMap { to in [.seam(from: to - 1, to: to), .seam(from: to, to: to)] as [FoldedModel.Place] }
    let crossings = crosses.contains(true) ? (1..<segments).map { FoldedModel.Place.crossing(from: $0 - 1, to: $0) } : []
    return nodeWeights(path, segments: segments) + (seams + crossings).map { edgeWeights(path, $0) }
  }

  /// The chain that is longest when every operator takes what is least for it by itself.
  func promisingPath(_ model: FoldedModel) -> PipelineTimeline.Path {
    let paths = PipelineTimeline.bounds(stages: stages, schedule: schedule, microBatches: microBatches, mode: mode)
    let lengths = paths.map { path in
      let weights = nodeWeights(path, segments: model.pricing.graph.segments.count)
      return model.nodes.reduce(Int64(0)) { sum, node in
        let w = weights[node.segment]
        var least = Int64.max
        for s in 0..<node.count { least = min(least, w.forward * node.forward[s] + w.backward * node.backward[s] + w.once * node.once[s]) }
        return sum + least
      }
    }
    return paths[paths.indices.max { (lengths[$0], $1) < (lengths[$1], $0) }!]
  }

  func edgeWeights(_ path: PipelineTimeline.Path, _ place: FoldedModel.Place) -> Weights {
    var weights = Weights()
    switch place {
    case .crossing(_, let segment):
      return sender(into: segment).map { Weights(forward: path.sendForward[$0], backward: path.sendBackward[$0]) } ?? weights
    case .exchange(let first, let second): return Weights(forward: path.once[holder(of: first)] + path.once[holder(of: second)])
    case .inside, .seam: break
    }
    for stage in copies.indices {
      let count = Int64(occurrences(place, stage: stage))
      weights.forward += count * path.forward[stage]
      weights.backward += count * path.backward[stage]
    }
    return weights
  }

  /// A stage at a time when it holds the activations of many micro-batches.
  struct Load: Hashable {
    let stage: Int
    /// Of each segment, the copies on the stage, and the copies' passes that are kept for backward.
    let copies: [Int]
    let kept: [Int]
    /// How much less memory than the largest device the stage's devices have: it counts as used.
    let reserved: Int64
    /// Of several kinds of devices that share the batch out unevenly, whose memory it is: the one with the most samples has number 0.
    var share = 0

    /// Whether the stage never holds more at the other time, nor the other stage if it is another.
    func covers(_ other: Load) -> Bool { row().covers(other.row()) }

    /// While an operator runs, or none.
    func row(_ op: Int? = nil) -> BlockTables.MemoryRow { .init(copies: copies, kept: kept, op: op, reserved: reserved) }
  }

  /// A stage's loads at the times when it may hold most.
  func loads(ofStage stage: Int) -> [Load] {
    schedule.fullest(stage: stage, stages: stages, microBatches: microBatches, mode: mode).map { load(ofStage: stage, inFlight: $0) }
  }

  /// The first of them.
  func load(ofStage stage: Int) -> Load {
    load(ofStage: stage, inFlight: schedule.full(stage: stage, stages: stages, microBatches: microBatches, mode: mode))
  }

  /// - Parameter inFlight: for each chunk.
  private func load(ofStage stage: Int, inFlight: [Int]) -> Load {
    var held = [Int](repeating: 0, count: copies[0].count)
    var kept = held
    for (chunk, inFlight) in inFlight.enumerated() {
      let own = copies[chunk * stages + stage]
      for segment in held.indices {
        held[segment] += own[segment]
        kept[segment] += own[segment] * inFlight
      }
    }
    return Load(stage: stage, copies: held, kept: kept, reserved: reserved[stage])
  }

  /// A load while operators of a segment run: what later segments kept of the micro-batch is not there yet in its forward pass, and no more in its
  /// backward pass. With several chunks on a stage, another chunk may hold it.
  func load(_ load: Load, whileRunning segment: SegmentID) -> Load {
    guard mode == .train, schedule.chunks == 1 else { return load }
    let kept = load.kept.indices.map { $0 > segment ? max(0, load.kept[$0] - load.copies[$0]) : load.kept[$0] }
    return Load(stage: load.stage, copies: load.copies, kept: kept, reserved: load.reserved, share: load.share)
  }

  /// The memory rows: for the operators of each segment every load that no other one covers, while each of them runs.
  func memoryRows(_ model: FoldedModel) -> [(load: Load, op: Int)] {
    let loads = (0..<stages).flatMap(loads)
    return copies[0].indices.flatMap { segment in
      let running = loads.filter { $0.copies[segment] > 0 }.map { load($0, whileRunning: segment) }
      let decisive = running.enumerated().filter { s, load in
        !running.enumerated().contains { other, more in other != s && more.covers(load) && (!load.covers(more) || other < s) }
      }.map(\.element)
      return (decisive + loadsOfShares(decisive)).flatMap { load in
        let model = model.ofShare(load.share)
        let nodes = model.nodes.indices.filter { model.nodes[$0].segment == segment }
        let taking = nodes.filter { node in model.runningWith(node).contains { (model.nodes[$0].transient.max() ?? 0) > 0 } }
        // Even where they take nothing for themselves, the stage holds what it keeps.
        return (taking.isEmpty ? Array(nodes.prefix(1)) : taking).map { (load, $0) }
      }
    }
  }

  /// The problem whose objective rows are these chains.
  func problem(_ model: FoldedModel, paths: [PipelineTimeline.Path], limit: Int64) throws -> Problem {
    let rows = memoryRows(model)
    var builder = try ProblemBuilder(
      offsets: paths.map { hostTime($0, model) }, limits: rows.map { limit - $0.load.reserved })
    if !model.kinds.isEmpty {
      try addCostsOfKinds(model, paths: paths, &builder)
      try addLoads(model, rows, &builder)
      return builder.build()
    }
    let weights = paths.map { nodeWeights($0, segments: model.pricing.graph.segments.count) }
    for (index, node) in model.nodes.enumerated() {
      let wrap = model.sends(index, wraps: true)
      var costs: [Int64] = []
      costs.reserveCapacity(node.count * paths.count)
      for s in 0..<node.count {
        for row in weights.indices {
          let w = weights[row][node.segment]
          var cost = w.forward * node.forward[s] + w.backward * node.backward[s] + w.once * node.once[s] + w.sendForward * node.sendForward[s]
          cost += w.sendBackward * node.sendBackward[s] + w.wrapForward * wrap.forward[s] + w.wrapBackward * wrap.backward[s]
          costs.append(cost)
        }
      }
      _ = try builder.addNode(costs: costs)
    }
    for edge in model.edges {
      let weights = paths.map { edgeWeights($0, edge.place) }
      var costs: [Int64] = []
      costs.reserveCapacity(edge.forward.count * paths.count)
      for entry in edge.forward.indices {
        let isForbidden = edge.forward[entry] == Problem.forbidden
        for w in weights { costs.append(isForbidden ? Problem.forbidden : w.forward * edge.forward[entry] + w.backward * edge.backward[entry]) }
      }
      try builder.addEdge(edge.tail, edge.head, costs: costs)
    }
    try addLoads(model, rows, &builder)
    return builder.build()
  }

  /// What a stage needs under a choice while an operator runs.
  static func memory(_ model: FoldedModel, _ choice: [Int], row: (load: Load, op: Int)) -> Int64 {
    let model = model.ofShare(row.load.share)
    let row = row.load.row(row.op)
    return model.nodes.indices.reduce(row.reserved) { $0 + model.memory(node: $1, row)[choice[$1]] }
  }

  /// The problem whose objective is the largest of some memory rows.
  func memoryProblem(_ model: FoldedModel, rows: [(load: Load, op: Int)]) throws -> Problem {
    var builder = try ProblemBuilder(offsets: rows.map(\.load.reserved))
    for (index, node) in model.nodes.enumerated() {
      let parts = rows.map { model.ofShare($0.load.share).memory(node: index, $0.load.row($0.op)) }
      _ = try builder.addNode(costs: (0..<node.count).flatMap { s in parts.map { $0[s] } })
    }
    for edge in model.edges {
      try builder.addEdge(
        edge.tail, edge.head,
        costs: edge.forward.flatMap { [Int64](repeating: $0 == Problem.forbidden ? Problem.forbidden : 0, count: rows.count) })
    }
    return builder.build()
  }

  private func addLoads(_ model: FoldedModel, _ rows: [(load: Load, op: Int)], _ builder: inout ProblemBuilder) throws {
    var start = 0
    while start < rows.count {
      let load = rows[start].load
      let model = model.ofShare(load.share)
      let end = rows[start...].firstIndex { $0.load != load } ?? rows.count
      for (index, node) in model.nodes.enumerated() {
        let (count, kept) = (Int64(load.copies[node.segment]), Int64(load.kept[node.segment]))
        if count == 0 { continue }
        try builder.addLoad(
          node: index, rows: start..<end, usages: node.resident.indices.map { count * node.resident[$0] + kept * node.kept[$0] })
      }
      // Each segment's operators are neighbours.
      for segment in load.copies.indices {
        guard let first = rows[start..<end].firstIndex(where: { model.nodes[$0.op].segment == segment }),
          let last = rows[start..<end].lastIndex(where: { model.nodes[$0.op].segment == segment })
        else { continue }
        for (index, node) in model.nodes.enumerated() where node.segment == segment && node.revived.contains(where: { $0 > 0 }) {
          try builder.addLoad(node: index, rows: first..<last + 1, usages: node.revived)
        }
      }
      for row in start..<end {
        for node in model.runningWith(rows[row].op) { try builder.addLoad(node: node, rows: row..<row + 1, usages: model.nodes[node].transient) }
      }
      start = end
    }
  }
}
