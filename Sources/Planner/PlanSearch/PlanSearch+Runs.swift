// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Search
import Strategies

/// Frames whose stages have several meshes: fewer than those of one, and solved cut by cut.
extension PlanSearch {
  /// Bounds the cuts of a frame, by their runs' least times and then with each operator at its least and conversions free, and leaves those that
  /// these do not exclude to be solved.
  ///
  /// - Parameter bound: of all cuts.
  mutating func expandRuns(_ frame: Space.Frame, bound all: Int64) throws {
    let placements = space.placed(frame.runs).placements
    var parts: [RunParts] = []
    // A model that is divided already has given cuts, and several segments of layers.
    for run in frame.runs.indices where space.runOfDividedSegment.isEmpty {
      guard let part = try self.parts(frame, run, placements) else {
        if shortfall == nil { shortfall = .constraints }
        return
      }
      parts.append(part)
    }
    var open: [(schedule: Schedule, cut: [Int], bound: Int64)] = []
    for schedule in space.schedules(stages: frame.stages, microBatches: frame.microBatches) where schedule.kind != .interleaved {
      for cut in space.cuts(runs: frame) {
        let bound = parts.isEmpty ? all : max(all, RunParts.bound(parts, frame, schedule, cut: cut, space.request.mode))
        if bound < cutoff ?? .max { open.append((schedule, cut, bound)) } else { pruned += 1 }
      }
    }
    guard let any = open.first?.cut else { return }
    // Ties are apart under every cut: what stands before all layers is on the first stage, what stands after on the last.
    let ties = space.ties(frame, cut: any)
    let kinds = space.recomputes(frame)
    guard let least = try frameModel(kinds[0], ties) else { return }
    let bounds = RunBounds([least.operators])
    // Whatever layers compute again, once that is asked for.
    var others: RunBounds?
    for (schedule, cut, bound) in open {
      let configuration = Configuration(least.frame, schedule, cut, space: space)
      let bound = max(bound, bounds.time(configuration))
      if let cutoff, bound >= cutoff {
        pruned += 1
        continue
      }
      var memory = bounds.memory(configuration)
      if memory > limit {
        if others == nil { others = RunBounds(try kinds.compactMap { try frameModel($0, ties)?.operators }) }
        memory = others?.memory(configuration) ?? memory
      }
      if memory > limit {
        infeasible += 1
        note(.memory(row: 0, least: memory, limit: limit))
      } else {
        queue.push(.runCut(frame, schedule, cut), bound: bound)
      }
    }
  }

