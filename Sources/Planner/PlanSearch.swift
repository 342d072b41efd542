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
    let zero: [ZeROStage]
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
  /// The best plan of each of the best configurations (a frame and a schedule), best first; at most as many as are asked for.
  private(set) var found: [Candidate] = []
  var best: Candidate? { found.first }
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
  /// By stages and chunks.
  private var cuts: [[Int]: [[Int]]] = [:]
  private let rates: DeviceRates
  private let limit: Int64
  private var models: [Int: Pricing.Model] = [:]
  private var axes: [[Int]: AxisBounds] = [:]
  /// The price of memory, in ticks per byte, that last excluded a cut of a frame.
  private var prices: [[Int]: Double] = [:]
  /// Lower bounds of configurations with memory relaxed.
  private var relaxedBounds: [RelaxedKey: Int64] = [:]

  private struct RelaxedKey: Hashable {
    let frame: Space.Frame
    let ties: Ties
    let weights: [Configuration.Weights]
  }

  private enum Item {
    /// All meshes of a pipeline degree and a number of micro-batches.
    case meshes(stages: Int, microBatches: Int)
    case frame(Space.Frame)
    case cut(Space.Frame, Schedule, [Int])
    /// Cuts for several numbers of chunks, with the price of memory that was best for those and others.
    case interleaved(Space.Frame, [Member], JointBound.Price?)
  }

  /// A cut with its lower bound.
  private struct Member {
    let schedule: Schedule
    let cut: [Int]
    let bound: Int64
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
  private var cutoff: Int64? { found.count < space.request.top ? nil : found.last.map(Self.cutoff) }

  /// The least objective that is no better than a candidate's.
  private static func cutoff(_ candidate: Candidate) -> Int64 { candidate.objective - Outcome.tolerance(of: candidate.objective) }

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
      case .interleaved(let frame, let members, let price): try split(frame, members, price)
      }
    }
  }

  private mutating func leaveOpen(_ bound: Int64) { open = min(open ?? .max, bound) }

  /// Everything that was not left open is no better than the best plan.
  private mutating func conclude() {
    let cutoff = best.map(Self.cutoff)
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
      for (frame, bound) in frames.flatMap({ frame in space.recomputes.map { (frame.frame.recomputing($0), frame.bound) } }) {
        if bound >= cutoff ?? .max || isLate { break }
        let schedule = space.schedules(stages: stages, microBatches: frame.microBatches)[0]
        let cut = space.evenCut(stages: stages, chunks: schedule.chunks)
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

  /// Bounds a mesh's frames, one for each kind of recompute, with their conversions, and then each of their cuts.
  private mutating func expand(_ frame: Space.Frame) throws {
    var connected: ConnectedBounds?
    for recompute in space.recomputes {
      let frame = frame.recomputing(recompute)
      guard let bounds = try bounds(frame) else {
        // The choices exclude it: it is no part of the space.
        if shortfall == nil { shortfall = .constraints }
        return
      }
      // Attention that is computed again adds to the bounds of the frame without; where everything is, joint bounds are much closer.
      if recompute == .full { connected = nil }
      guard try expand(frame, bounds, &connected) else { return }
    }
  }

  /// Bounds the cuts of a frame.
  /// - Returns: false where no plan that computes more is of interest either.
  private mutating func expand(_ frame: Space.Frame, _ bounds: FrameBounds, _ connected: inout ConnectedBounds?) throws -> Bool {
    var bounds = bounds
    var interleaved: [Member] = []
    defer { push(frame, interleaved, least: 0) }
    for schedule in space.schedules(stages: frame.stages, microBatches: frame.microBatches) {
      let cuts = cuts(frame.stages, schedule)
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
      if connected == nil {
        guard let model = try model(frame, space.certainTies(stages: frame.stages), bounds.operators) else { return false }
        connected = try ConnectedBounds(model, space: space, frame: frame, cutoff: cutoff)
      }
      guard var closer = connected else {
        if best == nil { note(.forbidden) } else { pruned += open.count }
        return false
      }
      closer.count(bounds.recomputed, of: frame.recompute)
      for (cut, bound) in open {
        let bound = max(bound, try closer.bound(schedule, cut: cut))
        if bound >= cutoff ?? .max {
          pruned += 1
        } else if schedule.kind == .interleaved {
          interleaved.append(Member(schedule: schedule, cut: cut, bound: bound))
        } else {
          queue.push(.cut(frame, schedule, cut), bound: bound)
        }
      }
      connected = closer
    }
    return true
  }

  /// Bounds interleaved cuts of a frame together, and what that leaves in two halves: first of the numbers of chunks, then of the cuts for one.
  private mutating func split(_ frame: Space.Frame, _ members: [Member], _ price: JointBound.Price?) throws {
    guard let model = try model(frame, space.certainTies(stages: frame.stages)) else { return }
    let joint = JointBound(model, members.map { configuration(frame, $0.schedule, $0.cut) })
    var price = price
    guard let least = try joint.bound(limit: limit, cutoff: cutoff, price: &price) else { return }
    if least >= cutoff ?? .max {
      pruned += members.count
      return
    }
    var middle = members.count / 2
    if members[0].schedule != members[members.count - 1].schedule {
      while middle < members.count && members[middle].schedule == members[middle - 1].schedule { middle += 1 }
      if middle == members.count { middle = members.firstIndex { $0.schedule == members[members.count - 1].schedule } ?? members.count / 2 }
    }
    push(frame, Array(members[..<middle]), price, least: least)
    push(frame, Array(members[middle...]), price, least: least)
  }

  private mutating func push(_ frame: Space.Frame, _ members: [Member], _ price: JointBound.Price? = nil, least: Int64) {
    guard let bound = members.map(\.bound).min() else { return }
    let item: Item = members.count == 1 ? .cut(frame, members[0].schedule, members[0].cut) : .interleaved(frame, members, price)
    queue.push(item, bound: max(bound, least))
  }

  private mutating func cuts(_ stages: Int, _ schedule: Schedule) -> [[Int]] {
    let key = [stages, schedule.chunks]
    if let known = cuts[key] { return known }
    let cuts = space.cuts(stages: stages, chunks: schedule.chunks)
    self.cuts[key] = cuts
    return cuts
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
    return FoldedModel(
      pricing: pricing, strategies: strategies, ties: ties, zero: space.request.zero, recompute: space.recompute(frame.recompute),
      link: placed.stageLink, wrapLink: placed.wrapLink)
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
    let ties = space.ties(cut: cut, stages: frame.stages)
    guard let model = try model(frame, ties) else { return }
    let configuration = configuration(frame, schedule, cut)
    priced += 1
    var paths = [configuration.promisingPath(model)]
    // Most configurations are out of the question whatever memory they need.
    if let cutoff {
      // Cuts whose chains weigh everything alike are the same problem.
      let key = RelaxedKey(frame: frame, ties: ties, weights: configuration.weights(model, paths[0]))
      if let known = relaxedBounds[key], known >= cutoff { return }
      let relaxed = try configuration.problem(model, paths: paths, limit: nil).solve(Self.relaxedOptions(cutoff))
      relaxedBounds[key] = relaxed.lowerBound
      if relaxed.lowerBound >= cutoff { return }
      if let choice = relaxed.choice, try pricesOut(configuration, model, paths[0], choice, frame, schedule, cutoff) { return }
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

  private static func relaxedOptions(_ cutoff: Int64) -> SolveOptions {
    SolveOptions(cutoff: cutoff, reductions: .all.subtracting(.dominance))
  }

  /// Whether a price on the memory row that a relaxed choice exceeds most excludes a configuration: the price that did for another cut of the
  /// frame, or else the best one, where the lines of two choices meet (the intersection method of Lagrangian relaxation).
  private mutating func pricesOut(
    _ configuration: Configuration, _ model: FoldedModel, _ path: PipelineTimeline.Path, _ relaxed: [Int], _ frame: Space.Frame, _ schedule: Schedule,
    _ cutoff: Int64
  ) throws -> Bool {
    let rows = configuration.memoryRows(model)
    guard let row = rows.max(by: { Configuration.memory(model, relaxed, row: $0) < Configuration.memory(model, relaxed, row: $1) }) else {
      return false
    }
    /// What a choice takes without a price, and its bytes above the limit.
    func line(_ choice: [Int]) -> (time: Double, excess: Double) {
      let time = path.length(configuration.stageTimes(model, choice))
      return (Double(time), Double(Configuration.memory(model, choice, row: row) - limit))
    }
    var above = line(relaxed)
    guard above.excess > 0 else { return false }
    var below: (time: Double, excess: Double)?
    let key = [frame.stages, frame.microBatches, row.load.stage] + frame.mesh
    var price = Configuration.MemoryPrice(row: row, limit: limit, ticksPerByte: prices[key] ?? 100 * above.time / Double(limit))
    for _ in 0..<Self.mostPrices {
      let outcome = try configuration.problem(model, paths: [path], limit: nil, price: price).solve(Self.relaxedOptions(cutoff))
      if outcome.lowerBound >= cutoff {
        prices[key] = price.ticksPerByte
        return true
      }
      guard let choice = outcome.choice else { return false }
      let next = line(choice)
      if next.excess > 0 { above = next } else { below = next }
      guard let below else {
        price.ticksPerByte *= 10
        continue
      }
      let meeting = (below.time - above.time) / (above.excess - below.excess)
      guard meeting > 0, abs(meeting - price.ticksPerByte) > 1e-3 * price.ticksPerByte else { break }
      price.ticksPerByte = meeting
    }
    return false
  }

  private static let mostPrices = 5

  private mutating func record(
    _ model: FoldedModel, _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], _ configuration: Configuration, _ choice: [Int]
  ) -> PipelineTimeline {
    let choice = model.withoutIdleHoldings(choice)
    let timeline = configuration.timeline(configuration.stageTimes(model, choice))
    let known = found.firstIndex { $0.frame == frame && $0.schedule == schedule }
    if timeline.end < (known ?? (found.count < space.request.top ? nil : found.count - 1)).map({ found[$0].objective }) ?? .max {
      let strategies = model.strategies.indices.map { model.strategies[$0][choice[model.nodeOfOperator[$0]]] }
      if let known { found.remove(at: known) } else if found.count == space.request.top { found.removeLast() }
      let candidate = Candidate(
        frame: frame, schedule: schedule, cut: cut, choice: choice, strategies: strategies, zero: model.zeroStages(choice), objective: timeline.end)
      found.insert(candidate, at: found.firstIndex { $0.objective > timeline.end } ?? found.count)
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
      let uses = rows.map { Configuration.memory(model, choice, row: $0) }
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
