// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import HeapModule
import ModelGraph
import Plans
import Quantities
import Search
import Strategies

/// Best-first branch and bound over frames, cuts and schedules; each configuration that its bound does not exclude is solved exactly.
///
/// A configuration's objective is the end of its time line: the longest of very many chains of passes, each a linear function of the choice.
/// So it is solved by cutting planes: an ILP whose objective rows are the chains seen so far gives a choice and a lower bound; its time line
/// gives the chain that the rows lacked. It ends when the time line is no longer than the bound.
struct PlanSearch {
  /// A configuration and the operators' choices in it.
  struct Candidate {
    let frame: Space.Frame
    let schedule: Schedule
    let cut: [Int]
    let choice: [Int]
    let strategies: [Strategy]
    let objective: Int64
  }

  enum Shortfall: Equatable {
    /// The least that some stage needs, of what a device has.
    case memory(least: Int64, limit: Int64)
    /// The constraints leave an operator without a strategy, or neighbours without a common layout.
    case constraints
  }

  private let space: Space
  private let monitor: SearchMonitor
  private(set) var best: Candidate?
  private(set) var priced = 0
  private(set) var pruned = 0
  private(set) var infeasible = 0
  private(set) var shortfall: Shortfall?
  /// No plan of the space is better than this; equal to the best plan's objective (within tolerance) once the search is complete.
  private(set) var lowerBound: Int64 = 0
  private(set) var isComplete = false
  /// The least that a configuration which was looked at, but not solved, may reach.
  private var open: Int64?
  private var queue = Queue()
  /// Connected models, the one used last at the end. Configurations of few frames alternate at the head of the queue.
  private var recentModels: [(frame: Space.Frame, ties: Ties, model: FoldedModel)] = []
  private static let mostRecentModels = 16
  private var placedMeshes: [[Int]: Space.Placed] = [:]
  private let rates: DeviceRates
  private let limit: Int64
  private var models: [Int: Pricing.Model] = [:]
  private var axes: [[Int]: AxisBounds] = [:]

  private enum Item {
    /// All meshes of a pipeline degree and a number of micro-batches.
    case meshes(stages: Int, microBatches: Int)
    case frame(Space.Frame)
    case cut(Space.Frame, Schedule, [Int])
  }

  /// Items by their lower bounds; of equal ones the earlier first.
  private struct Queue {
    private struct Entry: Comparable {
      let bound: Int64
      let order: Int
      let item: Item

      static func == (a: Entry, b: Entry) -> Bool { a.order == b.order }
      static func < (a: Entry, b: Entry) -> Bool { (a.bound, a.order) < (b.bound, b.order) }
    }

    private var heap = Heap<Entry>()
    private var pushed = 0

    var remaining: Int { heap.count }
    var least: Int64? { heap.min?.bound }

    mutating func push(_ item: Item, bound: Int64) {
      heap.insert(Entry(bound: bound, order: pushed, item: item))
      pushed += 1
    }

    mutating func pop() -> (item: Item, bound: Int64)? { heap.popMin().map { ($0.item, $0.bound) } }
  }

  init(_ space: Space, _ monitor: SearchMonitor) throws {
    self.space = space
    rates = try space.slowestRates()
    limit = space.request.ignoresMemoryLimit ? Problem.largestSum : rates.usable.whole
    self.monitor = monitor
  }

  private var isLate: Bool { monitor.stop.isReached }

  /// The least objective that is of no more interest.
  private var cutoff: Int64? { best.map { $0.objective - Outcome.tolerance(of: $0.objective) } }

  /// Runs to the end or to the time limit.
  mutating func run() throws {
    try seed()
    // What the seeds left open is in the queue.
    open = nil
    defer { conclude() }
    while let (item, bound) = queue.pop() {
      monitor.report?(
        SearchProgress(
          open: queue.remaining + 1, priced: priced, objective: best.map { space.tick * Double($0.objective) },
          lowerBound: space.tick * Double(bound)))
      if let cutoff, bound >= cutoff {
        pruned += 1 + queue.remaining
        return
      }
      if isLate {
        leaveOpen(bound)
        return
      }
      switch item {
      case .meshes(let stages, let microBatches): try expand(stages: stages, microBatches: microBatches)
      case .frame(let frame): try expand(frame)
      case .cut(let frame, let schedule, let cut): try solve(frame, schedule, cut, bound: bound)
      }
    }
  }

  private mutating func leaveOpen(_ bound: Int64) { open = min(open ?? .max, bound) }

  /// Everything that was not left open is no better than the cutoff.
  private mutating func conclude() {
    isComplete = open.map { open in cutoff.map { open >= $0 } ?? false } ?? true
    lowerBound = min(open ?? .max, cutoff ?? .max)
    if lowerBound == .max { lowerBound = 0 }
  }

