// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search
import Strategies

/// A cut with layers alike, and with layers of two kinds.
extension PlanSearch {
  /// Bounds a cut with a price on the memory of its fullest stage. Each layer is then best off by itself, so the best kind of layer bounds all
  /// ways to mix kinds.
  mutating func bound(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws {
    priced += 1
    var (alike, mixed) = (bound, bound)
    if let cutoff {
      alike = max(bound, try boundOfKinds(space.recomputes, frame, schedule, cut, cutoff).bound)
      if !space.mixes(frame).isEmpty { mixed = max(bound, try boundOfMixes(space.recomputes, frame, schedule, cut, cutoff).bound) }
    }
    if alike < cutoff ?? .max { queue.push(.alike(frame, schedule, cut), bound: alike) }
    if !space.mixes(frame).isEmpty, cut.max()! > 1, space.allowsMixes(schedule, cut), mixed < cutoff ?? .max {
      queue.push(.mixed(frame, schedule, cut), bound: mixed)
    }
  }

  /// Solves a cut with all layers alike, for each kind of recompute.
  mutating func solveAlike(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws {
    for recompute in space.recomputes {
      guard space.allowsAlike(recompute, cut: cut) else { continue }
      if isLate { return leaveOpen(bound) }
      _ = try solve(frame.recomputing(recompute), schedule, cut, bound: bound)
    }
  }

  /// Solves a cut with two kinds of layers on each stage, for each pair of kinds.
  mutating func solveMixed(_ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], bound: Int64) throws {
    let most = cut.max()! - 1
    for (first, rest) in space.mixes {
      if isLate { return leaveOpen(bound) }
      var price: Price?
      if let cutoff {
        let (bound, found) = try boundOfMixes(first == rest ? [rest] : [rest, first], frame, schedule, cut, cutoff)
        if bound >= cutoff { continue }
        price = found
      }
      var counts = 1...most
      if let fixed = space.request.recomputedLayers {
        guard counts.contains(fixed) else { continue }
        counts = fixed...fixed
      } else if first == rest, cut.allSatisfy({ $0 == most + 1 }) {
        // Which of two kinds that compute the same again comes first is all one where every stage holds as many.
        counts = 1...(most + 1) / 2
      }
      let frame = frame.recomputing(rest, first: first)
      // What a chain weighs is linear in the number from one stage's layers to the next larger stage's.
      var start = counts.lowerBound
      for end in Set(cut + [counts.upperBound]).sorted() where end >= start && start <= counts.upperBound {
        let linear = start...min(end, counts.upperBound)
        start = end + 1
        switch try mixes(frame, schedule, cut, firsts: linear, price) {
        case .excluded: continue
        case .all: try solve(frame, schedule, cut, firsts: linear, bound: bound, nil)
        case .left(let model): try solve(frame, schedule, cut, firsts: linear, bound: bound, model)
        }
      }
    }
  }

  /// What a range of numbers of layers of the first kind may hold below the cutoff.
  enum Mixes {
    case excluded
    case all
    /// A model without the strategies that no plan of interest can take.
    case left(FrameModel)
  }

  /// Bounds two kinds of layers for a range of numbers of layers of the first kind: the least weighted sum, also that with one strategy, is concave
  /// in the number, so that what reaches the cutoff at both ends of the range does so between.
  mutating func mixes(
    _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], firsts: ClosedRange<Int>, _ price: Price?
  ) throws -> Mixes {
    let ties = space.ties(frame, cut: cut, first: firsts.lowerBound)
    guard let cutoff, firsts.allSatisfy({ space.ties(frame, cut: cut, first: $0) == ties }),
      let model = try frameModel(frame, ties)
    else { return .all }
    let path = Configuration(frame, schedule, cut, first: firsts.lowerBound, space: space).promisingPath(model.operators)
    let objectives = [firsts.lowerBound, firsts.upperBound].map { first in
      let configuration = Configuration(frame, schedule, cut, first: first, space: space)
      var objective = BlockTables.Objective(configuration, path, model.operators)
      if let price {
        objective.price = .init(row: configuration.load(ofStage: price.stage).row(), limit: limit, ticksPerByte: price.ticksPerByte)
      }
      return objective
    }
    // Most ranges have nothing of interest at all.
    if try objectives.allSatisfy({ try model.minimum.least($0, cutoff: cutoff).map { $0.sum >= cutoff } ?? true }) {
      return .excluded
    }
    var least: [[Int64]]?
    for objective in objectives {
      guard let bounds = try model.minimum.leastByStrategy(objective, below: cutoff) else { return .all }
      least = least.map { zip($0, bounds).map { zip($0, $1).map { min($0, $1) } } } ?? bounds
    }
    guard let least else { return .all }
    let operators = restricted(model, least, cutoff)
    return operators.isPossible
      ? .left(FrameModel(frame: frame, ties: ties, operators: operators, variants: model.variants, structures: structures)) : .excluded
  }

  /// Solves a cut for a range of numbers of layers of the first kind. The least weighted sum under one price is concave in the number: where it reaches the
  /// cutoff at two numbers it does so at all between.
  mutating func solve(
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
  struct Exclusion {
    let ties: Ties
    let path: PipelineTimeline.Path
    /// `load` is the number of the stage's load: the same one is linear in the number of layers of the first kind.
    let price: (stage: Int, load: Int, op: OperatorID?, ticksPerByte: Double)?
  }

  /// Whether what excluded a configuration excludes the one with another number of layers of the first kind too.
  mutating func excludes(
    _ exclusion: Exclusion, _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], first: Int, _ model: FrameModel?
  ) throws -> Bool {
    let ties = space.ties(frame, cut: cut, first: first)
    guard let cutoff, ties == exclusion.ties, let model = try model ?? frameModel(frame, ties) else { return false }
    let configuration = Configuration(frame, schedule, cut, first: first, space: space)
    var objective = BlockTables.Objective(configuration, exclusion.path, model.operators)
    objective.price = exclusion.price.map { price in
      var load = configuration.loads(ofStage: price.stage)[price.load]
      if let op = price.op { load = configuration.load(load, whileRunning: model.operators.nodes[op].segment) }
      return .init(row: load.row(price.op), limit: limit, ticksPerByte: price.ticksPerByte)
    }
    guard let least = try model.minimum.least(objective, cutoff: cutoff) else { return true }
    return least.sum >= cutoff
  }
}
