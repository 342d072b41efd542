// SPDX-License-Identifier: GPL-3.0-or-later

/// How far predictions are from measurements; errors are predicted ÷ measured − 1.
package struct ErrorFigures: Hashable, Sendable {
  package let rows: Int
  /// Of the errors' sizes.
  package let mean: Double
  package let p95: Double
  /// The mean of the errors with their signs.
  package let bias: Double
  package let worst: (id: String, error: Double)

  /// - Returns: nil without any.
  init?(_ errors: [(id: String, error: Double)]) {
    guard let worst = errors.max(by: { abs($0.error) < abs($1.error) }) else { return nil }
    let sizes = errors.map { abs($0.error) }.sorted()
    rows = errors.count
    mean = sizes.reduce(0, +) / Double(sizes.count)
    p95 = sizes[min(sizes.count - 1, Int((0.95 * Double(sizes.count)).rounded(.up)) - 1)]
    bias = errors.reduce(0) { $0 + $1.error } / Double(errors.count)
    self.worst = worst
  }

  package static func == (a: Self, b: Self) -> Bool { (a.rows, a.mean, a.p95, a.bias, a.worst.id) == (b.rows, b.mean, b.p95, b.bias, b.worst.id) }
  package func hash(into hasher: inout Hasher) { hasher.combine(mean) }
}

/// How well the order of predictions is that of measurements, among splits of one job.
package struct RankFigures: Hashable, Sendable {
  package let rows: Int
  /// Spearman's ρ of the order in which a planner has them: those that are predicted to fit by their times, then the others by theirs. Nil where all
  /// predictions, or all measurements, are equal.
  package let spearman: Double?
  /// How much slower the split that is predicted to be fastest, of those that are predicted to fit, is than the fastest measured.
  package let regret: Double

  /// - Parameter fits: whether each is predicted to fit; nil where nothing is said of it. Where none is, all count.
  /// - Returns: nil with fewer than two rows.
  init?(predicted: [Double], measured: [Double], fits: [Bool]? = nil) {
    guard predicted.count > 1, predicted.count == measured.count else { return nil }
    rows = predicted.count
    // Of the two parts one is behind the other, whatever the times.
    let span = predicted.max()! - predicted.min()! + 1
    let order = predicted.indices.map { predicted[$0] + (fits?[$0] ?? true ? 0 : 2 * span) }
    spearman = Self.correlation(Self.ranks(order), Self.ranks(measured))
    // Of several favourites, one as likely as another.
    let fitting = measured.indices.filter { fits?[$0] ?? true }
    let choice = fitting.isEmpty ? Array(measured.indices) : fitting
    let least = choice.map { predicted[$0] }.min()!
    let favourites = choice.filter { predicted[$0] == least }
    regret = favourites.reduce(0) { $0 + measured[$1] } / Double(favourites.count) / measured.min()! - 1
  }

  /// Places from 1; equal values share the mean of theirs.
  static func ranks(_ values: [Double]) -> [Double] {
    let order = values.indices.sorted { (values[$0], $0) < (values[$1], $1) }
    var ranks = [Double](repeating: 0, count: values.count)
    var start = 0
    while start < order.count {
      var end = start
      while end < order.count, values[order[end]] == values[order[start]] { end += 1 }
      for place in start..<end { ranks[order[place]] = Double(start + end + 1) / 2 }
      start = end
    }
    return ranks
  }

  private static func correlation(_ a: [Double], _ b: [Double]) -> Double? {
    let (meanA, meanB) = (a.reduce(0, +) / Double(a.count), b.reduce(0, +) / Double(b.count))
    let products = zip(a, b).reduce(0) { $0 + ($1.0 - meanA) * ($1.1 - meanB) }
    let (squaresA, squaresB) = (a.reduce(0) { $0 + ($1 - meanA) * ($1 - meanA) }, b.reduce(0) { $0 + ($1 - meanB) * ($1 - meanB) })
    return squaresA > 0 && squaresB > 0 ? products / (squaresA * squaresB).squareRoot() : nil
  }
}

/// The naive prediction: operations ÷ (devices × one rate), and the bubble. The rate is the one with the least mean error on the rows that it is
/// then judged by: an advantage that a model without such a constant does not have.
struct NaiveBaseline {
  let rate: Double

  init?(_ rows: [(step: NaiveStep, measured: Double)]) {
    // The mean error is least where one of the rows has none: between two of these every error is 1/rate times a constant, plus a constant.
    let candidates = rows.map { $0.step.seconds(at: 1) / $0.measured }
    func mean(_ rate: Double) -> Double { candidates.reduce(0) { $0 + abs($1 / rate - 1) } }
    guard let best = candidates.map({ (error: mean($0), rate: $0) }).min(by: { ($0.error, $0.rate) < ($1.error, $1.rate) }) else { return nil }
    rate = best.rate
  }
}
