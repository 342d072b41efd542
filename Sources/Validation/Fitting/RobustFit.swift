// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Finds a few positive constants so that predicted times meet measured ones, for a model that can only be asked what it predicts.
///
/// With u the constants' logarithms and r(u) = ln(predicted / measured) of each row, it looks for the least
///
///     F(u) = Σ ρ(r) + w Σ (δ (u − u₀) / σ)²,   ρ(r) = 2δ² (√(1 + (r/δ)²) − 1),   w = max(1, rows / 20)
///
/// within the constants' ranges. ρ is the pseudo-Huber loss (Charbonnier et al. 1997, table 1): r² for errors below δ = 10 %, in proportion to
/// their size above, so that single rows that the model cannot explain do not decide. The second sum is the prior: a constant that moves from u₀,
/// what it is without the fit, by the factor e^σ = 1.5 counts as much as one row of twenty that is 10 % off. It does not fade where rows are many:
/// rows of one cluster share what the model does not know, and are no independent witnesses.
///
/// The way there is Levenberg's and Marquardt's: steps of the damped normal equations with the loss's weights 1/√(1 + (r/δ)²); constants at an
/// end of their range stay there while the gradient points outwards. The Jacobian is taken by finite differences, and kept up to date between
/// (Broyden 1965) as long as steps made with it bring something: an evaluation prices all rows.
struct RobustFit {
  static let delta = 0.1
  static let spread = log(1.5)
  /// Of finite differences: 5 %.
  static let difference = log(1.05)

  /// ln of the ends of each constant's range.
  let low: [Double]
  let high: [Double]
  /// u₀.
  let prior: [Double]
  /// Rows that a move by e^σ counts like are this part of all, and at least one.
  var share = 0.05

  struct Result {
    var point: [Double]
    var objective: Double
    var evaluations: Int
  }

  /// ρ, summed.
  static func loss(_ residuals: [Double]) -> Double {
    residuals.reduce(0) { $0 + 2 * delta * delta * ((1 + ($1 / delta) * ($1 / delta)).squareRoot() - 1) }
  }

  /// The prior's part of the objective.
  func priorTerm(_ u: [Double], rows: Int) -> Double { trust(rows) * zip(u, prior).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) } }

  /// w (δ/σ)².
  private func trust(_ rows: Int) -> Double { max(1, share * Double(rows)) * (Self.delta / Self.spread) * (Self.delta / Self.spread) }

  func objective(_ residuals: [Double], _ u: [Double]) -> Double { Self.loss(residuals) + priorTerm(u, rows: residuals.count) }

  /// - Parameter residuals: of all rows at a point, always as many.
  /// - Throws: what `residuals` throws.
  func minimise(_ residuals: ([Double]) throws -> [Double]) throws -> Result {
    var u = clamped(prior)
    var evaluations = 1
    var r = try residuals(u)
    var result = Result(point: u, objective: objective(r, u), evaluations: evaluations)
    if u.isEmpty || r.isEmpty { return result }
    func jacobian() throws -> [[Double]] {
      evaluations += u.count
      return try u.indices.map { j in
        var moved = u
        moved[j] = Self.moved(u[j], high[j])
        let step = moved[j] - u[j]
        return zip(try residuals(moved), r).map { ($0 - $1) / step }
      }
    }
    var columns = try jacobian()
    var (isFresh, damping) = (true, 1e-3)
    for _ in 0..<60 {
      let step = step(u, r, columns, damping)
      let next = clamped(zip(u, step).map { $0 + min(max($1, -log(2)), log(2)) })
      let moves = zip(next, u).map { $0 - $1 }
      var gain = 0.0
      if moves.contains(where: { abs($0) >= 1e-3 }) {
        let moved = try residuals(next)
        evaluations += 1
        gain = result.objective - objective(moved, next)
        if gain > 0 {
          update(&columns, by: moves, zip(moved, r).map { $0 - $1 })
          (u, r) = (next, moved)
          result.objective -= gain
          damping = max(damping / 10, 1e-6)
        } else if isFresh {
          damping *= 10
          if damping > 1e4 { break }
          continue
        }
      }
      if gain > 1e-4 * result.objective {
        isFresh = false
      } else if isFresh {
        break
      } else {
        columns = try jacobian()
        isFresh = true
      }
    }
    (result.point, result.evaluations) = (u, evaluations)
    return result
  }

  /// Where a finite difference looks from `u`: above, or below where the range ends.
  static func moved(_ u: Double, _ high: Double) -> Double { u + difference <= high ? u + difference : u - difference }

  private func clamped(_ u: [Double]) -> [Double] { u.indices.map { min(max(u[$0], low[$0]), high[$0]) } }

  /// Broyden's update: the least change of the Jacobian that explains what a step did.
  private func update(_ columns: inout [[Double]], by step: [Double], _ change: [Double]) {
    let length = step.reduce(0) { $0 + $1 * $1 }
    for row in change.indices {
      let missing = (change[row] - step.indices.reduce(0) { $0 + columns[$1][row] * step[$1] }) / length
      for j in step.indices { columns[j][row] += missing * step[j] }
    }
  }

  /// The damped step from the normal equations of the constants that are free.
  private func step(_ u: [Double], _ r: [Double], _ columns: [[Double]], _ damping: Double) -> [Double] {
    let weights = r.map { 1 / (1 + ($0 / Self.delta) * ($0 / Self.delta)).squareRoot() }
    let trust = trust(r.count)
    let gradient = u.indices.map { j in
      r.indices.reduce(trust * (u[j] - prior[j])) { $0 + weights[$1] * r[$1] * columns[j][$1] }
    }
    let free = u.indices.filter { j in !(u[j] <= low[j] && gradient[j] > 0) && !(u[j] >= high[j] && gradient[j] < 0) }
    var matrix = free.map { a in
      free.map { b in
        let product = r.indices.reduce(0) { $0 + weights[$1] * columns[a][$1] * columns[b][$1] } + (a == b ? trust : 0)
        return a == b ? product * (1 + damping) : product
      }
    }
    var values = free.map { -gradient[$0] }
    solve(&matrix, &values)
    var step = [Double](repeating: 0, count: u.count)
    for (place, j) in free.enumerated() { step[j] = values[place] }
    return step
  }

  /// Gauss's elimination; the matrix is positive definite, so that no pivot is zero.
  private func solve(_ matrix: inout [[Double]], _ values: inout [Double]) {
    for i in values.indices {
      for k in values.indices where k > i {
        let factor = matrix[k][i] / matrix[i][i]
        for j in values.indices where j >= i { matrix[k][j] -= factor * matrix[i][j] }
        values[k] -= factor * values[i]
      }
    }
    for i in values.indices.reversed() {
      values[i] = (values[i] - values.indices.reduce(0) { $1 > i ? $0 + matrix[i][$1] * values[$1] : $0 }) / matrix[i][i]
    }
  }
}