  /// Bounds every pipeline degree and micro-batch count, and looks for a first plan where memory is plentiful: for each pipeline degree the evenest
  /// cut of the frame with the lowest bound that would fill at most half of a device. The search is exact without it, but prunes less.
  private mutating func seed() throws {
    var byDegree: [Int: [(microBatches: Int, bound: Int64)]] = [:]
    for stages in space.pipelineDegrees {
      for microBatches in space.microBatchCounts where !space.frames(stages: stages, microBatches: microBatches).isEmpty {
        let bound = try axisBounds(stages, microBatches).withoutConversions.min() ?? 0
        queue.push(.meshes(stages: stages, microBatches: microBatches), bound: bound)
        byDegree[stages, default: []].append((microBatches, bound))
      }
    }
    for stages in space.pipelineDegrees {
      let promising = (byDegree[stages] ?? []).sorted { ($0.bound, $0.microBatches) < ($1.bound, $1.microBatches) }.prefix(Self.seedsPerDegree)
      let frames = try promising.flatMap { try boundedFrames(stages: stages, microBatches: $0.microBatches) }.sorted { $0.bound < $1.bound }
      let schedule = space.schedules(stages: stages)[0]
      let cut = space.evenCut(stages: stages)
      for (frame, bound) in frames {
        if bound >= cutoff ?? .max || isLate { break }
        guard var bounds = try bounds(frame), bounds.leastMemory(schedule, cut: cut) <= limit / 2 else { continue }
        try solve(frame, schedule, cut, bound: bound)
        break
      }
    }
  }

  private static let seedsPerDegree = 3

  /// The bounds of a pipeline degree and a number of micro-batches.
  private mutating func axisBounds(_ stages: Int, _ microBatches: Int) throws -> AxisBounds {
    let key = [stages, microBatches]
    if let known = axes[key] { return known }
    let link = placed(stages: stages, mesh: [space.request.cluster.deviceCount / stages]).stageLink
    let bounds = try AxisBounds(
      space, stages: stages, microBatches: microBatches, model: model(microBatches: microBatches), rates: rates, link: link)
    axes[key] = bounds
    return bounds
  }

  private mutating func model(microBatches: Int) -> Pricing.Model {
    if let known = models[microBatches] { return known }
    let model = space.model(microBatches: microBatches)
    models[microBatches] = model
    return model
  }

  /// The frames of a pipeline degree and a number of micro-batches, with lower bounds.
  private mutating func boundedFrames(stages: Int, microBatches: Int) throws -> [(frame: Space.Frame, bound: Int64)] {
    var bounds = try axisBounds(stages, microBatches)
    defer { axes[[stages, microBatches]] = bounds }
    return try space.frames(stages: stages, microBatches: microBatches).map { frame in
      (frame, try bounds.bound(placed(stages: stages, mesh: frame.mesh), mesh: frame.mesh))
    }
  }

  private mutating func expand(stages: Int, microBatches: Int) throws {
    for (frame, bound) in try boundedFrames(stages: stages, microBatches: microBatches) { queue.push(.frame(frame), bound: bound) }
  }

  /// Bounds the frame again with its conversions, and then each of its cuts.
  private mutating func expand(_ frame: Space.Frame) throws {
    guard var bounds = try bounds(frame) else {
      // The choices exclude it: it is no part of the space.
      if shortfall == nil { shortfall = .constraints }
      return
    }
    let cuts = space.cuts(stages: frame.stages)
    for schedule in space.schedules(stages: frame.stages) {
      if let cutoff, bounds.bound(schedule) >= cutoff {
        pruned += cuts.count
        continue
      }
      // Cuts that their operators alone exclude need no closer look.
      var open: [(cut: [Int], bound: Int64)] = []
      for cut in cuts {
        let bound = bounds.bound(schedule, cut: cut)
        if let cutoff, bound >= cutoff {
          pruned += 1
          continue
        }
        let least = bounds.leastMemory(schedule, cut: cut)
        if least > limit {
          infeasible += 1
          note(.memory(row: 0, least: least, limit: limit))
        } else {
          open.append((cut, bound))
        }
      }
      if open.isEmpty { continue }
      guard let model = try model(frame, space.certainTies(stages: frame.stages), bounds.operators) else { return }
      guard let closer = try ConnectedBounds(model, space: space, frame: frame, schedule: schedule, cutoff: cutoff) else {
        if best == nil {
          note(.forbidden)
        } else {
          pruned += open.count
        }
        continue
      }
      for (cut, bound) in open {
        let bound = max(bound, closer.bound(cut: cut))
        if bound < cutoff ?? .max { queue.push(.cut(frame, schedule, cut), bound: bound) } else { pruned += 1 }
      }
    }
  }

  private mutating func bounds(_ frame: Space.Frame) throws -> FrameBounds? {
    guard let model = try operators(frame, space.certainTies(stages: frame.stages)) else { return nil }
    return FrameBounds(model, space: space, frame: frame)
  }

  /// The operators of a frame, not connected; nil where one has no strategy left.
  private mutating func operators(_ frame: Space.Frame, _ ties: Ties) throws -> FoldedModel? {
    let placed = placed(stages: frame.stages, mesh: frame.mesh)
    let pricing = try space.pricing(frame, on: placed, model: model(microBatches: frame.microBatches))
    let strategies = space.strategies(pricing, frame)
    if strategies.contains(where: \.isEmpty) { return nil }
    return FoldedModel(pricing: pricing, strategies: strategies, ties: ties, link: placed.stageLink)
  }