  /// Solves a cut for everything that the runs' layers may compute again.
  mutating func solveRuns(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws {
    var closer = bound
    for (number, frame) in space.recomputes(frame).enumerated() {
      if isLate { return leaveOpen(closer) }
      if number == 0, let cutoff {
        guard let all = try boundOfRuns(frame, schedule, cut, cutoff) else { return }
        closer = max(bound, all)
        if closer >= cutoff { return }
      }
      // Of several configurations each has its own best plan.
      if number == 0, space.recomputes.count > 1, space.request.top == 1 {
        guard let least = try solveWithoutLimit(frame, schedule, cut, bound: closer) else { return }
        closer = max(closer, least)
      }
      if let cutoff, closer >= cutoff { return }
      _ = try solve(frame, schedule, cut, bound: closer)
    }
  }

  /// Solves a cut as if memory had no end, with the least recompute in all runs: what it finds is best whatever layers compute again, if it fits.
  ///
  /// - Returns: a lower bound of all plans of the cut; nil where there is nothing left to look for.
  private mutating func solveWithoutLimit(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws -> Int64? {
    let ties = space.ties(frame, cut: cut)
    guard let known = try frameModel(frame, ties) else { return nil }
    let configuration = Configuration(frame, schedule, cut, space: space)
    var paths = [configuration.promisingPath(known.operators)]
    var model = known.connected
    if let cutoff {
      let objective = BlockTables.Objective(configuration, paths[0], known.operators)
      if let bounds = try known.minimum.leastByStrategy(objective, below: cutoff) {
        model = restricted(known, bounds, cutoff)
        if model.isPossible { model.connect() }
      }
    }
    if !model.isPossible { return nil }
    priced += 1
    while true {
      let outcome = try configuration.problem(model, paths: paths, limit: Problem.largestSum).solve(SolveOptions(stop: monitor.stop, cutoff: cutoff))
      switch outcome.status {
      case .cutoff: return nil
      case .infeasible(let why):
        if best == nil { note(why) }
        return nil
      case .timeLimit: return max(bound, outcome.lowerBound)
      case .optimal: break
      }
      guard let choice = outcome.choice else { return bound }
      let whole = model.withoutIdleHoldings(choice)
      let timeline = configuration.timeline(configuration.stageTimes(model, whole))
      let isExact = timeline.end <= outcome.lowerBound + Outcome.tolerance(of: timeline.end) || paths.contains(timeline.critical)
      if !isExact {
        paths.append(timeline.critical)
        continue
      }
      if configuration.memoryRows(model).contains(where: { Configuration.memory(model, whole, row: $0) > limit }) { return outcome.lowerBound }
      _ = record(model, frame, schedule, cut, 0, configuration, choice)
      return nil
    }
  }

  /// A lower bound of a cut whatever the runs' layers compute again, with a price on the memory of its fullest stage; nil where there is no choice.
  ///
  /// To compute more again takes no less time, whatever memory it saves, and what the layers of another run compute again saves the stage nothing: its
  /// own run's layers are of some kind, all others of the least.
  ///
  /// - Parameter frame: with the least recompute in all runs.
  private mutating func boundOfRuns(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], _ cutoff: Int64) throws -> Int64? {
    priced += 1
    let ties = space.ties(frame, cut: cut)
    guard let model = try frameModel(frame, ties) else { return nil }
    let configuration = Configuration(frame, schedule, cut, space: space)
    let path = configuration.promisingPath(model.operators)
    let objective = BlockTables.Objective(configuration, path, model.operators)
    let key = RelaxedKey(frame: frame, ties: ties, weights: configuration.weights(model.operators, path))
    guard let relaxed = try relaxed(model, objective, key, cutoff) else { return nil }
    guard relaxed.sum < cutoff, let choice = relaxed.choice else { return relaxed.sum }
    let rows = (0..<frame.stages).map { configuration.load(ofStage: $0).row() }
    let used = rows.map { model.minimum.memory(choice, $0) }
    guard let stage = used.indices.max(by: { (used[$0], $1) < (used[$1], $0) }), used[stage] > limit else { return relaxed.sum }
    let run = space.runOfStage(frame)[stage]
    var models = [model]
    for recompute in space.recomputes.dropFirst() {
      var other = frame
      other.runs[run].recompute = recompute
      if let known = try frameModel(other, ties) { models.append(known) }
    }
    return max(relaxed.sum, try boundWithPrice(models, objective, rows[stage], stage, relaxed: choice, frame, cutoff).bound)
  }

  // MARK: - Meshes that are searched

  struct RunPartsKey: Hashable {
    let mesh: [Int]
    let placements: [AxisPlacement]
    let microBatches: Int
    /// Those of all meshes together: they may serve a split better than the mesh's own.
    let orders: [SequenceOrder]
    /// Whether what stands before all layers, and after them, is on the run's stages.
    let isFirst: Bool
    let isLast: Bool
  }

  /// A lower bound of a frame by its runs' sizes alone; 0 where the model is divided already.
  mutating func leastOfRuns(_ frame: Space.Frame) throws -> Int64 {
    guard space.runOfDividedSegment.isEmpty else { return 0 }
    _ = try countBound(1, 1, frame.microBatches)
    guard let counts = countBounds[frame.microBatches] else { return 0 }
    let parts = frame.runs.map { RunParts(counts, space, size: $0.size) }
    let cuts = space.cuts(runs: frame)
    return space.schedules(stages: frame.stages, microBatches: frame.microBatches).flatMap { schedule in
      cuts.map { RunParts.bound(parts, frame, schedule, cut: $0, space.request.mode) }
    }.min() ?? 0
  }

  /// Bounds every pair of runs of stages by their sizes alone.
  mutating func seedSubMeshes() throws {
    let all = space.runSizes
    if all.isEmpty { return }
    for microBatches in space.microBatchCounts {
      // The bounds of all sizes come from two sets of prices.
      _ = try countBound(1, 1, microBatches)
      guard let counts = countBounds[microBatches] else { continue }
      var parts: [Int: RunParts] = [:]
      for size in Set(all.flatMap(\.sizes)) { parts[size] = RunParts(counts, space, size: size) }
      for runs in all {
        guard let first = parts[runs.sizes[0]], let second = parts[runs.sizes[1]] else { continue }
        let bound = RunParts.bound(first, second, runs, microBatches: microBatches, space)
        if bound < cutoff ?? .max { queue.push(.subMeshes(runs, microBatches: microBatches), bound: bound) } else { pruned += 1 }
      }
    }
  }

  /// Bounds every pair of meshes of two runs, each run by its own mesh's least times.
  mutating func expandSubMeshes(_ runs: Space.RunSizes, microBatches: Int, bound: Int64) throws {
    for frame in space.frames(runs, microBatches: microBatches) {
      if isLate { return leaveOpen(bound) }
      let placements = space.placed(frame.runs).placements
      guard let first = try parts(frame, 0, placements), let second = try parts(frame, 1, placements) else { continue }
      let closer = max(bound, RunParts.bound(first, second, runs, microBatches: microBatches, space))
      if closer < cutoff ?? .max { queue.push(.runs(frame), bound: closer) } else { pruned += 1 }
    }
  }

  /// Of the stages of one run; nil where an operator has no strategy there.
  private mutating func parts(_ frame: Space.Frame, _ run: Int, _ placements: [[AxisPlacement]]) throws -> RunParts? {
    let mesh = frame.runs[run].mesh
    let single = Space.Frame(stages: frame.stages, mesh: mesh, microBatches: frame.microBatches, recompute: space.recomputes[0])
    let key = RunPartsKey(
      mesh: mesh, placements: placements[run], microBatches: frame.microBatches, orders: space.orders(frame.runs, model(single)),
      isFirst: run == 0, isLast: run == frame.runs.count - 1)
    if let known = runParts[key] { return known }
    let pricing = Pricing(
      model: model(single), mesh: mesh, rates: rates, job: space.request.job(microBatches: frame.microBatches), placements: placements[run],
      tick: space.tick, orders: key.orders)
    let layers = space.layerSegments
    let strategies = space.strategies(pricing, single).enumerated().map { op, strategies in
      // What other runs hold need not have a strategy here.
      let segment = pricing.graph.segmentOfOperator[op]
      let isElsewhere = segment < layers.lowerBound && !key.isFirst || segment >= layers.upperBound && !key.isLast
      return isElsewhere ? Strategy.all(for: pricing.rules[op], mesh: mesh) : strategies
    }
    var parts: RunParts?
    if !strategies.contains(where: \.isEmpty) {
      parts = try RunParts(
        FoldedModel(
          pricing: pricing, strategies: strategies, ties: space.certainTies(stages: frame.stages), zero: space.request.givenZeRO,
          recompute: space.recompute(single), link: nil), space)
    }
    runParts[key] = .some(parts)
    return parts
  }
}

/// Lower bounds of the cuts of a frame whose stages have several meshes, each operator at its own least whatever its run's layers compute again.
struct RunBounds {
  /// For each segment, of one copy.
  private let forward: [Int64]
  private let backward: [Int64]
  private let once: [Int64]
  private let resident: [Int64]
  private let kept: [Int64]

