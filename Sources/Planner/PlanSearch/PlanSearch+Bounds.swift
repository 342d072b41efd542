// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Search
import Strategies

/// Lower bounds of one cut, whatever its layers compute again.
extension PlanSearch {
  /// A lower bound of all plans of a cut whose layers are of some kinds, in any mix that is in the space, and a price on memory that suits it.
  mutating func boundOfMixes(
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
    let (forward, backward) = (base.leastForward[layer], base.leastBackward[layer])
    guard let price = alike.price else {
      // What another stage does once counts little in the chain, and much in what its share of the first kind may differ by.
      for stage in cut.indices where cut[stage] != cut[critical] { path.once[stage] = 0 }
      let objective = BlockTables.Objective(configuration, path, base.operators)
      let key = RelaxedKey(frame: least, ties: base.ties, weights: configuration.weights(base.operators, path))
      guard let relaxed = try relaxed(base, objective, key, cutoff) else { return (cutoff, nil) }
      let mixes = MixBound(cut, path, reference: critical, forward: forward, backward: backward)
      // Without a price the kind that computes least again bounds all others.
      let free = try pricedCuts([space.recomputes[0]], frame, schedule, Price(stage: critical, ticksPerByte: 0))?.bound(cut: cut) ?? 0
      return (min(alike.bound, max(mixes.least(alike: relaxed.sum), free)), nil)
    }
    let mixes = MixBound(cut, path, reference: price.stage, forward: forward, backward: backward)
    let row = configuration.load(ofStage: price.stage).row()
    let allowance = BlockTables.Price(row: row, limit: limit, ticksPerByte: price.ticksPerByte).allowance
    let closer = max(
      mixes.least(alike: alike.bound + allowance) - allowance, try pricedCuts(kinds, frame, schedule, price)?.bound(cut: cut) ?? 0)
    return (min(alike.bound, closer), price)
  }

  mutating func pricedCuts(_ kinds: [Recompute], _ frame: Space.Frame, _ schedule: Schedule, _ price: Price) throws -> PricedCuts? {
    let key = PricedCutsKey(frame: frame.recomputing(.none), schedule: schedule, kinds: Set(kinds), ticksPerByte: price.ticksPerByte)
    if let known = knownCuts[key] { return known }
    let ties = space.certainTies(stages: frame.stages)
    let models = try kinds.compactMap { try frameModel(frame.recomputing($0), ties) }
    guard !models.isEmpty, let least = try frameModel(frame.recomputing(space.recomputes[0]), ties) else { return nil }
    guard let fill = try fill(frame, least) else { return nil }
    if knownCuts.count == Self.mostKnownCuts { knownCuts.removeAll() }
    let cuts = try PricedCuts(
      models.map { ($0.operators, $0.minimum) }, space, frame, schedule, fill: fill, price: price.ticksPerByte, limit: limit)
    knownCuts[key] = .some(cuts)
    return cuts
  }

  /// - Parameter least: of layers that compute as little again as they may.
  mutating func fill(_ frame: Space.Frame, _ least: FrameModel) throws -> PricedCuts.Fill? {
    let key = frame.recomputing(.none)
    if let known = fills[key] { return known }
    if fills.count == Self.mostKnownCuts { fills.removeAll() }
    let fill = try PricedCuts.Fill(least.operators, least.minimum, space)
    fills[key] = fill
    return fill
  }

  struct PricedCutsKey: Hashable {
    let frame: Space.Frame
    let schedule: Schedule
    let kinds: Set<Recompute>
    let ticksPerByte: Double
  }

  static let mostKnownCuts = 256

