// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

extension JSON {
  /// Objects and arrays may be nested this deep: far beyond any real file, far below what a thread's stack holds.
  package static let depthLimit = 256

  /// Reads exactly one JSON value (RFC 8259, UTF-8) from `bytes`.
  ///
  /// Stricter than most readers: a key that occurs twice, text after the value, a lone surrogate, and a number too large for a
  /// double are errors.
  /// - Throws: `DocumentError.syntax`, which names `file`.
  package init(parsing bytes: some Collection<UInt8>, file: String) throws(DocumentError) {
    let contiguous = ContiguousArray(bytes)
    let result = contiguous.withUnsafeBufferPointer { (buffer) -> Result<JSON, DocumentError> in
      var parser = JSONParser(bytes: buffer)
      do throws(JSONParser.Failure) {
        return .success(try parser.document())
      } catch {
        let (line, column) = parser.lineAndColumn(of: error.offset)
        return .failure(.syntax(file: file, line: line, column: column, problem: error.problem))
      }
    }
    self = try result.get()
  }
}

/// A recursive-descent reader over the bytes of one file.
struct JSONParser {
  struct Failure: Error {
    var offset: Int
    var problem: String
  }

  let bytes: UnsafeBufferPointer<UInt8>
  private var position = 0
  private var depth = 0

  init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  mutating func document() throws(Failure) -> JSON {
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    skipWhitespace()
    guard position < bytes.count else { throw Failure(offset: position, problem: "the file is empty; expected a JSON value") }
    let root = try value()
    skipWhitespace()
    guard position == bytes.count else { throw unexpected("expected the end of the file after the value") }
    return root
  }

  /// The place of a byte, both counted from 1; a column is one Unicode scalar.
  func lineAndColumn(of offset: Int) -> (line: Int, column: Int) {
    var line = 1
    var column = 1
    for byte in bytes[..<min(offset, bytes.count)] {
      if byte == UInt8(ascii: "\n") {
        line += 1
        column = 1
      } else if byte & 0xC0 != 0x80 {
        column += 1
      }
    }
    return (line, column)
  }

  // MARK: values

  private mutating func value() throws(Failure) -> JSON {
    guard position < bytes.count else { throw unexpected("expected a value") }
    switch bytes[position] {
    case UInt8(ascii: "{"): return try object()
    case UInt8(ascii: "["): return try array()
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    default: throw unexpected("expected a value")
    }
  }

  private mutating func object() throws(Failure) -> JSON {
    let start = position
    try enter()
    var object = JSON.Object()
    skipWhitespace()
    if take(UInt8(ascii: "}")) {
      depth -= 1
      return .object(object)
    }
    while true {
      skipWhitespace()
      let keyStart = position
      guard peek() == UInt8(ascii: "\"") else { throw unexpected("expected a key in double quotes", opened: start, "object") }
      let key = try string()
      skipWhitespace()
      guard take(UInt8(ascii: ":")) else { throw unexpected("expected ':' after the key \"\(key)\"", opened: start, "object") }
      skipWhitespace()
      guard position < bytes.count else { throw unexpected("expected a value", opened: start, "object") }
      let member = try value()
      guard object.append(key, member) else { throw Failure(offset: keyStart, problem: "the key \"\(key)\" occurs twice in one object") }
      skipWhitespace()
      if take(UInt8(ascii: ",")) { continue }
      guard take(UInt8(ascii: "}")) else { throw unexpected("expected ',' or '}'", opened: start, "object") }
      depth -= 1
      return .object(object)
    }
  }

  private mutating func array() throws(Failure) -> JSON {
    let start = position
    try enter()
    var elements: [JSON] = []
    skipWhitespace()
    if take(UInt8(ascii: "]")) {
      depth -= 1
      return .array(elements)
    }
    while true {
      skipWhitespace()
      guard position < bytes.count else { throw unexpected("expected a value", opened: start, "array") }
      elements.append(try value())
      skipWhitespace()
      if take(UInt8(ascii: ",")) { continue }
      guard take(UInt8(ascii: "]")) else { throw unexpected("expected ',' or ']'", opened: start, "array") }
      depth -= 1
      return .array(elements)
    }
  }

  private mutating func enter() throws(Failure) {
    depth += 1
    guard depth <= JSON.depthLimit else {
      throw Failure(offset: position, problem: "nested more than \(JSON.depthLimit) deep")
    }
    position += 1
  }

  private mutating func literal(_ text: StaticString, _ value: JSON) throws(Failure) -> JSON {
    let length = text.utf8CodeUnitCount
    guard bytes.count - position >= length, memcmp(bytes.baseAddress! + position, text.utf8Start, length) == 0 else {
      throw unexpected("expected \(text)")
    }
    position += length
    return value
  }

  // MARK: numbers

