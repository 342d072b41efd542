// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Hardware
import Quantities

/// α and β of the level that joins the ranks, from the times of collectives and messages.
struct CommunicationFit {
  let bandwidth: Bandwidth
  let latency: Seconds
  let startup: Seconds
  let patterns: PatternEfficiency
  let collectives: [CalibrationRecord.Collective]
  let errors: [CalibrationRecord.Fit]

  /// A kind's steps and the share of its bytes that travels, in a group of f (`CollectiveCost`).
  private static func factors(_ pattern: CommunicationPattern, ranks: Int) -> (steps: Double, share: Double) {
    let f = Double(ranks)
    let tree = log2(f).rounded(.up)
    switch pattern {
    case .allReduce: return (2 * tree, 2 * (f - 1) / f)
    case .allGather, .reduceScatter: return (tree, (f - 1) / f)
    case .allToAll: return (f - 1, (f - 1) / f)
    case .message: return (1, 1)
    }
  }

  /// A time is startup + steps · α + bytes that travel · β, with a β for each kind: linear.
  ///
  /// - Returns: nil where nothing was measured.
  init?(_ measured: [CalibrationMeasurements.Communication]) {
    guard !measured.isEmpty else { return nil }
    let kinds = CommunicationPattern.allCases
    let rows = measured.map { m -> [Double] in
      let (steps, share) = Self.factors(m.pattern, ranks: m.ranks)
      return [1, steps] + kinds.map { $0 == m.pattern ? share * m.bytes : 0 }
    }
    let x = NonNegativeFit.fit(rows, measured.map(\.seconds))
    // A kind whose bytes were found to cost nothing is as fast as the fastest.
    let rates = kinds.indices.map { x[2 + $0] > 0 ? 1 / x[2 + $0] : 0 }
    let most = max(rates.max() ?? 0, 1e6)
    bandwidth = Bandwidth(rounded4(most))
    (startup, latency) = (.microseconds(rounded4(x[0] * 1e6)), .microseconds(rounded4(x[1] * 1e6)))
    var patterns = PatternEfficiency.even
    for (kind, rate) in zip(kinds, rates) where rate > 0 { patterns[kind] = min(1, rounded4(rate / most)) }
    self.patterns = patterns

    collectives = Set(measured.map(\.ranks)).sorted().flatMap { ranks in
      kinds.compactMap { kind -> CalibrationRecord.Collective? in
        let own = measured.filter { $0.ranks == ranks && $0.pattern == kind }.sorted { $0.bytes < $1.bytes }
        guard let smallest = own.first, let largest = own.last else { return nil }
        let share = Self.factors(kind, ranks: ranks).share
        return .init(
          pattern: kind, ranks: ranks, microseconds: rounded4(smallest.seconds * 1e6),
          gigabytesPerSecond: rounded4(max(share * largest.bytes / largest.seconds * 1e-9, 1e-6)))
      }
    }
    let sizes = zip(rows, measured).map { row, m in abs(zip(row, x).reduce(0) { $0 + $1.0 * $1.1 } / m.seconds - 1) }
    errors = [
      .init(
        name: "communication", measurements: sizes.count, medianError: rounded4(sizes.median ?? 0), worstError: rounded4(sizes.max() ?? 0))
    ]
  }
}
