// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A constant of a hardware file that measured steps may tell: it has a physical meaning, and a range outside of which it has none.
package struct FittableConstant: Hashable, Sendable {
  /// Its key in the file, which ends in its unit; a fraction where there is none.
  package let key: String
  /// What values it may be fitted to; all are above zero. No kernel or link runs at all of its
  /// nominal rate: cuBLAS and stream kernels measure up to 0.9 of it on A100 and H100, and 0.95 is the most that a fit gives.
  package let low: Double
  package let high: Double
  /// What a file says that does not have the key.
  package let usual: Double
  /// From where a fit looks whose file says 0, of which no factor leads away; nil where 0 is no value.
  package var start: Double?
  package let meaning: String

  /// Whether it is a fraction of a nominal rate, and so at most 1 in any file.
  package var isFraction: Bool { high <= 1 }

  /// The nearest value of the range.
  package func clamped(_ value: Double) -> Double { min(max(value, low), high) }

  /// Of a device kind's `efficiency`.
  package static let ofDevices = [
    FittableConstant(key: "gemm", low: 0.2, high: 0.95, usual: 1, meaning: "part of the peak rate that a deep matrix product reaches"),
    FittableConstant(
      key: "gemm_half_depth", low: 8, high: 2000, usual: 0, start: 100, meaning: "inner extent at which a product runs at half of that"),
    FittableConstant(key: "gemm_unaligned", low: 0.05, high: 1, usual: 1, meaning: "part of that with rows of no multiple of 16 bytes"),
    FittableConstant(key: "attention", low: 0.02, high: 0.9, usual: 1, meaning: "part of the peak rate that attention reaches"),
    FittableConstant(key: "memory", low: 0.2, high: 0.95, usual: 1, meaning: "part of the memory bandwidth that a streaming kernel reaches"),
    FittableConstant(key: "dispatch_us", low: 1, high: 300, usual: 0, start: 30, meaning: "the host's time to hand over one operator"),
  ]

  /// Of a level of the network.
  package static let ofLevels = [
    FittableConstant(key: "efficiency", low: 0.1, high: 0.95, usual: 1, meaning: "part of the nominal bandwidth that large messages reach"),
    FittableConstant(key: "latency_us", low: 0.1, high: 200, usual: 0, start: 5, meaning: "time of one step of a collective without its bytes"),
    FittableConstant(key: "startup_us", low: 1, high: 2000, usual: 0, start: 20, meaning: "time paid once for each collective"),
  ]
}

/// One constant of one file: whose it is.
package struct ConstantPlace: Hashable, Sendable {
  package enum Owner: Hashable, Sendable {
    case device(String)
    case level(String)
  }

  package let owner: Owner
  package let constant: FittableConstant

  package init(_ owner: Owner, _ constant: FittableConstant) { (self.owner, self.constant) = (owner, constant) }

  /// `attention` of a device, `nvlink.startup_us` of a level.
  package var name: String {
    switch owner {
    case .device: constant.key
    case .level(let level): "\(level).\(constant.key)"
    }
  }
}

/// That constants were fitted: what they were before, and on what.
package struct FitRecord: Hashable, Sendable {
  package struct Value: Hashable, Sendable {
    package let key: String
    package let value: Double
  }

  /// What constants are without the fit, in the order of the format's keys.
  package let unfitted: [Value]
  /// Where these values come from.
  package let source: String?
  /// The rows that the constants were fitted on, and the error there.
  package let rows: String?

  package func unfitted(_ key: String) -> Double? { unfitted.first { $0.key == key }?.value }

  /// Reads `unfitted` and `fitted_on` of an object; nil where it has neither.
  init?(_ o: ObjectReader, _ constants: [FittableConstant]) throws(DocumentError) {
    rows = try o.stringIfPresent("fitted_on")
    let node = o.nodeIfPresent("unfitted")
    if node == nil, rows == nil { return nil }
    var (values, source) = ([Value](), nil as String?)
    if let node {
      let object = try node.object(keys: constants.map(\.key) + ["source"])
      for constant in constants {
        let bound = constant.isFraction ? Bound.fraction : .within(0, 1e12)
        if let value = try object.doubleIfPresent(constant.key, bound) { values.append(Value(key: constant.key, value: value)) }
      }
      source = try object.stringIfPresent("source")
      try object.finish()
    }
    (unfitted, self.source) = (values, source)
  }

  func write(to o: inout JSON.Object) {
    if !unfitted.isEmpty || source != nil {
      var object = JSON.Object(unfitted.map { ($0.key, .double($0.value)) })
      object["source"] = source.map { .string($0) }
      o["unfitted"] = .object(object)
    }
    o["fitted_on"] = rows.map { .string($0) }
  }
}