  /// A lower bound of all plans of a cut whose layers are alike, of one of some kinds, and the price on memory that gives it. Where all stages hold as many
  /// layers it bounds the mixes too.
  mutating func boundOfKinds(
    _ kinds: [Recompute], _ frame: Space.Frame, _ schedule: Schedule, _ cut: [Int], _ cutoff: Int64
  ) throws -> (bound: Int64, price: Price?) {
    let least = frame.recomputing(kinds[0])
    let ties = space.ties(least, cut: cut)
    guard let base = try frameModel(least, ties) else { return (cutoff, nil) }
    let configuration = Configuration(least, schedule, cut, space: space)
    let path = configuration.promisingPath(base.operators)
    let objective = BlockTables.Objective(configuration, path, base.operators)
    let key = RelaxedKey(frame: least, ties: ties, weights: configuration.weights(base.operators, path))
    let rows = (0..<frame.stages).map { configuration.load(ofStage: $0).row() }
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
    let (closer, found, _) = try boundWithPrice(models, objective, rows[stage], stage, relaxed: choice, frame, cutoff)
    let bound = max(relaxed.sum, closer)
    // Who is told a price takes the bound for the one that this price gives.
    let price = closer < relaxed.sum ? nil : found.map { Price(stage: stage, ticksPerByte: $0.ticksPerByte) }
    pricedBounds[priced] = (bound, price)
    if bound >= cutoff { excluded[group, default: []].append(ExcludedCut(weights: key.weights, row: rows[stage], price: price, bound: bound)) }
    return (bound, price)
  }

  /// The least length of a chain with memory relaxed, whichever cut it is of; nil where there is no choice.
  mutating func relaxed(_ model: FrameModel, _ objective: BlockTables.Objective, _ key: RelaxedKey, _ cutoff: Int64) throws -> (
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

  func priceKey(_ frame: Space.Frame, stage: Int?) -> [Int] { [frame.stages, frame.microBatches, stage ?? -1] + frame.mesh }

  /// A lower bound of a chain over models that differ in what layers compute again, with a price on one memory row: the price that excluded another
  /// cut of the frame, or else the best one, where the lines of two choices meet (the intersection method of Lagrangian relaxation).
  ///
  /// - Parameters:
  ///   - stage: whose row it is; nil for several configurations together, whose price is remembered in any case, so that it need not be found again.
  ///   - relaxed: a choice of the first model that exceeds the row's limit.
  /// - Returns: also the fastest of the first model's choices on the way that keep to the row's limit.
  mutating func boundWithPrice(
    _ models: [FrameModel], _ objective: BlockTables.Objective, _ row: BlockTables.MemoryRow, _ stage: Int?, relaxed: [Int], _ frame: Space.Frame,
    _ cutoff: Int64
  ) throws -> (bound: Int64, price: BlockTables.Price?, fitting: [Int]?) {
    /// What a choice takes without a price on memory, and its bytes above the limit.
    func line(_ model: FrameModel, _ choice: [Int]) -> (time: Double, excess: Double) {
      (Double(model.minimum.time(choice, objective)), Double(model.minimum.memory(choice, row) - limit))
    }
    var above = line(models[0], relaxed)
    var below: (time: Double, excess: Double)?
    var best: (bound: Int64, price: BlockTables.Price?, fitting: [Int]?) = (.min, nil, nil)
    var fastest = Double.infinity
    let key = priceKey(frame, stage: stage)
    var objective = objective
    var price = prices[key] ?? above.time / Double(limit)
    let known = stage == nil ? prices[key] : nil
    for _ in 0..<(known == nil ? Self.mostPrices : 2) {
      objective.price = .init(row: row, limit: limit, ticksPerByte: price)
      var least = Int64.max
      var next: (time: Double, excess: Double)?
      for (number, model) in models.enumerated() {
        guard let found = try model.minimum.least(objective, cutoff: cutoff), found.sum < least else { continue }
        least = found.sum
        next = found.choice.map { line(model, $0) }
        if number == 0, let next, next.excess <= 0, next.time < fastest { (fastest, best.fitting) = (next.time, found.choice) }
      }
      if least > best.bound {
        (best.bound, best.price) = (least, objective.price)
        if stage == nil { prices[key] = price }
      }
      if least >= cutoff {
        prices[key] = price
        return best
      }
      guard let next else { return best }
      if next.excess > 0 { above = next } else { below = next }
      guard let below else {
        // Beyond a hundred times the time for all of the memory nothing would fit, and sums would grow out of range.
        if price > 100 * above.time / Double(limit) { return best }
        price *= 10
        continue
      }
      let meeting = (below.time - above.time) / (above.excess - below.excess)
      guard meeting > 0, abs(meeting - price) > 1e-3 * price else { break }
      price = meeting
    }
    return best
  }
}
