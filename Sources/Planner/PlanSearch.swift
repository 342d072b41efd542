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
    /// Where layers differ, how many of each stage's layers are of the first kind.
    let first: Int
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
  /// Models, the one used last at the end. Configurations of few frames alternate at the head of the queue.
  private var recentModels: [FrameModel] = []
  private static let mostRecentModels = 64
  private var placedMeshes: [[Int]: Space.Placed] = [:]
  /// By stages and chunks, and where devices are of several kinds by the size of a stage.
  private var cuts: [[Int]: [[Int]]] = [:]
  private let rates: DeviceRates
  private let limit: Int64
  /// Plans with this objective or more are of no interest.
  private let ceiling: Int64?
  private var models: [ModelKey: Pricing.Model] = [:]

  private struct ModelKey: Hashable {
    let microBatches: Int
    let differs: Bool
  }
  private var axes: [[Int]: AxisBounds] = [:]
  /// By the number of micro-batches, for stages that leave devices idle.
  private var countBounds: [Int: CountBounds] = [:]
  /// The price of memory, in ticks per byte, that last excluded a cut of a frame.
  private var prices: [[Int]: Double] = [:]
  /// Lower bounds of configurations with memory relaxed.
  private var relaxedBounds: [RelaxedKey: (sum: Int64, choice: [Int]?)] = [:]

  /// Lower bounds of configurations with a price on memory, whatever their layers compute again.
  private var pricedBounds: [PricedKey: (bound: Int64, price: Price?)] = [:]

  /// A price on the memory of one stage.
  private struct Price {
    let stage: Int
    let ticksPerByte: Double
  }

  private struct PricedKey: Hashable {
    let relaxed: RelaxedKey
    let kinds: [Recompute]
    /// The stage whose memory has the price.
    let row: BlockTables.MemoryRow
  }

  /// Cuts that a lower bound excluded. One whose chain weighs nothing less, and with no less on the priced stage, is excluded by the same bound.
  private var excluded: [CutGroup: [ExcludedCut]] = [:]

  private struct CutGroup: Hashable {
    let frame: Space.Frame
    let ties: Ties
    let kinds: [Recompute]
  }

  private struct ExcludedCut {
    let weights: [Configuration.Weights]
    /// The stage whose memory had a price, if one had.
    let row: BlockTables.MemoryRow?
    let price: Price?
    let bound: Int64

    func isCovered(by other: [Configuration.Weights], _ rows: [BlockTables.MemoryRow]) -> Bool {
      guard zip(weights, other).allSatisfy({ $0.isCovered(by: $1) }) else { return false }
      guard let row else { return true }
      return rows.contains { $0.covers(row) }
    }

    /// The same price on the stage of another cut that covers the priced one.
    func price(_ rows: [BlockTables.MemoryRow]) -> Price? {
      guard let row, let price, let stage = rows.firstIndex(where: { $0.covers(row) }) else { return nil }
      return Price(stage: stage, ticksPerByte: price.ticksPerByte)
    }
  }

  private struct RelaxedKey: Hashable {
    let frame: Space.Frame
    let ties: Ties
    let weights: [Configuration.Weights]
  }

  private enum Item {
    /// All meshes of a pipeline degree, a size of its stages and a number of micro-batches, and of smaller sizes.
    case meshes(stages: Int, size: Int, microBatches: Int)
    case frame(Space.Frame)
    /// The cuts of a frame that no bound excludes so far.
    case cuts(OpenFrame)
    case cut(Space.Frame, Schedule, [Int])
    /// A cut with all layers alike.
    case alike(Space.Frame, Schedule, [Int])
    /// A cut with layers of two kinds.
    case mixed(Space.Frame, Schedule, [Int])
    /// Cuts for several numbers of chunks.
    case interleaved(Space.Frame, [Member])
  }

  /// A cut with its lower bound.
  private struct Member {
    let schedule: Schedule
    let cut: [Int]
    let bound: Int64
  }

  /// A frame with the cuts that no bound excludes so far, the least first.
  private final class OpenFrame {
    typealias Cut = (schedule: Schedule, cut: [Int], bound: Int64)
    let frame: Space.Frame
    /// The least first; of equally good ones the earlier.
    let cuts: [Cut]
    /// Whether a price on memory is in the bounds.
    let isPriced: Bool

    init(_ frame: Space.Frame, _ cuts: [Cut], isPriced: Bool) {
      self.frame = frame
      self.cuts = cuts.enumerated().sorted { ($0.element.bound, $0.offset) < ($1.element.bound, $1.offset) }.map(\.element)
      self.isPriced = isPriced
    }
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

  /// - Parameter below: plans that take this long or longer are of no interest.
  init(_ space: Space, _ monitor: SearchMonitor, below: Seconds? = nil) throws {
    ceiling = below.map { Int64(min(($0 / space.tick).rounded(.up), Double(Problem.largestSum))) }
    self.space = space
    rates = try space.fastestRates()
    limit = space.request.ignoresMemoryLimit ? Problem.largestSum : rates.usable.wholeWithin
    self.monitor = monitor
  }

  private var isLate: Bool { monitor.stop.isReached }

  /// The least objective that is of no more interest.
  private var cutoff: Int64? {
    let worst = found.count < space.request.top ? nil : found.last.map(Self.cutoff)
    return worst.map { min($0, ceiling ?? $0) } ?? ceiling
  }

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
      case .meshes(let stages, let size, let microBatches): try expand(stages: stages, size: size, microBatches: microBatches)
      case .frame(let frame): try expand(frame)
      case .cuts(let open): try expand(open)
      case .cut(let frame, let schedule, let cut): try self.bound(frame, schedule, cut, bound: bound)
      case .alike(let frame, let schedule, let cut): try solveAlike(frame, schedule, cut, bound: bound)
      case .mixed(let frame, let schedule, let cut): try solveMixed(frame, schedule, cut, bound: bound)
      case .interleaved(let frame, let members): try split(frame, members)
      }
    }
  }

  private mutating func leaveOpen(_ bound: Int64) { open = min(open ?? .max, bound) }

  /// Everything that was not left open is no better than the best plan.
  private mutating func conclude() {
    let cutoff = best.map { min(Self.cutoff($0), ceiling ?? .max) } ?? ceiling
    isComplete = open.map { open in cutoff.map { open >= $0 } ?? false } ?? true
    lowerBound = min(open ?? .max, cutoff ?? .max)
    if lowerBound == .max { lowerBound = 0 }
  }

  /// Bounds every pipeline degree and micro-batch count, and looks for a first plan where memory is plentiful: for each pipeline degree the evenest
  /// cut of the frame with the lowest bound that would fill at most half of a device. The search is exact without it, but prunes less.
  private mutating func seed() throws {
    let most = space.deviceCounts.last ?? 0
    var byDegree: [Int: [(microBatches: Int, bound: Int64)]] = [:]
    for stages in space.pipelineDegrees {
      let size = space.largestSize(stages: stages)
      for microBatches in space.microBatchCounts where !space.schedules(stages: stages, microBatches: microBatches).isEmpty {
        // The item stands for smaller sizes too.
        var least = space.deviceCounts.count > 1 ? try countBound(stages, size, microBatches) : .max
        if stages * size == most, !space.frames(stages: stages, size: size, microBatches: microBatches).isEmpty {
          let bound = try leastOf(stages, size, microBatches)
          byDegree[stages, default: []].append((microBatches, bound))
          least = min(least, bound)
        }
        if least < .max { queue.push(.meshes(stages: stages, size: size, microBatches: microBatches), bound: least) }
      }
    }
    for stages in space.pipelineDegrees {
      let promising = (byDegree[stages] ?? []).sorted { ($0.bound, $0.microBatches) < ($1.bound, $1.microBatches) }.prefix(Self.seedsPerDegree)
      let size = most / stages
      let frames = try promising.flatMap { try boundedFrames(stages: stages, size: size, microBatches: $0.microBatches) }.sorted {
        $0.bound < $1.bound
      }
      for (frame, bound) in frames.flatMap({ frame in space.recomputes.map { (frame.frame.recomputing($0), frame.bound) } }) {
        if bound >= cutoff ?? .max || isLate { break }
        guard var bounds = try bounds(frame) else { continue }
        var isPlentiful = false
        for schedule in space.seedSchedules(frame) {
          let cut = space.evenCut(stages: stages, chunks: schedule.chunks)
          guard space.allowsAlike(frame.recompute, cut: cut), bounds.leastMemory(schedule, cut: cut) <= limit / 2 else { continue }
          _ = try solve(frame, schedule, cut, bound: bound)
          isPlentiful = true
        }
        if isPlentiful { break }
      }
    }
  }

  private static let seedsPerDegree = 3

  /// The bounds of a pipeline degree, a size of its stages and a number of micro-batches.
  private mutating func axisBounds(_ stages: Int, _ size: Int, _ microBatches: Int) throws -> AxisBounds {
    let key = [stages, size, microBatches]
    if let known = axes[key] { return known }
    let link = placed(stages: stages, mesh: [size]).stageLink
    let bounds = try AxisBounds(
      space, stages: stages, size: size, microBatches: microBatches,
      model: model(Space.Frame(stages: stages, mesh: [], microBatches: microBatches)), rates: rates, link: link)
    axes[key] = bounds
    return bounds
  }

  private mutating func leastOf(_ stages: Int, _ size: Int, _ microBatches: Int) throws -> Int64 {
    try axisBounds(stages, size, microBatches).withoutConversions.min() ?? 0
  }

  /// A lower bound that is quickly had, for stages that leave devices idle.
  private mutating func countBound(_ stages: Int, _ size: Int, _ microBatches: Int) throws -> Int64 {
    if countBounds[microBatches] == nil {
      let model = model(Space.Frame(stages: 1, mesh: [], microBatches: microBatches))
      countBounds[microBatches] = CountBounds(space, microBatches: microBatches, model: model, rates: rates)
    }
    return countBounds[microBatches]?.bound(stages: stages, size: size) ?? 0
  }

  private mutating func model(_ frame: Space.Frame) -> Pricing.Model {
    let key = ModelKey(microBatches: frame.microBatches, differs: frame.first != nil)
    if let known = models[key] { return known }
    let model = space.model(frame)
    models[key] = model
    return model
  }

  /// The frames of a pipeline degree, a size of its stages and a number of micro-batches, with lower bounds.
  private mutating func boundedFrames(stages: Int, size: Int, microBatches: Int) throws -> [(frame: Space.Frame, bound: Int64)] {
    var bounds = try axisBounds(stages, size, microBatches)
    defer { axes[[stages, size, microBatches]] = bounds }
    return try space.frames(stages: stages, size: size, microBatches: microBatches).map { frame in
      (frame, try bounds.bound(placed(stages: stages, mesh: frame.mesh), mesh: frame.mesh))
    }
  }

  private mutating func expand(stages: Int, size: Int, microBatches: Int) throws {
    if let smaller = space.size(below: size, stages: stages) {
      queue.push(.meshes(stages: stages, size: smaller, microBatches: microBatches), bound: try countBound(stages, smaller, microBatches))
    }
    if let cutoff, try leastOf(stages, size, microBatches) >= cutoff {
      pruned += 1
      return
    }
    for (frame, bound) in try boundedFrames(stages: stages, size: size, microBatches: microBatches) { queue.push(.frame(frame), bound: bound) }
  }

  /// Bounds the cuts of a mesh's frame. Its layers compute as little again as they may: more takes more time, and less memory.
  private mutating func expand(_ frame: Space.Frame) throws {
    let frame = frame.recomputing(space.recomputes[0])
    guard var bounds = try bounds(frame) else {
      // The choices exclude it: it is no part of the space.
      if shortfall == nil { shortfall = .constraints }
      return
    }
    var connected: ConnectedBounds?
    // By kind of recompute, as they are asked for.
    var others: [FrameBounds] = []
    // Stages of several kinds have very many cuts, so that it is worth while to see first whether all devices together have the memory.
    if space.kinds(frame).sets.count > 1 {
      var least = bounds.leastMemoryOfFullest
      for recompute in space.recomputes.dropFirst() where least > limit {
        if let other = try self.bounds(frame.recomputing(recompute)) { least = min(least, other.leastMemoryOfFullest) }
      }
      if least > limit {
        infeasible += 1
        return note(.memory(row: 0, least: least, limit: limit))
      }
    }
    var mixed = try MixedBounds(bounds.operators, space: space, frame: frame)
    var interleaved: [Member] = []
    var left: [OpenFrame.Cut] = []
    for schedule in space.schedules(frame) {
      let cuts = cuts(frame, schedule)
      if let cutoff, bounds.bound(schedule) >= cutoff {
        pruned += cuts.count
        continue
      }
      // Cuts that their operators alone exclude need no closer look.
      var open: [(cut: [Int], bound: Int64)] = []
      for cut in cuts {
        let bound = max(bounds.bound(schedule, cut: cut), try mixed?.bound(schedule, cut: cut) ?? 0)
        if let cutoff, bound >= cutoff {
          pruned += 1
          continue
        }
        var least = bounds.leastMemory(schedule, cut: cut)
        for (number, recompute) in space.recomputes.dropFirst().enumerated() where least > limit {
          if others.count == number, let more = try self.bounds(frame.recomputing(recompute)) { others.append(more) }
          if number < others.count { least = min(least, others[number].leastMemory(schedule, cut: cut)) }
        }
        if least > limit {
          infeasible += 1
          note(.memory(row: 0, least: least, limit: limit))
        } else {
          open.append((cut, bound))
        }
      }
      if open.isEmpty { continue }
      if connected == nil {
        guard let model = try frameModel(frame, space.certainTies(stages: frame.stages), bounds.operators) else { return }
        connected = try ConnectedBounds(model.operators, model.minimum, space: space, frame: frame, cutoff: cutoff)
      }
      guard var closer = connected else {
        if best == nil { note(.forbidden) } else { pruned += open.count }
        return
      }
      for (cut, bound) in open {
        let bound = max(bound, try closer.bound(schedule, cut: cut))
        if bound >= cutoff ?? .max {
          pruned += 1
        } else if schedule.kind == .interleaved {
          interleaved.append(Member(schedule: schedule, cut: cut, bound: bound))
        } else {
          left.append((schedule, cut, bound))
        }
      }
      connected = closer
    }
    push(frame, interleaved, least: 0)
    try push(frame, left, isPriced: space.request.ignoresMemoryLimit)
  }

  private mutating func push(_ frame: Space.Frame, _ cuts: [OpenFrame.Cut], isPriced: Bool) throws {
    let open = OpenFrame(frame, cuts, isPriced: isPriced)
    guard let least = open.cuts.first, least.bound < cutoff ?? .max else {
      pruned += cuts.count
      return
    }
    if isPriced { pricedFrames += 1 }
    if isPriced, pricedFrames & (pricedFrames - 1) == 0 {
      let wasOpen = self.open
      try solveAlike(frame, least.schedule, least.cut, bound: least.bound)
      // What is left open is in the queue.
      self.open = wasOpen
    }
    queue.push(.cuts(open), bound: least.bound)
  }

  /// Bounds all cuts of a frame with the price on memory that suits the least of them; after that leaves the cuts to be looked at one by one.
  private mutating func expand(_ open: OpenFrame) throws {
    let frame = open.frame
    let left = open.cuts.filter { $0.bound < cutoff ?? .max }
    pruned += open.cuts.count - left.count
    guard let least = left.first else { return }
    if !open.isPriced {
      let (bound, price) = try boundOfKinds(space.recomputes, frame, least.schedule, least.cut, cutoff ?? Problem.largestSum)
      guard let price else {
        // Memory is no matter where time is least.
        let closer = space.isBoundedByKinds(least.schedule, least.cut) ? max(least.bound, bound) : least.bound
        return try push(frame, [(least.schedule, least.cut, closer)] + left.dropFirst(), isPriced: true)
      }
      return try push(
        frame,
        left.enumerated().map { number, cut in
          let priced = max(cut.bound, try pricedCuts(space.recomputes, frame, cut.schedule, price)?.bound(cut: cut.cut) ?? 0)
          return (cut.schedule, cut.cut, number == 0 && space.isBoundedByKinds(cut.schedule, cut.cut) ? max(priced, bound) : priced)
        }, isPriced: true)
    }
    for cut in left { queue.push(.cut(frame, cut.schedule, cut.cut), bound: cut.bound) }
  }

  /// Of the first, second, fourth, … frame that is bounded so, the least cut is solved before its turn.
  private var pricedFrames = 0

  /// Bounds interleaved cuts of a frame together, and what that leaves in two halves: first of the numbers of chunks, then of the cuts for one.
  private mutating func split(_ frame: Space.Frame, _ members: [Member]) throws {
    guard let least = try jointBound(frame, members, cutoff ?? .max) else { return }
    if least >= cutoff ?? .max {
      pruned += members.count
      return
    }
    var middle = members.count / 2
    if members[0].schedule != members[members.count - 1].schedule {
      while middle < members.count && members[middle].schedule == members[middle - 1].schedule { middle += 1 }
      if middle == members.count { middle = members.firstIndex { $0.schedule == members[members.count - 1].schedule } ?? members.count / 2 }
    }
    push(frame, Array(members[..<middle]), least: least)
    push(frame, Array(members[middle...]), least: least)
  }

  private mutating func push(_ frame: Space.Frame, _ members: [Member], least: Int64) {
    guard let bound = members.map(\.bound).min() else { return }
    let item: Item = members.count == 1 ? .cut(frame, members[0].schedule, members[0].cut) : .interleaved(frame, members)
    queue.push(item, bound: max(bound, least))
  }

  /// A lower bound of all plans of several cuts, whatever their layers compute again; nil where there is no choice.
  private mutating func jointBound(_ frame: Space.Frame, _ members: [Member], _ cutoff: Int64) throws -> Int64? {
    let ties = space.certainTies(stages: frame.stages)
    guard let base = try frameModel(frame.recomputing(space.recomputes[0]), ties) else { return nil }
    let joint = JointWeights(base.operators, members.map { Configuration(base.frame, $0.schedule, $0.cut, space: space) })
    guard let relaxed = try base.minimum.least(joint.objective, cutoff: cutoff) else {
      note(.forbidden)
      return nil
    }
    guard relaxed.sum < cutoff, let choice = relaxed.choice, base.minimum.memory(choice, joint.load.row()) > limit else { return relaxed.sum }
    let models = try [base] + space.recomputes.dropFirst().compactMap { try frameModel(frame.recomputing($0), ties) }
    return max(
      relaxed.sum,
      try boundWithPrice(models, joint.objective, joint.load.row(), nil, relaxed: choice, frame, cutoff).bound)
  }

  private mutating func cuts(_ frame: Space.Frame, _ schedule: Schedule) -> [[Int]] {
    let key = [frame.stages, schedule.chunks, space.request.cluster.isUniform ? 0 : frame.size]
    if let known = cuts[key] { return known }
    let cuts = space.cuts(frame, schedule)
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
    let pricings = try space.pricings(frame, on: placed, model: model(frame))
    let strategies = space.strategies(pricings[0], frame)
    if strategies.contains(where: \.isEmpty) { return nil }
    return FoldedModel(
      pricings: pricings, strategies: strategies, ties: ties, zero: space.request.zero, recompute: space.recompute(frame),
      link: placed.stageLink, wrapLink: placed.wrapLink)
  }

  private mutating func placed(stages: Int, mesh: [Int]) -> Space.Placed {
    let key = [stages] + mesh
    if let known = placedMeshes[key] { return known }
    let placed = space.placed(stages: stages, mesh: mesh)
    placedMeshes[key] = placed
    return placed
  }

  /// A frame's choices, in the forms that questions about it need.
  private final class FrameModel {
    let frame: Space.Frame
    let ties: Ties
    /// Not connected.
    let operators: FoldedModel
    let variants: Range<SegmentID>?
    /// For least weighted sums.
    private(set) lazy var minimum = BlockMinimum(operators, variants: variants)
    /// For complete problems.
    private(set) lazy var connected: FoldedModel = {
      var model = operators
      model.connect(variants: variants)
      return model
    }()

    init(frame: Space.Frame, ties: Ties, operators: FoldedModel, variants: Range<SegmentID>?) {
      (self.frame, self.ties, self.operators, self.variants) = (frame, ties, operators, variants)
    }
  }

  /// The model of a frame; `operators` are its operators under these ties, where they are at hand. Nil where an operator has no strategy left.
  private mutating func frameModel(_ frame: Space.Frame, _ ties: Ties, _ known: FoldedModel? = nil) throws -> FrameModel? {
    if let index = recentModels.lastIndex(where: { $0.frame == frame && $0.ties == ties }) {
      let entry = recentModels.remove(at: index)
      recentModels.append(entry)
      return entry
    }
    guard let operators = try known ?? operators(frame, ties) else { return nil }
    if recentModels.count == Self.mostRecentModels { recentModels.removeFirst() }
    let model = FrameModel(frame: frame, ties: ties, operators: operators, variants: frame.first == nil ? nil : space.variants?.segments)
    recentModels.append(model)
    return model
  }

  /// The operators of a frame without the strategies whose bounds reach the cutoff, not connected; with no strategies at all where there are no bounds.
  private mutating func restricted(_ model: FrameModel, _ bounds: [[Int64]]?, _ cutoff: Int64) -> FoldedModel {
    let operators = model.operators
    let placed = placed(stages: model.frame.stages, mesh: model.frame.mesh)
    let strategies = operators.strategies.enumerated().map { op, strategies in
      bounds.map { bounds in strategies.enumerated().filter { bounds[op][$0.offset] < cutoff }.map(\.element) } ?? []
    }
    return FoldedModel(
      pricings: operators.pricings, strategies: strategies, ties: model.ties, zero: space.request.zero, recompute: operators.recompute,
      link: placed.stageLink, wrapLink: placed.wrapLink)
  }

  // MARK: - A cut

  /// Bounds a cut with a price on the memory of its fullest stage. Each layer is then best off by itself, so the best kind of layer bounds all
  /// ways to mix kinds.
  private mutating func bound(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws {
    priced += 1
    var (alike, mixed) = (bound, bound)
    if let cutoff {
      alike = max(bound, try boundOfKinds(space.recomputes, frame, schedule, cut, cutoff).bound)
      if !space.mixes.isEmpty { mixed = max(bound, try boundOfMixes(space.recomputes, frame, schedule, cut, cutoff).bound) }
    }
    if alike < cutoff ?? .max { queue.push(.alike(frame, schedule, cut), bound: alike) }
    if !space.mixes.isEmpty, cut.max()! > 1, space.allowsMixes(schedule, cut), mixed < cutoff ?? .max {
      queue.push(.mixed(frame, schedule, cut), bound: mixed)
    }
  }

  /// Solves a cut with all layers alike, for each kind of recompute.
  private mutating func solveAlike(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws {
    for recompute in space.recomputes {
      guard space.allowsAlike(recompute, cut: cut) else { continue }
      if isLate { return leaveOpen(bound) }
      _ = try solve(frame.recomputing(recompute), schedule, cut, bound: bound)
    }
  }

  /// Solves a cut with two kinds of layers on each stage, for each pair of kinds.
  private mutating func solveMixed(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws {
    let most = cut.max()! - 1
    for (first, rest) in space.mixes {
      if isLate { return leaveOpen(bound) }
      var price: Price?
      if let cutoff {
        let (bound, found) = try boundOfMixes(first == rest ? [rest] : [rest, first], frame, schedule, cut, cutoff)
        if bound >= cutoff { continue }
        price = found
      }
      // Which of two kinds that compute the same again comes first is all one where every stage holds as many.
      var counts = 1...(first == rest && cut.allSatisfy { $0 == most + 1 } ? (most + 1) / 2 : most)
      if let fixed = space.request.recomputedLayers {
        guard counts.contains(fixed) else { continue }
        counts = fixed...fixed
      }
      let frame = frame.recomputing(rest, first: first)
      // What a chain weighs is linear in the number from one stage's layers to the next larger stage's.
      var start = counts.lowerBound
      for end in Set(cut + [counts.upperBound]).sorted() where end >= start && start <= counts.upperBound {
        let linear = start...min(end, counts.upperBound)
        start = end + 1
        let model = try modelOfMixes(frame, schedule, cut, firsts: linear, price)
        if let model, !model.operators.isPossible { continue }
        try solve(frame, schedule, cut, firsts: linear, bound: bound, model)
      }
    }
  }

  /// The model of two kinds of layers without the strategies that no plan of interest can take, whatever the number of layers of the first kind: the
  /// least weighted sum with a strategy is concave in the number, so that what reaches the cutoff at both ends of a range does so between.
  ///
  /// - Returns: nil where nothing can be left out.
  private mutating func modelOfMixes(
    _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], firsts: ClosedRange<Int>, _ price: Price?
  ) throws -> FrameModel? {
    let ties = space.ties(frame, cut: cut, first: firsts.lowerBound)
    guard let cutoff, firsts.allSatisfy({ space.ties(frame, cut: cut, first: $0) == ties }),
      let model = try frameModel(frame, ties)
    else { return nil }
    let path = Configuration(frame, schedule, cut, first: firsts.lowerBound, space: space).promisingPath(model.operators)
    let objectives = [firsts.lowerBound, firsts.upperBound].map { first in
      let configuration = Configuration(frame, schedule, cut, first: first, space: space)
      var objective = BlockTables.Objective(configuration, path, segments: model.operators.pricing.graph.segments.count)
      if let price {
        objective.price = .init(row: configuration.loads(ofStage: price.stage)[0].row(), limit: limit, ticksPerByte: price.ticksPerByte)
      }
      return objective
    }
    // Most ranges have nothing of interest at all.
    if try objectives.allSatisfy({ try model.minimum.least($0, cutoff: cutoff).map { $0.sum >= cutoff } ?? true }) {
      return FrameModel(frame: frame, ties: ties, operators: restricted(model, nil, cutoff), variants: model.variants)
    }
    var least: [[Int64]]?
    for objective in objectives {
      guard let bounds = try model.minimum.leastByStrategy(objective) else { return nil }
      least = least.map { zip($0, bounds).map { zip($0, $1).map { min($0, $1) } } } ?? bounds
    }
    guard let least else { return nil }
    return FrameModel(frame: frame, ties: ties, operators: restricted(model, least, cutoff), variants: model.variants)
  }

  /// Solves a cut for a range of numbers of layers of the first kind. The least weighted sum under one price is concave in the number: where it reaches the
  /// cutoff at two numbers it does so at all between.
  private mutating func solve(
    _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], firsts: ClosedRange<Int>, bound: Int64, _ model: FrameModel?
  ) throws {
    if isLate { return leaveOpen(bound) }
    let middle = (firsts.lowerBound + firsts.upperBound) / 2
    let exclusion = try solve(frame, schedule, cut, first: middle, bound: bound, model)
    for (side, end) in [
      (firsts.lowerBound..<middle, firsts.lowerBound), (middle + 1..<firsts.upperBound + 1, firsts.upperBound),
    ] where !side.isEmpty {
      if let exclusion, try excludes(exclusion, frame, schedule, cut, first: end, model) { continue }
      try solve(frame, schedule, cut, firsts: ClosedRange(side), bound: bound, model)
    }
  }

  /// Why a configuration has no plan below the cutoff: the chain, and the price on memory if one was needed.
  private struct Exclusion {
    let ties: Ties
    let path: PipelineTimeline.Path
    let price: (stage: Int, op: OperatorID?, ticksPerByte: Double)?
  }

  /// Whether what excluded a configuration excludes the one with another number of layers of the first kind too.
  private mutating func excludes(
    _ exclusion: Exclusion, _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], first: Int, _ model: FrameModel?
  ) throws -> Bool {
    let ties = space.ties(frame, cut: cut, first: first)
    guard let cutoff, ties == exclusion.ties, let model = try model ?? frameModel(frame, ties) else { return false }
    let configuration = Configuration(frame, schedule, cut, first: first, space: space)
    var objective = BlockTables.Objective(configuration, exclusion.path, segments: model.operators.pricing.graph.segments.count)
    objective.price = exclusion.price.map {
      .init(row: configuration.loads(ofStage: $0.stage)[0].row($0.op), limit: limit, ticksPerByte: $0.ticksPerByte)
    }
    guard let least = try model.minimum.least(objective, cutoff: cutoff) else { return true }
    return least.sum >= cutoff
  }

  /// A lower bound of all plans of a cut whose layers are of some kinds, in any mix that is in the space, and a price on memory that suits it.
  private mutating func boundOfMixes(
    _ kinds: [Recompute], _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], _ cutoff: Int64
  ) throws -> (bound: Int64, price: Price?) {
    let alike = try boundOfKinds(kinds, frame, schedule, cut, cutoff)
    if space.isBoundedByKinds(schedule, cut) { return alike }
    guard schedule.chunks == 1 else { return (0, alike.price) }
    let least = frame.recomputing(kinds[0])
    guard let base = try frameModel(least, space.ties(least, cut: cut)) else { return (cutoff, nil) }
    let configuration = Configuration(least, schedule, cut, space: space)
    var path = configuration.promisingPath(base.operators)
    let critical = path.forward.indices.max { (path.forward[$0], $1) < (path.forward[$1], $0) }!
    let layer = space.layerSegments.lowerBound
    let graph = base.operators.pricing.graph
    let forward = FrameBounds.least(base.operators.nodes, graph) { $0.forward[$1] }[layer]
    let backward = FrameBounds.least(base.operators.nodes, graph) { $0.backward[$1] }[layer]
    guard let price = alike.price else {
      // What another stage does once counts little in the chain, and much in what its share of the first kind may differ by.
      for stage in cut.indices where cut[stage] != cut[critical] { path.once[stage] = 0 }
      let objective = BlockTables.Objective(configuration, path, segments: graph.segments.count)
      let key = RelaxedKey(frame: least, ties: base.ties, weights: configuration.weights(base.operators, path))
      guard let relaxed = try relaxed(base, objective, key, cutoff) else { return (cutoff, nil) }
      let mixes = MixBound(cut, path, reference: critical, forward: forward, backward: backward)
      return (min(alike.bound, mixes.least(alike: relaxed.sum)), nil)
    }
    let mixes = MixBound(cut, path, reference: price.stage, forward: forward, backward: backward)
    let row = configuration.loads(ofStage: price.stage)[0].row()
    let allowance = BlockTables.Price(row: row, limit: limit, ticksPerByte: price.ticksPerByte).allowance
    let closer = max(
      mixes.least(alike: alike.bound + allowance) - allowance, try pricedCuts(kinds, frame, schedule, price)?.bound(cut: cut) ?? 0)
    return (min(alike.bound, closer), price)
  }

  private mutating func pricedCuts(_ kinds: [Recompute], _ frame: Space.Frame, _ schedule: Schedule, _ price: Price) throws -> PricedCuts? {
    let key = PricedCutsKey(frame: frame.recomputing(.none), schedule: schedule, kinds: Set(kinds), ticksPerByte: price.ticksPerByte)
    if let known = knownCuts[key] { return known }
    let ties = space.certainTies(stages: frame.stages)
    let models = try kinds.compactMap { try frameModel(frame.recomputing($0), ties) }
    guard !models.isEmpty, let least = try frameModel(frame.recomputing(space.recomputes[0]), ties) else { return nil }
    if fills[key.frame] == nil {
      if fills.count == Self.mostKnownCuts { fills.removeAll() }
      fills[key.frame] = try PricedCuts.Fill(least.operators, least.minimum, space)
    }
    guard let fill = fills[key.frame] else { return nil }
    if knownCuts.count == Self.mostKnownCuts { knownCuts.removeAll() }
    let cuts = try PricedCuts(
      models.map { ($0.operators, $0.minimum) }, space, frame, schedule, fill: fill, price: price.ticksPerByte, limit: limit)
    knownCuts[key] = .some(cuts)
    return cuts
  }

  private struct PricedCutsKey: Hashable {
    let frame: Space.Frame
    let schedule: Schedule
    let kinds: Set<Recompute>
    let ticksPerByte: Double
  }

  private var knownCuts: [PricedCutsKey: PricedCuts?] = [:]
  private var fills: [Space.Frame: PricedCuts.Fill] = [:]
  private static let mostKnownCuts = 256

  /// A lower bound of all plans of a cut whose layers are alike, of one of some kinds, and the price on memory that gives it. Where all stages hold as many
  /// layers it bounds the mixes too.
  private mutating func boundOfKinds(
    _ kinds: [Recompute], _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], _ cutoff: Int64
  ) throws -> (bound: Int64, price: Price?) {
    let least = frame.recomputing(kinds[0])
    let ties = space.ties(least, cut: cut)
    guard let base = try frameModel(least, ties) else { return (cutoff, nil) }
    let configuration = Configuration(least, schedule, cut, space: space)
    let path = configuration.promisingPath(base.operators)
    let objective = BlockTables.Objective(configuration, path, segments: base.operators.pricing.graph.segments.count)
    let key = RelaxedKey(frame: least, ties: ties, weights: configuration.weights(base.operators, path))
    let rows = (0..<frame.stages).map { configuration.loads(ofStage: $0)[0].row() }
    let group = CutGroup(frame: least, ties: ties, kinds: kinds)
    if let known = excluded[group]?.first(where: { $0.bound >= cutoff && $0.isCovered(by: key.weights, rows) }) {
      return (known.bound, known.price(rows))
    }
    guard let relaxed = try relaxed(base, objective, key, cutoff) else { return (cutoff, nil) }
    guard relaxed.sum < cutoff, let choice = relaxed.choice else {
      excluded[group, default: []].append(ExcludedCut(weights: key.weights, row: nil, price: nil, bound: relaxed.sum))
      return (relaxed.sum, nil)
    }
    let used = rows.map { base.minimum.memory(choice, $0) }
    guard let stage = used.indices.max(by: { used[$0] < used[$1] }), used[stage] > limit else { return (relaxed.sum, nil) }
    let priced = PricedKey(relaxed: key, kinds: kinds, row: rows[stage])
    if let known = pricedBounds[priced] {
      // Of another cut, perhaps, where another stage holds as much.
      return (known.bound, known.price.map { Price(stage: stage, ticksPerByte: $0.ticksPerByte) })
    }
    let models = try [base] + kinds.dropFirst().compactMap { try frameModel(frame.recomputing($0), ties) }
    let (closer, found) = try boundWithPrice(models, objective, rows[stage], stage, relaxed: choice, frame, cutoff)
    let bound = max(relaxed.sum, closer)
    // Who is told a price takes the bound for the one that this price gives.
    let price = closer < relaxed.sum ? nil : found.map { Price(stage: stage, ticksPerByte: $0.ticksPerByte) }
    pricedBounds[priced] = (bound, price)
    if bound >= cutoff { excluded[group, default: []].append(ExcludedCut(weights: key.weights, row: rows[stage], price: price, bound: bound)) }
    return (bound, price)
  }

  /// The least length of a chain with memory relaxed, whichever cut it is of; nil where there is no choice.
  private mutating func relaxed(_ model: FrameModel, _ objective: BlockTables.Objective, _ key: RelaxedKey, _ cutoff: Int64) throws -> (
    sum: Int64, choice: [Int]?
  )? {
    if let known = relaxedBounds[key] { return known }
    guard let least = try model.minimum.least(objective, cutoff: cutoff) else {
      note(.forbidden)
      return nil
    }
    relaxedBounds[key] = least
    return least
  }

  /// A lower bound of a chain over models that differ in what layers compute again, with a price on one memory row: the price that excluded another
  /// cut of the frame, or else the best one, where the lines of two choices meet (the intersection method of Lagrangian relaxation).
  ///
  /// - Parameters:
  ///   - stage: whose row it is; nil for several configurations together, whose price is remembered in any case, so that it need not be found again.
  ///   - relaxed: a choice of the first model that exceeds the row's limit.
  private mutating func boundWithPrice(
    _ models: [FrameModel], _ objective: BlockTables.Objective, _ row: BlockTables.MemoryRow, _ stage: Int?, relaxed: [Int], _ frame: Space.Frame,
    _ cutoff: Int64
  ) throws -> (bound: Int64, price: BlockTables.Price?) {
    /// What a choice takes without a price on memory, and its bytes above the limit.
    func line(_ model: FrameModel, _ choice: [Int]) -> (time: Double, excess: Double) {
      (Double(model.minimum.time(choice, objective)), Double(model.minimum.memory(choice, row) - limit))
    }
    var above = line(models[0], relaxed)
    var below: (time: Double, excess: Double)?
    var best: (bound: Int64, price: BlockTables.Price?) = (.min, nil)
    let key = [frame.stages, frame.microBatches, stage ?? -1] + frame.mesh
    var objective = objective
    var price = prices[key] ?? above.time / Double(limit)
    let known = stage == nil ? prices[key] : nil
    for _ in 0..<(known == nil ? Self.mostPrices : 2) {
      objective.price = .init(row: row, limit: limit, ticksPerByte: price)
      var least = Int64.max
      var next: (time: Double, excess: Double)?
      for model in models {
        guard let found = try model.minimum.least(objective, cutoff: cutoff), found.sum < least else { continue }
        least = found.sum
        next = found.choice.map { line(model, $0) }
      }
      if least > best.bound {
        best = (least, objective.price)
        if stage == nil { prices[key] = price }
      }
      if least >= cutoff {
        prices[key] = price
        return best
      }
      guard let next else { return best }
      if next.excess > 0 { above = next } else { below = next }
      guard let below else {
        price *= 10
        continue
      }
      let meeting = (below.time - above.time) / (above.excess - below.excess)
      guard meeting > 0, abs(meeting - price) > 1e-3 * price else { break }
      price = meeting
    }
    return best
  }

  // MARK: - One configuration

  /// - Returns: why there is nothing of interest, where a lower bound says so.
  private mutating func solve(
    _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], first: Int = 0, bound: Int64, _ known: FrameModel? = nil
  ) throws -> Exclusion? {
    if isLate {
      leaveOpen(bound)
      return nil
    }
    let ties = space.ties(frame, cut: cut, first: first)
    guard let frameModel = try known ?? frameModel(frame, ties) else { return nil }
    let configuration = Configuration(frame, schedule, cut, first: first, space: space)
    priced += 1
    var paths = [configuration.promisingPath(frameModel.operators)]
    var reduced: FoldedModel?
    // Most configurations are out of the question whatever memory they need.
    if let cutoff {
      var objective = BlockTables.Objective(configuration, paths[0], segments: frameModel.operators.pricing.graph.segments.count)
      let key = RelaxedKey(frame: frame, ties: ties, weights: configuration.weights(frameModel.operators, paths[0]))
      guard let relaxed = try known.map({ try $0.minimum.least(objective, cutoff: cutoff) }) ?? relaxed(frameModel, objective, key, cutoff) else {
        return nil
      }
      if relaxed.sum >= cutoff { return Exclusion(ties: ties, path: paths[0], price: nil) }
      if let choice = relaxed.choice {
        let rows = configuration.memoryRows(frameModel.operators).map { ($0.load.stage, $0.load.row($0.op)) }
        let used = rows.map { frameModel.minimum.memory(choice, $0.1) }
        if let most = used.indices.max(by: { used[$0] < used[$1] }), used[most] > limit {
          let (bound, price) = try boundWithPrice([frameModel], objective, rows[most].1, rows[most].0, relaxed: choice, frame, cutoff)
          if bound >= cutoff {
            return price.map { Exclusion(ties: ties, path: paths[0], price: (rows[most].0, rows[most].1.op, $0.ticksPerByte)) }
          }
          if bound > relaxed.sum { objective.price = price }
        }
      }
      // What no plan of interest can take is left out of the complete problem.
      if let bounds = try frameModel.minimum.leastByStrategy(objective) {
        reduced = restricted(frameModel, bounds, cutoff)
        if reduced!.isPossible { reduced!.connect(variants: frameModel.variants) }
      }
    }
    let model = reduced ?? frameModel.connected
    if !model.isPossible {
      if reduced == nil { note(.forbidden) }
      return nil
    }
    while true {
      let problem = try configuration.problem(model, paths: paths, limit: limit)
      let outcome = try problem.solve(SolveOptions(stop: monitor.stop, cutoff: cutoff))
      switch outcome.status {
      case .cutoff: return nil
      case .infeasible(let why):
        if why != .forbidden { infeasible += 1 }
        if best == nil { note(try exactly(why, configuration, model)) }
        return nil
      case .timeLimit:
        if let choice = outcome.choice { _ = record(model, frame, schedule, cut, first, configuration, choice) }
        leaveOpen(max(bound, outcome.lowerBound))
        return nil
      case .optimal: break
      }
      guard let choice = outcome.choice else { return nil }
      let timeline = record(model, frame, schedule, cut, first, configuration, choice)
      if timeline.end <= outcome.lowerBound + Outcome.tolerance(of: timeline.end) || paths.contains(timeline.critical) { return nil }
      paths.append(timeline.critical)
    }
  }

  private static let mostPrices = 5

  private mutating func record(
    _ model: FoldedModel, _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], _ first: Int, _ configuration: Configuration, _ choice: [Int]
  ) -> PipelineTimeline {
    let choice = model.withoutIdleHoldings(choice)
    let timeline = configuration.timeline(configuration.stageTimes(model, choice))
    let known = found.firstIndex { $0.frame == frame && $0.schedule == schedule }
    if timeline.end < (known ?? (found.count < space.request.top ? nil : found.count - 1)).map({ found[$0].objective }) ?? .max {
      let strategies = model.strategies.indices.map { model.strategies[$0][choice[model.nodeOfOperator[$0]]] }
      if let known { found.remove(at: known) } else if found.count == space.request.top { found.removeLast() }
      let candidate = Candidate(
        frame: frame, schedule: schedule, cut: cut, first: first, strategies: strategies, zero: model.zeroStages(choice),
        objective: timeline.end)
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
    case .memory(_, var least, let given):
      // Of a stage with less memory than the largest device, as if the rest were taken.
      least += limit - given
      if case .memory(let known, _) = shortfall, known <= least { return }
      shortfall = .memory(least: least, limit: limit)
    case .memoryTogether, .memoryUndetermined: break
    }
  }
}
