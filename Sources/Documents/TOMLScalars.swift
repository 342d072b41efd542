// SPDX-License-Identifier: GPL-3.0-or-later

/// Values of TOML that are one word: truth values, numbers, dates and times.
extension TOMLScanner {
  mutating func scalar() throws(TOMLFailure) -> JSON {
    let start = position
    while let byte = peek, Self.isScalar(byte) { position += 1 }
    // A space may stand between a date and a time.
    if Self.isDate(word(from: start)), peek == 0x20, let digit = peek(1), 0x30...0x39 ~= digit {
      position += 1
      while let byte = peek, Self.isScalar(byte) { position += 1 }
    }
    let text = word(from: start)
    guard !text.isEmpty else { throw unexpected("expected a value") }
    if let value = Self.value(text) { return value }
    position = start
    throw TOMLFailure(offset: start, problem: Self.problem(text))
  }

  private func word(from start: Int) -> Substring { Substring(String(decoding: bytes[start..<position], as: UTF8.self)) }

  private static func isScalar(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
    default: "_+-.:".utf8.contains(byte)
    }
  }

  private static func value(_ text: Substring) -> JSON? {
    switch text {
    case "true": return .bool(true)
    case "false": return .bool(false)
    case "inf", "+inf", "-inf", "nan", "+nan", "-nan": return .string(String(text))
    default: return integer(text).map { .int($0) } ?? float(text).map { .double($0) } ?? (isTime(text) ? .string(String(text)) : nil)
    }
  }

  private static func problem(_ text: Substring) -> String {
    let shown = "\(text.prefix(40))"
    let digits = text.drop { $0 == "+" || $0 == "-" }
    if digits.first == "0", digits.count > 1, digits.allSatisfy({ $0.isASCII && $0.isNumber }) {
      return "a number may not begin with a zero: \(shown)"
    }
    if !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }) { return "the number \(shown) does not fit 64 bits" }
    if text.first?.isLetter ?? false { return "\(shown) is no value; strings stand in quotes, and truth values are true and false" }
    return "\(shown) is no number, date or time"
  }

  // MARK: numbers

  /// Digits with underscores between them alone.
  private static func plain(_ text: Substring, _ isDigit: (Character) -> Bool) -> String? {
    let groups = text.split(separator: "_", omittingEmptySubsequences: false)
    return groups.allSatisfy { !$0.isEmpty && $0.allSatisfy(isDigit) } ? groups.joined() : nil
  }

  private static func isDecimal(_ character: Character) -> Bool { character.isASCII && character.isNumber }

  private static func integer(_ text: Substring) -> Int? {
    for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] where text.hasPrefix(prefix) {
      return plain(text.dropFirst(2)) { $0.isASCII && ($0.hexDigitValue.map { $0 < radix } ?? false) }.flatMap { Int($0, radix: radix) }
    }
    let digits = text.first == "+" || text.first == "-" ? text.dropFirst() : text
    guard let plain = plain(digits, isDecimal), plain.first != "0" || plain.count == 1 else { return nil }
    return Int((text.first == "-" ? "-" : "") + plain)
  }

  private static func float(_ text: Substring) -> Double? {
    let unsigned = text.first == "+" || text.first == "-" ? text.dropFirst() : text
    let parts = unsigned.split(maxSplits: 1, omittingEmptySubsequences: false) { $0 == "e" || $0 == "E" }
    let mantissa = parts[0].split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 || mantissa.count == 2, let whole = plain(mantissa[0], isDecimal), whole.first != "0" || whole.count == 1 else {
      return nil
    }
    var number = (text.first == "-" ? "-" : "") + whole
    if mantissa.count == 2 {
      guard let fraction = plain(mantissa[1], isDecimal) else { return nil }
      number += "." + fraction
    }
    if parts.count == 2 {
      let isNegative = parts[1].first == "-"
      guard let exponent = plain(parts[1].first == "+" || isNegative ? parts[1].dropFirst() : parts[1], isDecimal) else { return nil }
      number += (isNegative ? "e-" : "e") + exponent
    }
    return Double(number).flatMap { $0.isFinite ? $0 : nil }
  }

  // MARK: dates and times

  /// A date, a time, or both with an optional offset (RFC 3339).
  private static func isTime(_ text: Substring) -> Bool {
    if isDate(text) || isClock(text) { return true }
    guard text.count > 11, isDate(text.prefix(10)), "Tt ".contains(text.dropFirst(10).first!) else { return false }
    let time = text.dropFirst(11)
    if time.last == "Z" || time.last == "z" { return isClock(time.dropLast()) }
    if let sign = time.lastIndex(where: { $0 == "+" || $0 == "-" }) {
      let offset = time[time.index(after: sign)...].split(separator: ":", omittingEmptySubsequences: false)
      return isClock(time[..<sign]) && offset.count == 2 && number(offset[0], 0...23) != nil && number(offset[1], 0...59) != nil
    }
    return isClock(time)
  }

  private static func isDate(_ text: Substring) -> Bool {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0].count == 4, parts[0].allSatisfy(isDecimal), let year = Int(parts[0]), let month = number(parts[1], 1...12) else {
      return false
    }
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    let days = month == 2 ? (isLeap ? 29 : 28) : [4, 6, 9, 11].contains(month) ? 30 : 31
    return number(parts[2], 1...days) != nil
  }

  private static func isClock(_ text: Substring) -> Bool {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 3, number(parts[0], 0...23) != nil, number(parts[1], 0...59) != nil else { return false }
    let seconds = parts[2].split(separator: ".", omittingEmptySubsequences: false)
    // 60 is a leap second.
    guard seconds.count <= 2, number(seconds[0], 0...60) != nil else { return false }
    return seconds.count == 1 || !seconds[1].isEmpty && seconds[1].allSatisfy(isDecimal)
  }

  private static func number(_ text: Substring, _ range: ClosedRange<Int>) -> Int? {
    guard text.count == 2, text.allSatisfy(isDecimal), let value = Int(text), range.contains(value) else { return nil }
    return value
  }
}
