// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Quantities
import Search
import Strategies

/// From all pipeline degrees and numbers of micro-batches to the cuts of single frames.
extension PlanSearch {
  /// Bounds every pipeline degree and micro-batch count, and looks for a first plan where memory is plentiful: for each pipeline degree the evenest
  /// cut of the frame with the lowest bound that would fill at most half of a device. The search is exact without it, but prunes less.
  mutating func seed() throws {
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
      let frames = try promising.flatMap { try boundedFrames(stages: stages, size: size, microBatches: $0.microBatches, areFine: false) }.sorted {
        $0.bound < $1.bound
      }
      for (frame, bound) in frames.flatMap({ frame in space.recomputes.map { (frame.frame.recomputing($0), frame.bound) } }) {
        if bound >= cutoff ?? .max || isLate { break }
        guard var bounds = try bounds(frame) else { continue }
        var isPlentiful = false
        for schedule in space.seedSchedules(frame) {
          let cut = space.evenCut(stages: stages, chunks: schedule.chunks)
          guard space.allowsAlike(frame.recompute, cut: cut), bounds.leastMemory(schedule, cut: cut) <= limit / 2 else { continue }
          _ = try solve(frame, schedule, cut, bound: bound, isSeed: true)
          isPlentiful = true
        }
        if isPlentiful { break }
      }
    }
  }

  static let seedsPerDegree = 3

  /// The bounds of a pipeline degree, a size of its stages and a number of micro-batches.
  mutating func axisBounds(_ stages: Int, _ size: Int, _ microBatches: Int) throws -> AxisBounds {
    let key = [stages, size, microBatches]
    if let known = axes[key] { return known }
    let link = placed(stages: stages, mesh: [size]).stageLink
    let bounds = try AxisBounds(
      space, stages: stages, size: size, microBatches: microBatches,
      model: model(Space.Frame(stages: stages, mesh: [], microBatches: microBatches)), rates: rates, link: link, structures: structures)
    axes[key] = bounds
    return bounds
  }

  mutating func leastOf(_ stages: Int, _ size: Int, _ microBatches: Int) throws -> Int64 {
    try axisBounds(stages, size, microBatches).withoutConversions.min() ?? 0
  }

  /// A lower bound that is quickly had, for stages that leave devices idle.
  mutating func countBound(_ stages: Int, _ size: Int, _ microBatches: Int) throws -> Int64 {
    if countBounds[microBatches] == nil {
      let model = model(Space.Frame(stages: 1, mesh: [], microBatches: microBatches))
      countBounds[microBatches] = CountBounds(space, microBatches: microBatches, model: model, rates: rates)
    }
    return countBounds[microBatches]?.bound(stages: stages, size: size) ?? 0
  }

  mutating func model(_ frame: Space.Frame) -> Pricing.Model {
    let key = ModelKey(microBatches: frame.microBatches, differs: frame.first != nil)
    if let known = models[key] { return known }
    let model = space.model(frame)
    models[key] = model
    return model
  }

  /// The frames of a pipeline degree, a size of its stages and a number of micro-batches, with lower bounds: those of meshes with more axes than two,
  /// or the others.
  mutating func boundedFrames(stages: Int, size: Int, microBatches: Int, areFine: Bool) throws -> [(frame: Space.Frame, bound: Int64)] {
    let bounds = try axisBounds(stages, size, microBatches)
    let frames = space.frames(stages: stages, size: size, microBatches: microBatches).filter { Space.isFine($0.mesh) == areFine }
    return try frames.map { frame in
      (frame, try bounds.bound(placed(stages: stages, mesh: frame.mesh), mesh: frame.mesh, cutoff: cutoff ?? .max))
    }
  }

  mutating func expand(stages: Int, size: Int, microBatches: Int) throws {
    if let smaller = space.size(below: size, stages: stages) {
      queue.push(.meshes(stages: stages, size: smaller, microBatches: microBatches), bound: try countBound(stages, smaller, microBatches))
    }
    if let cutoff, try leastOf(stages, size, microBatches) >= cutoff {
      pruned += 1
      return
    }
    for (frame, bound) in try boundedFrames(stages: stages, size: size, microBatches: microBatches, areFine: false) {
      queue.push(.frame(frame), bound: bound)
    }
    if space.meshes(size: size).contains(where: Space.isFine) {
      later.push(.fineMeshes(stages: stages, size: size, microBatches: microBatches), bound: try leastOf(stages, size, microBatches))
    }
  }

  mutating func expandFine(stages: Int, size: Int, microBatches: Int) throws {
    for (frame, bound) in try boundedFrames(stages: stages, size: size, microBatches: microBatches, areFine: true) {
      queue.push(.frame(frame), bound: bound)
    }
  }

  /// Bounds the cuts of a mesh's frame. Its layers compute as little again as they may: more takes more time, and less memory.
  mutating func expand(_ frame: Space.Frame) throws {
    try climbNowAndThen()
    if try isExcludedByStrategies(frame) {
      pruned += 1
      return
    }
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
    // Nor do cuts matter where nothing fits so far and none comes closer.
    if cutoff == nil, case .memory(let known, _) = shortfall, try leastMemoryOfFullest(bounds, frame, atLeast: known) >= known {
      infeasible += space.schedules(frame).reduce(0) { $0 + cuts(frame, $1).count }
      return
    }
    var mixed = try MixedBounds(bounds.operators, space: space, frame: frame, structures: structures)
    var interleaved: [BoundedCut] = []
    var left: [BoundedCut] = []
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
          interleaved.append(BoundedCut(schedule: schedule, cut: cut, bound: bound))
        } else {
          left.append(BoundedCut(schedule: schedule, cut: cut, bound: bound))
        }
      }
      connected = closer
    }
    push(frame, interleaved, least: 0, isPriced: false)
    try push(frame, left, isPriced: space.request.ignoresMemoryLimit)
  }

  mutating func push(_ frame: Space.Frame, _ cuts: [BoundedCut], isPriced: Bool) throws {
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
  mutating func expand(_ open: OpenFrame) throws {
    let frame = open.frame
    let left = open.cuts.filter { $0.bound < cutoff ?? .max }
    pruned += open.cuts.count - left.count
    guard let least = left.first else { return }
    if !open.isPriced {
      let (bound, price) = try boundOfKinds(space.recomputes, frame, least.schedule, least.cut, cutoff ?? Problem.largestSum)
      guard let price else {
        // Memory is no matter where time is least.
        let closer = space.isBoundedByKinds(least.schedule, least.cut) ? max(least.bound, bound) : least.bound
        return try push(frame, [BoundedCut(schedule: least.schedule, cut: least.cut, bound: closer)] + left.dropFirst(), isPriced: true)
      }
      return try push(
        frame,
        left.enumerated().map { number, cut in
          let priced = max(cut.bound, try pricedCuts(space.recomputes, frame, cut.schedule, price)?.bound(cut: cut.cut) ?? 0)
          let isBounded = number == 0 && space.isBoundedByKinds(cut.schedule, cut.cut)
          return BoundedCut(schedule: cut.schedule, cut: cut.cut, bound: isBounded ? max(priced, bound) : priced)
        }, isPriced: true)
    }
    for cut in left { queue.push(.cut(frame, cut.schedule, cut.cut), bound: cut.bound) }
  }

  /// Bounds interleaved cuts of a frame together, then each by the price on memory that this gives, and what that leaves in two halves: first of
  /// the numbers of chunks, then of the cuts for one.
  mutating func split(_ frame: Space.Frame, _ all: [BoundedCut], isPriced: Bool) throws {
    guard let least = try jointBound(frame, all, cutoff ?? .max) else { return }
    if least >= cutoff ?? .max {
      pruned += all.count
      return
    }
    let members = isPriced ? all : try pricedChunks(frame, all)
    pruned += all.count - members.count
    if members.isEmpty { return }
    // A bound of one cut is cheaper than one of several, of which few are excluded together.
    if members.count <= Self.fewCuts {
      for member in members { push(frame, [member], least: least, isPriced: true) }
      return
    }
    var middle = members.count / 2
    if members[0].schedule != members[members.count - 1].schedule {
      while middle < members.count && members[middle].schedule == members[middle - 1].schedule { middle += 1 }
      if middle == members.count { middle = members.firstIndex { $0.schedule == members[members.count - 1].schedule } ?? members.count / 2 }
    }
    push(frame, Array(members[..<middle]), least: least, isPriced: true)
    push(frame, Array(members[middle...]), least: least, isPriced: true)
  }

  static let fewCuts = 16

  mutating func push(_ frame: Space.Frame, _ members: [BoundedCut], least: Int64, isPriced: Bool) {
    guard let bound = members.map(\.bound).min() else { return }
    let item: Item = members.count == 1 ? .cut(frame, members[0].schedule, members[0].cut) : .interleaved(frame, members, isPriced: isPriced)
    queue.push(item, bound: max(bound, least))
  }

  /// The interleaved cuts that the price on memory which suits all of them together leaves, with their bounds.
  mutating func pricedChunks(_ frame: Space.Frame, _ members: [BoundedCut]) throws -> [BoundedCut] {
    guard let price = prices[priceKey(frame, stage: nil)], let cutoff else { return members }
    let ties = space.certainTies(stages: frame.stages)
    let models = try space.recomputes.compactMap { try frameModel(frame.recomputing($0), ties) }
    guard let least = models.first, let fill = try fill(frame, least),
      let chunks = try PricedChunks(models.map { ($0.operators, $0.minimum) }, space, frame, members, fill: fill, price: price, limit: limit)
    else { return members }
    return members.compactMap { member in
      let bound = max(member.bound, chunks.bound(member.schedule, cut: member.cut))
      return bound >= cutoff ? nil : BoundedCut(schedule: member.schedule, cut: member.cut, bound: bound)
    }
  }

  /// A lower bound of all plans of several cuts, whatever their layers compute again; nil where there is no choice.
  mutating func jointBound(_ frame: Space.Frame, _ members: [BoundedCut], _ cutoff: Int64) throws -> Int64? {
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

  mutating func cuts(_ frame: Space.Frame, _ schedule: Schedule) -> [[Int]] {
    let key = [frame.stages, schedule.chunks, space.request.cluster.isUniform ? 0 : frame.size]
    if let known = cuts[key] { return known }
    let cuts = space.cuts(frame, schedule)
    self.cuts[key] = cuts
    return cuts
  }

  mutating func bounds(_ frame: Space.Frame) throws -> FrameBounds? {
    guard let model = try operators(frame, space.certainTies(stages: frame.stages)) else { return nil }
    return FrameBounds(model, space: space, frame: frame)
  }

  /// The operators of a frame, not connected; nil where one has no strategy left.
  mutating func operators(_ frame: Space.Frame, _ ties: Ties) throws -> FoldedModel? {
    if !frame.runs.isEmpty { return try space.operators(frame, ties) }
    let placed = placed(stages: frame.stages, mesh: frame.mesh)
    let prices = try meshPrices(frame)
    let strategies = strategiesLeft(space.strategies(prices.pricings[0], frame, structures), frame)
    if strategies.contains(where: \.isEmpty) { return nil }
    return FoldedModel(
      pricings: prices.pricings, strategies: strategies, ties: ties, zero: space.request.givenZeRO, recompute: space.recompute(frame),
      resharder: prices.resharder, link: placed.stageLink, wrapLink: placed.wrapLink,
      prices: frame.first == nil && left[frame.recomputing(.none)] != nil ? nil : prices.operators)
  }

  /// What frames that differ only in what their layers compute again have in common.
  struct MeshPrices {
    let pricings: [Pricing]
    /// Of the first.
    let resharder: Resharder
    /// For each pricing, with all strategies that the constraints leave.
    let operators: [OperatorPrices]
  }

  mutating func meshPrices(_ frame: Space.Frame) throws -> MeshPrices {
    let key = frame.first == nil ? frame.recomputing(.none) : frame.recomputing(.none, first: Recompute.none)
    if let known = meshPrices[key] { return known }
    let pricings = try space.pricings(frame, on: placed(stages: frame.stages, mesh: frame.mesh), model: model(frame))
    if meshPrices.count == Self.mostRecentModels { meshPrices.removeAll() }
    let prices = MeshPrices(pricings: pricings, resharder: Resharder(pricings[0]), operators: pricings.map { _ in OperatorPrices() })
    meshPrices[key] = prices
    return prices
  }

  mutating func placed(stages: Int, mesh: [Int]) -> Space.Placed {
    let key = [stages] + mesh
    if let known = placedMeshes[key] { return known }
    let placed = space.placed(stages: stages, mesh: mesh)
    placedMeshes[key] = placed
    return placed
  }

  /// A frame's choices, in the forms that questions about it need.
  final class FrameModel {
    let frame: Space.Frame
    let ties: Ties
    /// Not connected.
    let operators: FoldedModel
    let variants: Range<SegmentID>?
    private let structures: KnownStructures
    /// By segment, what one copy's passes take where every operator has its least.
    private(set) lazy var leastForward = FrameBounds.least(operators.nodes, operators.pricing.graph) { $0.forward[$1] }
    private(set) lazy var leastBackward = FrameBounds.least(operators.nodes, operators.pricing.graph) { $0.backward[$1] }
    /// For least weighted sums.
    private(set) lazy var minimum = BlockMinimum(operators, variants: variants, structures: structures)
    /// For complete problems.
    private(set) lazy var connected: FoldedModel = {
      var model = operators
      model.connect(variants: variants)
      return model
    }()

    init(frame: Space.Frame, ties: Ties, operators: FoldedModel, variants: Range<SegmentID>?, structures: KnownStructures) {
      (self.frame, self.ties, self.operators, self.variants, self.structures) = (frame, ties, operators, variants, structures)
    }
  }

  /// The model of a frame; `operators` are its operators under these ties, where they are at hand. Nil where an operator has no strategy left.
  mutating func frameModel(_ frame: Space.Frame, _ ties: Ties, _ known: FoldedModel? = nil) throws -> FrameModel? {
    if let index = recentModels.lastIndex(where: { $0.frame == frame && $0.ties == ties }) {
      let entry = recentModels.remove(at: index)
      recentModels.append(entry)
      return entry
    }
    guard let operators = try known ?? operators(frame, ties) else { return nil }
    if recentModels.count == Self.mostRecentModels { recentModels.removeFirst() }
    let model = FrameModel(
      frame: frame, ties: ties, operators: operators, variants: frame.first == nil ? nil : space.variants?.segments,
      structures: structures)
    recentModels.append(model)
    return model
  }

  /// The operators of a frame without the strategies whose bounds reach the cutoff, not connected.
  mutating func restricted(_ model: FrameModel, _ bounds: [[Int64]], _ cutoff: Int64) -> FoldedModel {
    filtered(model) { op, strategy in bounds[op][strategy] < cutoff }
  }

  /// The operators of a frame with some of their strategies, not connected.
  mutating func filtered(_ model: FrameModel, _ isKept: (OperatorID, Int) -> Bool) -> FoldedModel {
    let operators = model.operators
    let strategies = operators.strategies.enumerated().map { op, strategies in
      strategies.enumerated().filter { isKept(op, $0.offset) }.map(\.element)
    }
    if let runs = operators.runs {
      return FoldedModel(
        runs: runs, strategies: strategies, ties: model.ties, zero: space.request.givenZeRO, recompute: operators.recompute)
    }
    let placed = placed(stages: model.frame.stages, mesh: model.frame.mesh)
    return FoldedModel(
      pricings: operators.pricings, strategies: strategies, ties: model.ties, zero: space.request.givenZeRO, recompute: operators.recompute,
      resharder: operators.kinds.isEmpty ? operators.resharder : nil, link: placed.stageLink, wrapLink: placed.wrapLink)
  }
}