  private mutating func placed(stages: Int, mesh: [Int]) -> Space.Placed {
    let key = [stages] + mesh
    if let known = placedMeshes[key] { return known }
    let placed = space.placed(stages: stages, mesh: mesh)
    placedMeshes[key] = placed
    return placed
  }

  /// The folded model of a frame; `unconnected` are its operators under these ties, where they are at hand.
  private mutating func model(_ frame: Space.Frame, _ ties: Ties, _ unconnected: FoldedModel? = nil) throws -> FoldedModel? {
    if let known = recentModels.lastIndex(where: { $0.frame == frame && $0.ties == ties }) {
      let entry = recentModels.remove(at: known)
      recentModels.append(entry)
      return entry.model
    }
    guard var model = try unconnected ?? operators(frame, ties) else { return nil }
    model.connect()
    if !model.isPossible {
      note(.forbidden)
      return nil
    }
    if recentModels.count == Self.mostRecentModels { recentModels.removeFirst() }
    recentModels.append((frame, ties, model))
    return model
  }

  func configuration(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int]) -> Configuration {
    Configuration(
      stages: space.stages(cut: cut), segments: space.request.graph.segments.count, schedule: schedule, microBatches: frame.microBatches,
      mode: space.request.mode)
  }

  // MARK: - One configuration

  private mutating func solve(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws {
    guard let model = try model(frame, space.ties(cut: cut)) else { return }
    let configuration = configuration(frame, schedule, cut)
    priced += 1
    var paths = [configuration.promisingPath(model)]
    // Most configurations are out of the question whatever memory they need.
    if let cutoff {
      let relaxed = try configuration.problem(model, paths: paths, limit: nil)
      let outcome = try relaxed.solve(SolveOptions(cutoff: cutoff, reductions: .all.subtracting(.dominance)))
      if outcome.lowerBound >= cutoff { return }
    }
    while true {
      let problem = try configuration.problem(model, paths: paths, limit: limit)
      let outcome = try problem.solve(SolveOptions(stop: monitor.stop, cutoff: cutoff))
      switch outcome.status {
      case .cutoff: return
      case .infeasible(let why):
        if why != .forbidden { infeasible += 1 }
        if best == nil { note(try exactly(why, configuration, model)) }
        return
      case .timeLimit:
        if let choice = outcome.choice { _ = record(model, frame, schedule, cut, configuration, choice) }
        leaveOpen(max(bound, outcome.lowerBound))
        return
      case .optimal: break
      }
      guard let choice = outcome.choice else { return }
      let timeline = record(model, frame, schedule, cut, configuration, choice)
      if timeline.end <= outcome.lowerBound + Outcome.tolerance(of: timeline.end) || paths.contains(timeline.critical) { return }
      paths.append(timeline.critical)
    }
  }

  private mutating func record(
    _ model: FoldedModel, _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], _ configuration: Configuration, _ choice: [Int]
  ) -> PipelineTimeline {
    let choice = model.withoutIdleHoldings(choice)
    let timeline = configuration.timeline(configuration.stageTimes(model, choice))
    if timeline.end < best?.objective ?? .max {
      let strategies = model.strategies.indices.map { model.strategies[$0][choice[model.nodeOfOperator[$0]]] }
      best = Candidate(frame: frame, schedule: schedule, cut: cut, choice: choice, strategies: strategies, objective: timeline.end)
    }
    return timeline
  }

  /// By how much a configuration misses the limit where single memory rows do not tell: the least that its fullest stage can need, by cutting
  /// planes over the rows.
  private func exactly(_ why: Outcome.Infeasibility, _ configuration: Configuration, _ model: FoldedModel) throws -> Outcome.Infeasibility {
    guard why == .memoryTogether || why == .memoryUndetermined else { return why }
    let rows = configuration.memoryRows(model)
    var seen = [0]
    while !isLate {
      let outcome = try configuration.memoryProblem(model, rows: seen.map { rows[$0] }).solve(SolveOptions(stop: monitor.stop))
      guard case .optimal = outcome.status, let choice = outcome.choice else { break }
      let uses = rows.map { configuration.memory(model, choice, row: $0) }
      guard let most = uses.indices.max(by: { (uses[$0], $1) < (uses[$1], $0) }) else { break }
      if seen.contains(most) { return .memory(row: most, least: outcome.lowerBound, limit: limit) }
      seen.append(most)
    }
    return .memory(row: 0, least: limit + 1, limit: limit)
  }

  /// Remembers the infeasible configuration that comes closest to fitting.
  private mutating func note(_ why: Outcome.Infeasibility) {
    switch why {
    case .forbidden: if shortfall == nil { shortfall = .constraints }
    case .memory(_, let least, let limit):
      if case .memory(let known, _) = shortfall, known <= least { return }
      shortfall = .memory(least: least, limit: limit)
    case .memoryTogether, .memoryUndetermined: break
    }
  }
}
