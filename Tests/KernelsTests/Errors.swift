// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

/// Machine epsilon of fp32: half of it bounds one rounding.
let epsilon = Double(Float.ulpOfOne)

extension [Float] {
  var doubles: [Double] { map(Double.init) }
}

/// max_i |actual[i] - expected[i]|; infinite where the lengths differ or a value is not a number.
func worstError(_ actual: [Float], _ expected: [Double]) -> Double {
  guard actual.count == expected.count else { return .infinity }
  return zip(actual, expected).reduce(0) { worst, pair in
    let error = Double(pair.0) == pair.1 ? 0 : abs(Double(pair.0) - pair.1)
    return error.isNaN ? .infinity : max(worst, error)
  }
}

/// The gradient of `loss` at `x` by central differences: error about step² for values and derivatives of order 1.
func centralDifferences(_ x: [Double], step: Double = 1e-5, _ loss: ([Double]) -> Double) -> [Double] {
  var point = x
  return x.indices.map { i in
    point[i] = x[i] + step
    let above = loss(point)
    point[i] = x[i] - step
    let below = loss(point)
    point[i] = x[i]
    return (above - below) / (2 * step)
  }
}

func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
