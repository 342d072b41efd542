// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Hardware

/// What a fit found, and what it is worth.
package struct FitReport: Sendable {
  package struct Constant: Sendable {
    package let constant: FitConstant
    /// Whether it was among those that were fitted.
    package let isFitted: Bool
    package let after: Double
    /// How much predictions move when the constant moves from its prior value by 10 %.
    package let movement: Double
    /// How much the mean error rises when the constant moves by 10 %, up and down, in the mean.
    package let rise: Double

    /// Whether the rows tell it at all.
    package var isTold: Bool { movement >= FitProblem.leastMovement }
    package var isAtEnd: Bool { isFitted && (after <= constant.constant.low || after >= constant.constant.high) }
  }

  package struct Fold: Sendable {
    package let name: String
    package let rows: Int
    package let values: [(constant: Int, value: Double)]
    /// Errors on the rows that were left out: with constants fitted without them, and with those fitted with them.
    package let without: ErrorFigures
    package let with: ErrorFigures
  }

  package let constants: [Constant]
  /// Indices of rows that the constants were fitted on.
  package let rows: [Int]
  package let before: ErrorFigures
  package let after: ErrorFigures
  /// With what constants are without any fit; nil where that is what the files say.
  package let unfitted: ErrorFigures?
  package let folds: [Fold]
  /// Over all folds, of each row with constants that were fitted without it.
  package let leftOut: ErrorFigures?
  package let files: [HardwareFile]
  package let evaluations: Int

  /// - Parameters:
  ///   - chosen: constants by number; nil: those that the rows tell.
  ///   - limit: rows that are priced for each step of the fit, at most.
  ///   - folds: groups that are left out in turn, at most; 0: none.
  package init(_ problem: FitProblem, chosen: [Int]?, rowsAtMost limit: Int, folds: Int) throws {
    let all = Array(problem.samples.indices)
    rows = FitSamples.sampled(problem.samples, atMost: limit, among: all)
    let active = try chosen ?? problem.telling(Array(problem.constants.indices), on: rows)
    let solution = try problem.fit(active, on: rows)
    let files = try problem.files(with: solution.values)
    let own = problem.files.map(\.file)
    guard let before = try problem.figures(of: all, on: own), let after = try problem.figures(of: all, on: files) else {
      preconditionFailure("a fit needs rows")
    }
    (self.before, self.after, self.files) = (before, after, files)
    let plain = own.map { $0.unfitted ?? $0 }
    unfitted = plain == own ? nil : try problem.figures(of: all, on: plain)
    constants = try Self.constants(problem, solution, rows)
    let groups = folds > 0 ? FitSamples.groups(problem.samples, atMost: folds) : []
    var found: [Fold] = []
    var errors: [(id: String, error: Double)] = []
    if groups.count > 1 {
      for group in groups {
        let inside = Set(group.indices)
        let values = try problem.fit(active, on: rows.filter { !inside.contains($0) }).values
        let logs = try problem.logErrors(of: group.indices, with: values)
        let without = zip(group.indices, logs).map { (id: problem.samples[$0].row.id, error: exp($1) - 1) }
        errors += without
        guard let figures = ErrorFigures(without), let with = try problem.figures(of: group.indices, on: files) else { continue }
        found.append(Fold(name: group.name, rows: group.indices.count, values: values, without: figures, with: with))
      }
    }
    self.folds = found
    leftOut = ErrorFigures(errors)
    evaluations = problem.evaluations
  }

  private static func constants(_ problem: FitProblem, _ solution: FitProblem.Solution, _ rows: [Int]) throws -> [Constant] {
    func mean(_ values: [(constant: Int, value: Double)]) throws -> Double {
      try problem.logErrors(of: rows, with: values).reduce(0) { $0 + abs(exp($1) - 1) } / Double(rows.count)
    }
    let least = try mean(solution.values)
    return try problem.constants.indices.map { i in
      let constant = problem.constants[i]
      let fitted = solution.values.first { $0.constant == i }?.value
      let value = fitted ?? constant.constant.clamped(constant.value)
      let others = solution.values.filter { $0.constant != i }
      // Where the range ends, one side says enough.
      let sides = [value * 1.1, value / 1.1].filter { $0 >= constant.constant.low && $0 <= constant.constant.high }
      let rises = try sides.map { try mean(others + [(i, $0)]) - least }
      return Constant(
        constant: constant, isFitted: fitted != nil, after: fitted ?? constant.value, movement: try problem.movement(of: i, on: rows),
        rise: rises.reduce(0, +) / Double(max(1, rises.count)))
    }
  }
}
