// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import Quantities
import Strategies

/// Lower bounds of all plans with stages of one size, for every pipeline degree and number of devices from two sets of prices: a search excludes
/// with them the numbers of devices that are too few.
///
/// Where `d` devices share all work and data of a stage perfectly, each operator takes a/d + l: its arithmetic and traffic shared out, its start-up
/// not. A least over strategies is concave in 1/d, so that it lies above the line between its values at one device and at infinitely many.
struct CountBounds {
  /// With one device a stage.
  let alone: FoldedModel
  /// With so many that only start-up times are left.
  let startup: FoldedModel
  private let space: Space
  private let microBatches: Int
  /// What rounding each cost to a whole tick can add to a chain, per unit of its weight.
  private let slack: Int64

  init(_ space: Space, microBatches: Int, model: Pricing.Model, rates: DeviceRates) {
    (self.space, self.microBatches) = (space, microBatches)
    func folded(sharers: Int) -> FoldedModel {
      let pricing = Pricing(
        model: model, mesh: [1], rates: rates, job: space.request.job(microBatches: microBatches), placements: [.alone, .alone], tick: space.tick,
        sharers: sharers)
      return FoldedModel(
        pricing: pricing, strategies: pricing.rules.map { Strategy.all(for: $0, mesh: [1]) }, ties: space.certainTies(stages: 1), link: nil)
    }
    alone = folded(sharers: 1)
    startup = folded(sharers: 1 << 60)
    slack = 4 * Int64(alone.nodes.count)
  }

  /// No plan with so many stages of so many devices takes less, whatever its schedule and cut.
  func bound(stages: Int, size: Int) -> Int64 {
    // Smaller sizes may have schedules that this one has not, and their bound must not be less.
    space.schedules(stages: stages, microBatches: microBatches).map { schedule in
      Chain.bounds(space, stages: stages, microBatches: microBatches, schedule: schedule).map { chain in
        let (most, least) = (Double(alone.leastOfOperators(chain)), Double(startup.leastOfOperators(chain)))
        return max(0, Int64((least + (most - least) / Double(size)).rounded(.down)) - slack * chain.totalWeight) / chain.sharers
      }.max() ?? 0
    }.min() ?? 0
  }
}