  private mutating func number() throws(Failure) -> JSON {
    let start = position
    let negative = take(UInt8(ascii: "-"))
    var mantissa: UInt64 = 0
    var isExact = true  // every digit so far is in `mantissa`
    let integerDigits = digits(into: &mantissa, exact: &isExact)
    guard integerDigits > 0 else { throw unexpected("expected a digit") }
    if integerDigits > 1, bytes[position - integerDigits] == UInt8(ascii: "0") {
      throw Failure(offset: start, problem: "a number may not begin with a zero")
    }
    var isInteger = true
    var exponent = 0
    if take(UInt8(ascii: ".")) {
      isInteger = false
      let count = digits(into: &mantissa, exact: &isExact)
      guard count > 0 else { throw unexpected("expected a digit after the decimal point") }
      exponent = -count
    }
    if take(UInt8(ascii: "e")) || take(UInt8(ascii: "E")) {
      isInteger = false
      let minus = take(UInt8(ascii: "-"))
      if !minus { _ = take(UInt8(ascii: "+")) }
      var written: UInt64 = 0
      var fits = true
      guard digits(into: &written, exact: &fits) > 0 else { throw unexpected("expected a digit in the exponent") }
      exponent += (minus ? -1 : 1) * Int(fits ? min(written, 1_000_000) : 1_000_000)
    }
    if isInteger, isExact {
      if !negative, let value = Int(exactly: mantissa) { return .int(value) }
      if negative, mantissa <= UInt64(Int.max) + 1 { return .int(Int(truncatingIfNeeded: 0 &- mantissa)) }
    }
    // Both factors are exact doubles, so one rounding gives the nearest double (Clinger 1990).
    if isExact, mantissa <= 1 << 53, abs(exponent) <= 22 {
      let power = Self.powersOfTen[abs(exponent)]
      let magnitude = exponent < 0 ? Double(mantissa) / power : Double(mantissa) * power
      return .double(negative ? -magnitude : magnitude)
    }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    guard let value = Double(text), value.isFinite else {
      throw Failure(offset: start, problem: "the number \(text.prefix(40)) is too large for a double")
    }
    return .double(value)
  }

  private static let powersOfTen: [Double] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
  ]

  private mutating func digits(into mantissa: inout UInt64, exact: inout Bool) -> Int {
    let start = position
    while position < bytes.count, case let digit = bytes[position] &- UInt8(ascii: "0"), digit <= 9 {
      let (product, overflow) = mantissa.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
      if overflow || carry { exact = false } else { mantissa = sum }
      position += 1
    }
    return position - start
  }

  // MARK: strings

  private mutating func string() throws(Failure) -> String {
    let start = position
    position += 1
    var unescaped: [UInt8] = []
    var runStart = position
    while position < bytes.count {
      switch bytes[position] {
      case UInt8(ascii: "\""):
        let run = bytes[runStart..<position]
        position += 1
        let text: String? =
          unescaped.isEmpty ? String(validating: run, as: UTF8.self) : String(validating: unescaped + run, as: UTF8.self)
        guard let text else { throw Failure(offset: start, problem: "this string is not valid UTF-8") }
        return text
      case UInt8(ascii: "\\"):
        unescaped += bytes[runStart..<position]
        position += 1
        try escape(into: &unescaped, stringStart: start)
        runStart = position
      case ..<0x20:
        throw Failure(offset: position, problem: "a control character in a string must be written as an escape")
      default:
        position += 1
      }
    }
    throw unexpected("expected a closing quote", opened: start, "string")
  }

  private mutating func escape(into text: inout [UInt8], stringStart: Int) throws(Failure) {
    guard let kind = peek() else { throw unexpected("expected a closing quote", opened: stringStart, "string") }
    let offset = position - 1
    position += 1
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(kind)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"):
      var unit = try hexadecimal(stringStart: stringStart)
      if 0xD800...0xDBFF ~= unit, take(UInt8(ascii: "\\")), take(UInt8(ascii: "u")) {
        let low = try hexadecimal(stringStart: stringStart)
        guard 0xDC00...0xDFFF ~= low else { throw Failure(offset: offset, problem: "a surrogate without its pair") }
        unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(unit) else { throw Failure(offset: offset, problem: "a surrogate without its pair") }
      text += UTF8.encode(scalar)!
    default:
      throw Failure(offset: offset, problem: "an unknown escape; known ones: \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX")
    }
  }

  private mutating func hexadecimal(stringStart: Int) throws(Failure) -> UInt32 {
    var value: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek() else { throw unexpected("expected a closing quote", opened: stringStart, "string") }
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { throw unexpected("expected four hexadecimal digits") }
      value = value << 4 | UInt32(digit)
      position += 1
    }
    return value
  }

  // MARK: bytes

  private func peek() -> UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func take(_ byte: UInt8) -> Bool {
    guard peek() == byte else { return false }
    position += 1
    return true
  }

  private mutating func skipWhitespace() {
    while position < bytes.count, case let byte = bytes[position], byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
      position += 1
    }
  }

  /// The error at the current place: what stands here, or that the text ends here and what it leaves open.
  private func unexpected(_ expectation: String, opened start: Int? = nil, _ kind: String = "value") -> Failure {
    guard let byte = peek() else {
      guard let start else { return Failure(offset: position, problem: "the text ends here; \(expectation)") }
      let (line, column) = lineAndColumn(of: start)
      return Failure(offset: position, problem: "the text ends inside the \(kind) that begins at \(line):\(column); is it cut short?")
    }
    let found = 0x21...0x7E ~= byte ? "'\(Character(Unicode.Scalar(byte)))'" : "byte 0x\(String(byte, radix: 16))"
    return Failure(offset: position, problem: "\(expectation), found \(found)")
  }
}
