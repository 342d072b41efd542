// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Quantities
import Strategies

/// Lower bounds of all meshes of one size, pipeline degree and micro-batch count, from problems of one mesh axis each.
///
/// With every other axis sharing all work and data perfectly, an axis by itself costs some excess over the time at which nothing is idle and
/// nothing is sent. The excesses add up: work that is repeated on several axes multiplies, a collective over several axes is no cheaper than one
/// after the other on perfectly shared data, and a way between two layouts holds the way on each axis. Of an extent that is smaller than an axis
/// the largest part is 1, which is no less of the axis by itself than of all axes together. So
///
///     least(mesh) ≥ base + Σ_axes (least(axis) − base)
///
/// So do rings, of which each takes the longer of its work u and its messages x: a ring over axes a and b sends (ab − 1) blocks (with gradients
/// more) where theirs send (a − 1) + (b − 1) of the same size, and repeating work on n ranks repeats the messages n times, so that
/// max(nu, nx) ≥ nu + max(0, x − u).
///
/// A collective over two axes of one level starts once, so each of them has half of that (`AxisPlacement.relaxed`).
final class AxisBounds {
  private struct Axis: Hashable {
    let size: Int
    let placement: AxisPlacement
  }

  private struct ProblemKey: Hashable {
    let axis: Axis
    let recompute: Recompute
  }

  /// The model on a mesh of one axis alone, in the forms that questions about it need.
  final class Problem {
    let size: Int
    /// Not connected.
    let model: FoldedModel
    let minimum: BlockMinimum

    fileprivate init(size: Int, _ model: FoldedModel, _ structures: KnownStructures) {
      (self.size, self.model, minimum) = (size, model, BlockMinimum(model, structures: structures))
    }
  }

  private let space: Space
  private let stages: Int
  private let microBatches: Int
  private let model: Pricing.Model
  private let rates: DeviceRates
  private let link: Link?
  private let structures: KnownStructures
  private let ties: Ties
  private let size: Int
  /// For each schedule.
  let chains: [[Chain]]
  /// By schedule and chain, its length where nothing is idle and nothing is sent, and what rounding may add to it.
  let bases: [[Int64]]
  let slacks: [[Int64]]
  let schedules: [Schedule]
  /// The least of each schedule whatever the mesh, with no conversions at all.
  let withoutConversions: [Int64]
  private var problems: [ProblemKey: Problem] = [:]
  private var excesses: [Axis: [[Int64]]] = [:]

  init(
    _ space: Space, stages: Int, size: Int, microBatches: Int, model: Pricing.Model, rates: DeviceRates, link: Link?, structures: KnownStructures
  ) throws {
    self.space = space
    self.structures = structures
    self.stages = stages
    self.microBatches = microBatches
    self.model = model
    self.rates = rates
    self.link = link
    self.size = size
    ties = space.certainTies(stages: stages)
    let schedules = space.loosestSchedules(stages: stages, size: size, microBatches: microBatches)
    let chains = schedules.map { Chain.bounds(space, stages: stages, microBatches: microBatches, schedule: $0) }
    let alone = AxisPlacement.alone
    let pricing = Pricing(
      model: model, mesh: [1], rates: rates, job: space.request.job(microBatches: microBatches), placements: [alone, alone], tick: space.tick,
      sharers: size)
    let base = FoldedModel(
      pricing: pricing, strategies: structures.strategies(pricing.rules, mesh: [1]), ties: ties,
      recompute: space.recompute(Space.Frame(stages: stages, mesh: [1], microBatches: microBatches)), link: link)
    self.chains = chains
    self.schedules = schedules
    bases = chains.map { $0.map(base.leastOfOperators) }
    // Each cost is rounded to a whole tick.
    let nodes = Int64(base.nodes.count)
    slacks = chains.map { chains in chains.map { 4 * nodes * $0.totalWeight } }
    let frame = FrameBounds(base, space: space, frame: Space.Frame(stages: stages, mesh: [1], microBatches: microBatches))
    let (bases, slacks) = (bases, slacks)
    withoutConversions = schedules.indices.map { number in
      let alone = bases[number].indices.map { (bases[number][$0] - slacks[number][$0]) / chains[number][$0].sharers }.max() ?? 0
      return max(frame.bound(schedules[number]) - (slacks[number].max() ?? 0), alone, 0)
    }
  }

