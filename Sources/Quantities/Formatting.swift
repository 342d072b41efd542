// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Three significant digits, without an exponent: `0.0123`, `1.23`, `12.3`, `1230`.
public func rounded(_ value: Double) -> String {
  guard value != 0, value.isFinite else { return value == 0 ? "0" : "\(value)" }
  let digits = max(0, 2 - Int(log10(abs(value)).rounded(.down)))
  return String(format: "%.\(min(digits, 12))f", value)
}

/// A number with what it counts: `1 device`, `2 devices`, `0 copies`.
///
/// - Parameter plural: where it is not the singular with an s.
public func counted(_ count: Int, _ singular: String, plural: String? = nil) -> String {
  "\(count) \(count == 1 ? singular : plural ?? singular + "s")"
}

/// The first of some names.
public func listed(_ names: [String]) -> String { names.prefix(3).joined(separator: ", ") + (names.count > 3 ? ", …" : "") }

/// `12.5 %`; three significant digits.
package func percent(_ fraction: Double) -> String { "\(rounded(fraction * 100)) %" }

/// Three significant digits with thousands and millions as such: `950`, `1.10 k`, `23.4 M`.
package func abbreviated(_ count: Double) -> String {
  switch count {
  case ..<999.5: rounded(count)
  case ..<999.5e3: rounded(count / 1e3) + " k"
  case ..<999.5e6: rounded(count / 1e6) + " M"
  default: rounded(count / 1e9) + " G"
  }
}

/// `3` or `0–5`.
package func span(_ range: Range<Int>) -> String { range.count == 1 ? "\(range.lowerBound)" : "\(range.lowerBound)–\(range.upperBound - 1)" }

extension Bytes {
  /// Binary units, as memory is sold and limited: `512 B`, `1.50 MiB`, `35.2 GiB`.
  static func format(_ value: Double) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
    var scaled = abs(value)
    var unit = 0
    while scaled >= 1023.5, unit < units.count - 1 {
      scaled /= 1024
      unit += 1
    }
    let sign = value < 0 ? "-" : ""
    return unit == 0 ? "\(sign)\(Int(scaled)) B" : "\(sign)\(rounded(scaled)) \(units[unit])"
  }
}

extension Seconds {
  /// The unit that leaves one to three digits before the point: `12.3 µs`, `4.56 ms`, `7.89 s`.
  static func format(_ value: Double) -> String {
    switch abs(value) {
    case 0: "0 s"
    case ..<0.9995e-6: "\(rounded(value * 1e9)) ns"
    case ..<0.9995e-3: "\(rounded(value * 1e6)) µs"
    case ..<0.9995: "\(rounded(value * 1e3)) ms"
    default: "\(rounded(value)) s"
    }
  }
}
