// SPDX-License-Identifier: GPL-3.0-or-later

/// Reads JSON text once, front to back, straight into arrays of numbers: a problem has up to a hundred megabytes of them, and a tree of values
/// would take minutes and gigabytes.
struct Scanner: ~Copyable {
  private let bytes: UnsafeBufferPointer<UInt8>
  private let file: String
  private(set) var position = 0
  /// Where the scanner is, for messages.
  var path: [Step] = []

  enum Step {
    case key(String)
    case index(Int)
  }

  init(_ bytes: UnsafeBufferPointer<UInt8>, file: String) {
    self.bytes = bytes
    self.file = file
  }

  var pathText: String {
    path.reduce("$") { text, step in
      switch step {
      case .key(let key): text + ".\(key)"
      case .index(let index): text + "[\(index)]"
      }
    }
  }

  func failure(expected: String, at index: Int? = nil) -> ShardingProblemError {
    .syntax(file: file, path: pathText + (index.map { "[\($0)]" } ?? ""), offset: position, found: foundText, expected: expected)
  }

  /// What stands at the current position, in words.
  private var foundText: String {
    guard position < bytes.count else { return "the end of the file" }
    let isWord: (UInt8) -> Bool = { byte in
      UInt8(ascii: "0") <= byte && byte <= UInt8(ascii: "9") || UInt8(ascii: "A") <= byte && byte <= UInt8(ascii: "Z")
        || UInt8(ascii: "a") <= byte && byte <= UInt8(ascii: "z") || [UInt8(ascii: "-"), UInt8(ascii: "+"), UInt8(ascii: ".")].contains(byte)
    }
    let word = bytes[position...].prefix(24).prefix(while: isWord)
    if !word.isEmpty { return String(decoding: word, as: UTF8.self) }
    let byte = bytes[position]
    return byte > 32 && byte < 127 ? "'\(Character(UnicodeScalar(byte)))'" : "a byte of value \(byte)"
  }

  @inline(__always)
  mutating func skipSpace() {
    while position < bytes.count {
      let byte = bytes[position]
      guard byte == 32 || byte == 10 || byte == 13 || byte == 9 else { return }
      position += 1
    }
  }

  /// Takes `byte` if it comes next.
  @inline(__always)
  mutating func take(_ byte: UInt8) -> Bool {
    skipSpace()
    guard position < bytes.count, bytes[position] == byte else { return false }
    position += 1
    return true
  }

  mutating func expectEnd() throws(ShardingProblemError) {
    skipSpace()
    guard position == bytes.count else { throw failure(expected: "the end of the file") }
  }

  /// Calls `member` for each key of an object; it must read the value.
  mutating func object(_ member: (inout Scanner, String) throws(ShardingProblemError) -> Void) throws(ShardingProblemError) {
    guard take(UInt8(ascii: "{")) else { throw failure(expected: "an object") }
    if take(UInt8(ascii: "}")) { return }
    var keys: [String] = []
    while true {
      skipSpace()
      let start = position
      let key = try string()
      guard !keys.contains(key) else { throw .duplicateKey(file: file, path: pathText, key: key, offset: start) }
      keys.append(key)
      guard take(UInt8(ascii: ":")) else { throw failure(expected: "':'") }
      path.append(.key(key))
      try member(&self, key)
      path.removeLast()
      if take(UInt8(ascii: ",")) { continue }
      guard take(UInt8(ascii: "}")) else { throw failure(expected: "',' or '}'") }
      return
    }
  }

  /// Calls `element` for each element of an array; it must read it.
  mutating func array(_ element: (inout Scanner, Int) throws(ShardingProblemError) -> Void) throws(ShardingProblemError) {
    guard take(UInt8(ascii: "[")) else { throw failure(expected: "an array") }
    if take(UInt8(ascii: "]")) { return }
    var index = 0
    path.append(.index(0))
    while true {
      path[path.count - 1] = .index(index)
      try element(&self, index)
      index += 1
      if take(UInt8(ascii: ",")) { continue }
      guard take(UInt8(ascii: "]")) else { throw failure(expected: "',' or ']'") }
      path.removeLast()
      return
    }
  }