  /// - Parameter models: of all that layers may compute again, the least first.
  init(_ models: [FoldedModel]) {
    func least(_ cost: (FoldedModel.Node, Int) -> Int64) -> [Int64] {
      let sums = models.map { FrameBounds.least($0.nodes, $0.pricing.graph, cost) }
      return sums[0].indices.map { segment in sums.map { $0[segment] }.min() ?? 0 }
    }
    forward = least { $0.forward[$1] }
    backward = least { $0.backward[$1] }
    once = least { $0.once[$1] }
    resident = least { $0.resident[$1] }
    kept = least { $0.leastKept[$1] }
  }

  private func sum(_ copies: [Int], _ part: [Int64]) -> Int64 { zip(copies, part).reduce(0) { $0 + Int64($1.0) * $1.1 } }

  /// The longest of the chains that every run of the schedule contains.
  func time(_ configuration: Configuration) -> Int64 {
    let times = configuration.copies.map { copies in
      PipelineTimeline.StageTimes(
        forward: sum(copies, forward), backward: sum(copies, backward), once: sum(copies, once), sendForward: 0, sendBackward: 0)
    }
    return PipelineTimeline.bounds(
      stages: configuration.stages, schedule: configuration.schedule, microBatches: configuration.microBatches, mode: configuration.mode
    ).map { $0.length(times) }.max() ?? 0
  }

  /// What the fullest stage holds at least.
  func memory(_ configuration: Configuration) -> Int64 {
    (0..<configuration.stages).map { stage in
      configuration.loads(ofStage: stage).map { sum($0.copies, resident) + sum($0.kept, kept) }.max() ?? 0
    }.max() ?? 0
  }
}
