// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

@testable import Validation

/// The optimiser of `fit`, on times that are sums of parts, each with a constant of its own.
@Suite struct RobustFitTests {
  /// Times Σ_j part_j / constant_j of some rows.
  private struct Sums {
    let parts: [[Double]]

    init(rows: Int, constants: Int, seed: UInt64) {
      var generator = SeededGenerator(seed: seed)
      parts = (0..<rows).map { _ in (0..<constants).map { _ in Double.random(in: 0.1...1, using: &generator) } }
    }

    func times(_ u: [Double]) -> [Double] { parts.map { zip($0, u).reduce(0) { $0 + $1.0 / exp($1.1) } } }
    func residuals(_ u: [Double], _ measured: [Double]) -> [Double] { zip(times(u), measured).map { log($0 / $1) } }
  }

  private let ranges = (low: [Double](repeating: log(0.01), count: 3), high: [Double](repeating: log(1.0), count: 3))

  @Test("Differential: no point of a grid has a smaller objective", arguments: 1...5)
  func leastOfAll(_ seed: UInt64) throws {
    let sums = Sums(rows: 12, constants: 2, seed: seed)
    var generator = SeededGenerator(seed: seed + 100)
    // Noise of 20 %, so that no point meets all rows.
    let measured = sums.times([log(0.3), log(0.6)]).map { $0 * exp(Double.random(in: -0.2...0.2, using: &generator)) }
    let fit = RobustFit(low: [log(0.1), log(0.1)], high: [0, 0], prior: [log(0.5), log(0.5)])
    let result = try fit.minimise { sums.residuals($0, measured) }
    var least = Double.infinity
    for a in stride(from: log(0.1), through: 0, by: 0.02) {
      for b in stride(from: log(0.1), through: 0, by: 0.02) { least = min(least, fit.objective(sums.residuals([a, b], measured), [a, b])) }
    }
    // It stops where a step gains less than 10⁻⁴ of the objective.
    #expect(result.objective <= least * (1 + 1e-3), "\(result.objective) for \(least) at \(result.point)")
  }

  @Test("Constants that made the times are found, as far as the prior allows", arguments: 1...5)
  func recovers(_ seed: UInt64) throws {
    let sums = Sums(rows: 40, constants: 3, seed: seed)
    let truth = [log(0.2), log(0.35), log(0.8)]
    let fit = RobustFit(low: ranges.low, high: ranges.high, prior: [log(0.4), log(0.4), log(0.4)])
    let result = try fit.minimise { sums.residuals($0, sums.times(truth)) }
    // The true constants cost their distance from the prior alone, and nothing costs less than the least.
    let residuals = sums.residuals(result.point, sums.times(truth))
    #expect(RobustFit.loss(residuals) <= fit.priorTerm(truth, rows: 40) * (1 + 1e-3))
    // With the rows 100 times over, and a prior of one row, that does not count beside them.
    let many = { (u: [Double]) in [[Double]](repeating: sums.residuals(u, sums.times(truth)), count: 100).flatMap { $0 } }
    let plain = RobustFit(low: ranges.low, high: ranges.high, prior: fit.prior, share: 0)
    let exact = try plain.minimise { many($0) }
    for (found, known) in zip(exact.point, truth) { #expect(abs(found - known) < 0.02, "\(exact.point) for \(truth)") }
  }

  @Test("A row far off does not decide")
  func outlier() throws {
    let sums = Sums(rows: 20, constants: 2, seed: 7)
    let truth = [log(0.3), log(0.6)]
    var measured = sums.times(truth)
    let fit = RobustFit(low: [log(0.01), log(0.01)], high: [0, 0], prior: truth)
    measured[3] *= 10
    let robust = try fit.minimise { sums.residuals($0, measured) }
    // By least squares it would move all predictions by ln 10 / 20, 12 %; its pull is bounded by that of a row that is 10 % off.
    for (found, known) in zip(robust.point, truth) { #expect(abs(found - known) < log(1.1)) }
  }

  @Test("What rows do not tell stays where it was, to the last bit; ranges are kept")
  func prior() throws {
    let sums = Sums(rows: 10, constants: 2, seed: 3)
    let measured = sums.times([log(0.3), log(0.6)])
    let fit = RobustFit(low: [log(0.4), log(0.01), log(0.01)], high: [0, 0, 0], prior: [log(0.5), log(0.5), log(0.123)])
    let result = try fit.minimise { u in sums.residuals(Array(u[..<2]), measured) }
    #expect(result.point[2] == log(0.123))
    // 0.3 is below the range.
    #expect(result.point[0] == log(0.4) && result.point[1] >= log(0.01) && result.point[1] <= 0)
    let none = RobustFit(low: [], high: [], prior: [])
    #expect(try none.minimise { _ in [0.1, 0.2] }.point == [])
  }
}