  /// Appends all numbers of an array to `numbers`.
  mutating func numbers(into numbers: inout [Int64]) throws(ShardingProblemError) {
    guard take(UInt8(ascii: "[")) else { throw failure(expected: "an array of whole numbers") }
    if take(UInt8(ascii: "]")) { return }
    let first = numbers.count
    while true {
      numbers.append(try number(at: numbers.count - first))
      if position < bytes.count, bytes[position] == UInt8(ascii: ",") {
        position += 1
        continue
      }
      if take(UInt8(ascii: ",")) { continue }
      guard take(UInt8(ascii: "]")) else { throw failure(expected: "',' or ']'", at: numbers.count - first) }
      return
    }
  }

  /// A whole number; what is beyond 64 bits becomes the largest (smallest) number that they hold.
  @inline(__always)
  mutating func number(at index: Int? = nil) throws(ShardingProblemError) -> Int64 {
    skipSpace()
    let start = position
    let isNegative = position < bytes.count && bytes[position] == UInt8(ascii: "-")
    if isNegative { position += 1 }
    let firstDigit = position
    var value: UInt64 = 0
    while position < bytes.count {
      let digit = bytes[position] &- UInt8(ascii: "0")
      guard digit < 10 else { break }
      value = value &* 10 &+ UInt64(digit)
      position += 1
    }
    let count = position - firstDigit
    let isFraction = position < bytes.count && [UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E")].contains(bytes[position])
    if count == 0 || count > 18 || isFraction || count > 1 && bytes[firstDigit] == UInt8(ascii: "0") {
      position = start
      return try unusualNumber(at: index)
    }
    return isNegative ? -Int64(value) : Int64(value)
  }

  /// A number of more than 18 digits, or one with a fraction or an exponent (lawful where its value is whole).
  private mutating func unusualNumber(at index: Int?) throws(ShardingProblemError) -> Int64 {
    let expected = "a whole number"
    let allowed = Array("+-0123456789.eE".utf8)
    let text = bytes[position...].prefix(400).prefix { allowed.contains($0) }
    let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text
    guard let lead = digits.first, UInt8(ascii: "0")...UInt8(ascii: "9") ~= lead,
      lead != UInt8(ascii: "0") || digits.dropFirst().first.map({ [UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E")].contains($0) }) ?? true
    else { throw failure(expected: expected, at: index) }
    let string = String(decoding: text, as: UTF8.self)
    if digits.allSatisfy({ UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }) {
      position += text.count
      return Int64(string) ?? (string.hasPrefix("-") ? .min : .max)
    }
    guard let last = text.last, UInt8(ascii: "0")...UInt8(ascii: "9") ~= last, let value = Double(string), value == value.rounded() else {
      throw failure(expected: expected, at: index)
    }
    position += text.count
    return Int64(exactly: value) ?? (value < 0 ? .min : .max)
  }

  /// A string; of escapes only those that stand for one ASCII character are decoded: the format's keys have none.
  mutating func string() throws(ShardingProblemError) -> String {
    guard take(UInt8(ascii: "\"")) else { throw failure(expected: "a string") }
    let start = position
    while position < bytes.count, bytes[position] != UInt8(ascii: "\""), bytes[position] >= 32 {
      position += bytes[position] == UInt8(ascii: "\\") ? 2 : 1
    }
    guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
      position = min(position, bytes.count)
      throw failure(expected: "the rest of a string")
    }
    position += 1
    return String(decoding: bytes[start..<position - 1], as: UTF8.self)
  }

  /// Skips a value of any type.
  mutating func skipValue(depth: Int = 0) throws(ShardingProblemError) {
    guard depth < 512 else { throw failure(expected: "fewer than 512 nested values") }
    skipSpace()
    switch position < bytes.count ? bytes[position] : 0 {
    case UInt8(ascii: "{"): try object { (scanner, _) throws(ShardingProblemError) in try scanner.skipValue(depth: depth + 1) }
    case UInt8(ascii: "["): try array { (scanner, _) throws(ShardingProblemError) in try scanner.skipValue(depth: depth + 1) }
    case UInt8(ascii: "\""): _ = try string()
    default:
      for word in ["true", "false", "null"] where bytes[position...].starts(with: word.utf8) {
        position += word.utf8.count
        return
      }
      let text = bytes[position...].prefix { Array("+-0123456789.eE".utf8).contains($0) }
      guard Double(String(decoding: text, as: UTF8.self)) != nil else { throw failure(expected: "a JSON value") }
      position += text.count
    }
  }
}
