// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Quantities
import Search

extension Planner {
  /// What `--batch max` found.
  package struct BestBatch: Sendable {
    /// Of the best batch; where nothing fits, of the smallest.
    package let outcome: PlanOutcome
    package let batch: Int
    /// All batches that were compared, in ascending order.
    package let compared: [Int]
  }

  /// An octave of larger batches that brings less than this share of tokens per second ends the set: each further one would bring about half as much,
  /// since only what is done once per step is shared out.
  private static let leastGain = 0.01

  /// The global batch with the most sequences per second, with its best plan.
  ///
  /// The search starts at the request's batch and looks at larger ones, an octave at a time, until one brings nearly nothing or holds nothing that
  /// fits; then at all smaller ones, which are quickly excluded: each must be faster than the best rate so far allows. The proof is of all batches
  /// compared.
  ///
  /// - Parameter request: its batch is where the comparison starts.
  /// - Throws: as `search`.
  package static func searchBatches(_ request: SearchRequest, _ monitor: SearchMonitor? = nil) throws -> BestBatch {
    let monitor = monitor ?? SearchMonitor(stop: StopCondition(after: request.timeLimit.map { .seconds($0) }))
    let set = try BatchSet(request)
    var attempts: [Attempt] = []
    var best: Attempt?
    func attempt(_ batch: Int) throws {
      var changed = request
      changed.batch = batch
      // Plans are of interest that are faster than the best rate so far.
      let found = Attempt(batch, try explore(changed, monitor, below: best.map { $0.step * (Double(batch) / Double($0.batch)) }))
      attempts.append(found)
      if found.search.best != nil, best.map({ found.rate > $0.rate }) ?? true { best = found }
    }
    let upToStart = set.batches(1...set.start(usual: request.batch))
    var top = upToStart[upToStart.count - 1]
    try attempt(top)
    var isCutShort = false
    while let before = best?.rate, top < BatchSet.largest, !isCutShort {
      isCutShort = monitor.stop.isReached
      for batch in set.batches(top + 1...2 * top) where !isCutShort { try attempt(batch) }
      top *= 2
      if let rate = best?.rate, rate < before * (1 + leastGain) { break }
    }
    for batch in upToStart.dropLast().reversed() where !isCutShort {
      isCutShort = monitor.stop.isReached
      if !isCutShort { try attempt(batch) }
    }

    attempts.sort { $0.batch < $1.batch }
    let compared = attempts.map(\.batch)
    guard let best else {
      // The smallest batch needs the least memory. One that is not excluded may have a plan that there was no time to find.
      if let open = attempts.first(where: { !$0.search.isComplete }) {
        return BestBatch(outcome: try outcome(open.search, open.space), batch: open.batch, compared: compared)
      }
      let nothing: PlanOutcome = isCutShort ? .timeLimit(lowerBound: .zero) : try outcome(attempts[0].search, attempts[0].space)
      return BestBatch(outcome: nothing, batch: attempts[0].batch, compared: compared)
    }
    guard case .planned(var planned) = try outcome(best.search, best.space) else { preconditionFailure("the best batch has a plan") }
    var certificate = planned.certificate
    certificate.status = !isCutShort && attempts.allSatisfy(\.search.isComplete) ? .optimal : .timeLimit
    // No plan of any batch takes less per sequence.
    let leastPerSequence = attempts.map { $0.lowerBound / Double($0.batch) }.min() ?? .zero
    certificate.lowerBound = min(certificate.lowerBound, leastPerSequence * Double(best.batch))
    certificate.priced = attempts.reduce(0) { $0 + $1.search.priced }
    certificate.pruned = attempts.reduce(0) { $0 + $1.search.pruned }
    certificate.infeasible = attempts.reduce(0) { $0 + $1.search.infeasible }
    certificate.space.append(.init(name: "batches", values: compared.map(String.init).joined(separator: " ") + ": the most samples per second"))
    planned.certificate = certificate
    return BestBatch(outcome: .planned(planned), batch: best.batch, compared: compared)
  }

  /// The batches that `searchBatches` looks at, in words.
  ///
  /// - Throws: `PlannerError.usage` for given micro-batches that no batch has.
  package static func batchSpace(_ request: SearchRequest) throws -> Certificate.Dimension {
    let set = try BatchSet(request)
    return .init(
      name: "batches",
      values: "\(set); from \(set.start(usual: request.batch)) on until an octave brings less than 1 % or holds none that fits")
  }

  /// The search of one batch.
  private struct Attempt {
    let batch: Int
    let search: PlanSearch
    let space: Space

    init(_ batch: Int, _ explored: (search: PlanSearch, space: Space)) {
      self.batch = batch
      (search, space) = explored
    }

    /// Of its best plan.
    var step: Seconds { space.tick * Double(search.best?.objective ?? 0) }
    /// Sequences per second of its best plan.
    var rate: Double { search.best == nil ? 0 : Double(batch) / step.value }
    /// No plan of this batch takes less, as far as plans are of interest; without end where there is none.
    var lowerBound: Seconds { search.isComplete && search.lowerBound == 0 ? Seconds(.infinity) : space.tick * Double(search.lowerBound) }
  }
}
