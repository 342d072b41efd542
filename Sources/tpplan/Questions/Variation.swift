// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// What `--vary` names, and its values.
struct Variation: Equatable {
  enum Quantity: String, CaseIterable {
    case batch
    case seq
    case devices
  }

  enum Subject: Equatable {
    case job(Quantity)
    case hardware(String)
  }

  let subject: Subject
  /// Ascending.
  let values: [Double]

  /// - Parameter points: of a range of a number of the hardware, in equal ratios.
  /// - Throws: `UsageError`.
  init(_ text: String, points: Int) throws {
    func wrong(_ problem: String) -> UsageError {
      UsageError("--vary \(text): \(problem); expected WHAT=LOW..HIGH or WHAT=A,B,C, for example nvlink.bandwidth_GBps=50..900 or batch=64..1024")
    }
    guard let equal = text.firstIndex(of: "="), equal > text.startIndex else { throw wrong("there is no name before a =") }
    let name = String(text[..<equal])
    let range = String(text[text.index(after: equal)...])
    let quantity = Quantity(rawValue: name)
    subject = quantity.map { .job($0) } ?? .hardware(name)
    var values: [Double]
    if let dots = range.firstRange(of: "..") {
      guard let low = Double(range[..<dots.lowerBound]), let high = Double(range[dots.upperBound...]), low > 0, low < high, high.isFinite else {
        throw wrong("\"\(range)\" is no range of numbers above 0, the lower first")
      }
      guard 2...1000 ~= points else { throw UsageError("--points \(points): expected 2 to 1000") }
      if quantity == nil {
        values = (0..<points).map { low * pow(high / low, Double($0) / Double(points - 1)) }
        values[points - 1] = high
      } else {
        values = (0..<63).map { low * Double(1 << $0) }.prefix { $0 < high } + [high]
      }
    } else {
      values = try range.split(separator: ",", omittingEmptySubsequences: false).map {
        guard let value = Double($0), value > 0, value.isFinite else { throw wrong("\"\($0)\" is no number above 0") }
        return value
      }
      guard Set(values).count == values.count else { throw wrong("a value is given twice") }
      values.sort()
    }
    if quantity == nil, values.count < 2 { throw wrong("a sweep takes two values or more") }
    if quantity != nil, let wrongValue = values.first(where: { $0 != $0.rounded() || $0 > 1e9 }) {
      throw wrong("\(figure(wrongValue)) is no whole number up to 10^9")
    }
    self.values = values
  }
}

/// A number without digits that say nothing: `50`, `132.4`.
func figure(_ value: Double) -> String {
  let digits = String(format: "%.5g", value)
  return digits.contains("e") ? String(format: "%.0f", value) : digits
}
