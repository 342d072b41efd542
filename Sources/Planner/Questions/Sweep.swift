// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Plans
import Quantities
import Search

/// The best plans along a range of one number, and the points between them at which the best plan changes.
///
/// Between two points with different plans A and B a third is searched for where A and B take equally long, which is found by pricing both, without a search. If nothing
/// is faster there, that is the flip point: below A is the best, above B, as their difference changes its sign once. Otherwise the faster plan C parts the
/// interval, and both parts are looked at in the same way (as parametric linear programs are solved: Eisner & Severance 1976, "Mathematical techniques for
/// efficient record segmentation in large shared databases", J. ACM 23). What is best only between two points at which another plan is, is not found:
/// `points` decides how closely they lie.
package struct Sweep {
  /// A part of the range in which one plan is the best.
  package struct Interval: Sendable {
    package let low: Double
    package let high: Double
    /// Index into `plans`; nil where nothing fits.
    package let plan: Int?
    /// What a step takes at both ends; nil where nothing fits.
    package let steps: (low: Seconds, high: Seconds)?
  }

  /// In the order in which they were found.
  package private(set) var plans: [PlanOutcome.Planned] = []
  package private(set) var intervals: [Interval] = []
  /// Whether every search came to its end.
  package private(set) var isComplete = true
  /// Searches that were made.
  package private(set) var searches = 0

  /// The relative width to which a flip point is known.
  package static let precision = 1e-4
  /// Plans whose steps differ by less are one: neither is worth a change.
  private static let tolerance = 1e-6

  private struct Point {
    let value: Double
    let plan: Int?
  }

  private let request: (Double) throws -> SearchRequest
  private let monitor: SearchMonitor

  /// - Parameters:
  ///   - points: at which is searched whatever is found, at least two, ascending.
  ///   - request: the request for a value; it differs in its cluster alone.
  /// - Throws: what a search throws.
  package init(points: [Double], monitor: SearchMonitor = SearchMonitor(), request: @escaping (Double) throws -> SearchRequest) throws {
    precondition(points.count > 1 && zip(points, points.dropFirst()).allSatisfy { $0 < $1 }, "two ascending points or more")
    (self.request, self.monitor) = (request, monitor)
    var found: [Point] = []
    for point in points { found.append(Point(value: point, plan: try best(at: point))) }
    var ends: [Point] = []
    for (low, high) in zip(found, found.dropFirst()) { ends += try flips(between: low, and: high) }
    var start = points[0]
    for end in ends + [Point(value: points[points.count - 1], plan: found[found.count - 1].plan)] {
      // Two points with one plan between them have no flip.
      if let last = intervals.last, last.plan == end.plan {
        start = last.low
        intervals.removeLast()
      }
      intervals.append(try interval(start, end.value, end.plan))
      start = end.value
    }
  }

  /// Where the plan changes between two points, ascending, each with the plan below it.
  private mutating func flips(between low: Point, and high: Point) throws -> [Point] {
    guard low.plan != high.plan else { return [] }
    let value = try crossing(low, high)
    // The flip is as near to an end as it can be told.
    if value / low.value < 1 + Self.precision || high.value / value < 1 + Self.precision || monitor.stop.isReached {
      return [Point(value: value, plan: low.plan)]
    }
    let plan = try best(at: value)
    if plan == low.plan || plan == high.plan { return [Point(value: value, plan: low.plan)] }
    let middle = Point(value: value, plan: plan)
    return try flips(between: low, and: middle) + flips(between: middle, and: high)
  }

  /// Where the plan of `low` stops being at least as good as that of `high`.
  private func crossing(_ low: Point, _ high: Point) throws -> Double {
    var (a, b) = (low.value, high.value)
    while b / a > 1 + Self.precision / 4 {
      let middle = (a * b).squareRoot()
      let (first, second) = (try step(low.plan, at: middle), try step(high.plan, at: middle))
      let isFirst =
        switch (first, second) {
        case (let first?, let second?): first <= second
        case (_?, nil), (nil, nil): true
        case (nil, _?): false
        }
      if isFirst { a = middle } else { b = middle }
    }
    return (a * b).squareRoot()
  }

  /// What a plan takes at a value; nil where it does not fit there.
  private func step(_ plan: Int?, at value: Double) throws -> Seconds? {
    guard let plan else { return nil }
    let request = try request(value)
    let prediction = try Planner.predict(plans[plan].decision, on: request.cluster)
    return prediction.memory <= request.memoryLimit ?? prediction.memoryLimit ? prediction.step : nil
  }

  /// The best of the known plans, unless a search finds a better one.
  private mutating func best(at value: Double) throws -> Int? {
    var known: (plan: Int, step: Seconds)?
    for plan in plans.indices {
      guard let step = try step(plan, at: value), step < known?.step ?? Seconds(.infinity) else { continue }
      known = (plan, step)
    }
    searches += 1
    let (search, space) = try Planner.explore(try request(value), monitor, below: known?.step)
    isComplete = isComplete && search.isComplete
    guard search.best != nil, case .planned(let planned) = try Planner.outcome(search, space) else { return known?.plan }
    if let known, planned.prediction.step >= known.step * (1 - Self.tolerance) { return known.plan }
    plans.append(planned)
    return plans.count - 1
  }

  private func interval(_ low: Double, _ high: Double, _ plan: Int?) throws -> Interval {
    // At its ends another plan takes as long, or more memory.
    let steps: (low: Seconds, high: Seconds)? = try plan.map { plan in
      func step(_ value: Double) throws -> Seconds { try Planner.predict(plans[plan].decision, on: request(value).cluster).step }
      return (try step(low), try step(high))
    }
    return Interval(low: low, high: high, plan: plan, steps: steps)
  }
}