  /// A lower bound of the step on a mesh, whatever the schedule and the cut.
  ///
  /// - Parameter cutoff: where some axes reach it, the others are not looked at.
  func bound(_ placed: Space.Placed, mesh: [Int], cutoff: Int64 = .max) throws -> Int64 {
    var total = [[Int64]](repeating: [], count: chains.count)
    for number in chains.indices { total[number] = bases[number].indices.map { bases[number][$0] - slacks[number][$0] } }
    for axis in mesh.indices where mesh[axis] > 1 {
      guard placed.relaxed(axis) != nil else { return withoutConversions.min() ?? 0 }
    }
    var bound = least(total)
    // A long axis costs more as a rule.
    for axis in mesh.indices.filter({ mesh[$0] > 1 }).sorted(by: { (mesh[$1], $0) < (mesh[$0], $1) }) where bound < cutoff {
      let excess = try excess(self.axis(axis, of: mesh, placed))
      for number in chains.indices { for chain in total[number].indices { total[number][chain] += excess[number][chain] } }
      bound = least(total)
    }
    return bound
  }

  /// The least step of any schedule, by the longest of its chains.
  private func least(_ total: [[Int64]]) -> Int64 {
    chains.indices.map { number in
      max(zip(total[number], chains[number]).map { $0 / $1.sharers }.max() ?? 0, withoutConversions[number])
    }.min() ?? 0
  }

  /// Where the groups of an axis lie unevenly on the levels, what they send is free.
  private func axis(_ axis: Int, of mesh: [Int], _ placed: Space.Placed) -> Axis {
    Axis(size: mesh[axis], placement: placed.relaxed(axis) ?? .free(size: mesh[axis]))
  }

  /// The mesh axes of several devices, each by itself, where layers compute so much again; and the operators where nothing is idle and nothing is sent.
  func problems(_ placed: Space.Placed, mesh: [Int], _ recompute: Recompute) -> (axes: [Problem], base: Problem) {
    let axes = mesh.indices.filter { mesh[$0] > 1 }.map { problem(axis($0, of: mesh, placed), recompute) }
    return (axes, problem(Axis(size: 1, placement: .alone), recompute))
  }

  private func problem(_ axis: Axis, _ recompute: Recompute) -> Problem {
    let key = ProblemKey(axis: axis, recompute: recompute)
    if let known = problems[key] { return known }
    let pricing = Pricing(
      model: model, mesh: [axis.size], rates: rates, job: space.request.job(microBatches: microBatches), placements: [.alone, axis.placement],
      tick: space.tick, sharers: size / axis.size)
    let frame = Space.Frame(stages: stages, mesh: [axis.size], microBatches: microBatches, recompute: recompute)
    let folded = FoldedModel(
      pricing: pricing, strategies: structures.strategies(pricing.rules, mesh: [axis.size]), ties: ties, recompute: space.recompute(frame),
      link: link)
    let problem = Problem(size: axis.size, folded, structures)
    problems[key] = problem
    return problem
  }

  /// What an axis costs over the base, for each schedule and chain.
  private func excess(_ axis: Axis) throws -> [[Int64]] {
    if let known = excesses[axis] { return known }
    let minimum = problem(axis, .none).minimum
    let excess = try chains.indices.map { number in
      try chains[number].indices.map { max(0, (try minimum.least(.init(chains[number][$0]))?.sum ?? 0) - bases[number][$0]) }
    }
    excesses[axis] = excess
    return excess
  }
}
