// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Hardware
import Kernels
import Quantities

/// The constants of one core's kernels, from their times.
struct ComputeFit {
  let peak: FLOPRate
  let bandwidth: Bandwidth
  let launch: Seconds
  let efficiency: KernelEfficiency
  let errors: [CalibrationRecord.Fit]

  /// - Precondition: products, attention forward and backward, and streams of every kind have been measured.
  init(_ measured: CalibrationMeasurements, source: String) {
    // A product's time is that of its multiply-adds and of what each of its matrices costs: linear in the constants (`KernelEfficiency.gemm`).
    let products = measured.products
    let rows = products.map { p in
      let (m, n, k) = (Double(p.rows), Double(p.columns), Double(p.depth))
      return [2 * m * n * k, 2 * m * n, 2 * n * k, 2 * m * k]
    }
    let x = NonNegativeFit.fit(rows, products.map(\.seconds))
    // Where multiply-adds themselves were found to cost nothing, the constants mean nothing: the best rate stands for all.
    let fastest = products.map { $0.operations / $0.seconds }.max() ?? 1
    let asymptote = x[0] > 0 ? 1 / x[0] : fastest
    let halves = x[0] > 0 ? x.dropFirst().map { rounded4($0 / x[0]) } : [0, 0, 0]
    let peak = max(fastest, asymptote)

    func attentionRate(isBackward: Bool) -> Double {
      measured.attention.filter { $0.isBackward == isBackward }.map { Self.operations($0) / $0.seconds }.median ?? 0
    }
    let (forward, backward) = (attentionRate(isBackward: false), attentionRate(isBackward: true))
    func streams(_ kind: CalibrationMeasurements.Stream.Kind) -> [CalibrationMeasurements.Stream] { measured.streams.filter { $0.kind == kind } }
    let plain = streams(.plain).map { $0.bytes / $0.seconds }.median ?? 0
    let optimizer = streams(.optimizer).map { $0.bytes / $0.seconds }.median ?? 0
    let exponentials = rounded4(streams(.exponential).map { $0.exponentials / $0.seconds }.median ?? 0)
    let most = max(plain, optimizer)

    self.peak = FLOPRate(rounded4(peak))
    bandwidth = Bandwidth(rounded4(most))
    launch = .microseconds(rounded4(measured.callSeconds * 1e6))
    func fraction(_ rate: Double, of whole: Double) -> Double { min(1, rounded4(rate / whole)) }
    efficiency = KernelEfficiency(
      gemm: fraction(asymptote, of: peak), gemmHalfDepth: halves[0], gemmHalfRows: halves[1], gemmHalfColumns: halves[2],
      attention: fraction(forward, of: peak), attentionBackward: fraction(backward, of: peak), attentionBlock: Double(Attention.causalBlock),
      exponentials: exponentials, memory: fraction(plain, of: most), optimizer: fraction(optimizer, of: most), source: source)

    func error(_ name: String, _ pairs: [(fitted: Double, measured: Double)]) -> CalibrationRecord.Fit {
      let sizes = pairs.map { abs($0.fitted / $0.measured - 1) }
      return .init(name: name, measurements: pairs.count, medianError: rounded4(sizes.median ?? 0), worstError: rounded4(sizes.max() ?? 0))
    }
    let fitted = (efficiency, self.peak.value, bandwidth.value)
    errors = [
      error(
        "matrix products",
        products.map {
          let rate = fitted.1 * fitted.0.gemm(rows: Double($0.rows), columns: Double($0.columns), depth: Double($0.depth))
          return ($0.operations / rate, $0.seconds)
        }),
      error(
        "attention",
        measured.attention.map {
          (Self.operations($0) / (fitted.1 * ($0.isBackward ? fitted.0.attentionBackward : fitted.0.attention)), $0.seconds)
        }),
      error("streams", streams(.plain).map { ($0.bytes / (fitted.2 * fitted.0.memory), $0.seconds) }),
      error(
        "exponentials", streams(.exponential).map { (max($0.exponentials / exponentials, $0.bytes / (fitted.2 * fitted.0.memory)), $0.seconds) }),
      error("optimizer", streams(.optimizer).map { ($0.bytes / (fitted.2 * fitted.0.optimizer), $0.seconds) }),
    ]
  }

  /// Those that blocks of queries compute: under a causal mask half of them, and half a block beside each diagonal (`DeviceRates.maskWaste`).
  private static func operations(_ a: CalibrationMeasurements.Attention) -> Double {
    let keys = Double(a.keys)
    return a.operations * (a.isCausal ? min(1, 0.5 + min(Double(Attention.causalBlock), keys) / (2 * keys)) : 1)
  }
}

/// Four significant digits: more than a clock tells.
func rounded4(_ value: Double) -> Double {
  guard value != 0, value.isFinite else { return value }
  return Double(String(format: "%.4g", value)) ?? value
}
