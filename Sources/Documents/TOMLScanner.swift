// SPDX-License-Identifier: GPL-3.0-or-later

/// The characters of a TOML text: spaces, comments, keys and strings.
struct TOMLScanner {
  let bytes: UnsafeBufferPointer<UInt8>
  var position = 0

  init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  var isAtEnd: Bool { position >= bytes.count }
  var peek: UInt8? { position < bytes.count ? bytes[position] : nil }

  func peek(_ distance: Int) -> UInt8? { position + distance < bytes.count ? bytes[position + distance] : nil }

  /// Whether this text stands here; it is passed then.
  mutating func take(_ text: StaticString) -> Bool {
    let length = text.utf8CodeUnitCount
    guard bytes.count - position >= length else { return false }
    for offset in 0..<length where bytes[position + offset] != text.utf8Start[offset] { return false }
    position += length
    return true
  }

  /// The place of a byte, both counted from 1; a column is one Unicode scalar.
  func lineAndColumn(of offset: Int) -> (line: Int, column: Int) {
    let before = bytes[..<min(max(offset, 0), bytes.count)]
    let start = before.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? 0
    return (before.count(where: { $0 == UInt8(ascii: "\n") }) + 1, before[start...].count(where: { $0 & 0xC0 != 0x80 }) + 1)
  }

  /// The error that something else was expected here.
  func unexpected(_ expectation: String, opened start: Int? = nil, _ kind: String = "value") -> TOMLFailure {
    guard let byte = peek else {
      guard let start else { return TOMLFailure(offset: position, problem: "the text ends here; \(expectation)") }
      let (line, column) = lineAndColumn(of: start)
      return TOMLFailure(offset: position, problem: "the text ends inside the \(kind) that begins at \(line):\(column); is it cut short?")
    }
    let found =
      switch byte {
      case UInt8(ascii: "\n"), UInt8(ascii: "\r"): "the end of the line"
      case 0x21...0x7E: "'\(Character(Unicode.Scalar(byte)))'"
      default: "byte 0x\(String(byte, radix: 16))"
      }
    return TOMLFailure(offset: position, problem: "\(expectation), found \(found)")
  }

  /// Passes a byte order mark.
  ///
  /// - Throws: where the text is not UTF-8, or has a control character: only tabs and line ends are allowed, in comments too.
  mutating func checkText() throws(TOMLFailure) {
    if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    var decoder = UTF8()
    var iterator = bytes.makeIterator()
    var offset = 0
    while true {
      switch decoder.decode(&iterator) {
      case .emptyInput: return
      case .error: throw TOMLFailure(offset: offset, problem: "the text is not valid UTF-8")
      case .scalarValue(let scalar):
        let isReturn = scalar == "\r" && offset + 1 < bytes.count && bytes[offset + 1] == UInt8(ascii: "\n")
        if scalar.value < 0x20 && scalar != "\t" && scalar != "\n" && !isReturn || scalar.value == 0x7F {
          throw TOMLFailure(offset: offset, problem: "the control character 0x\(String(scalar.value, radix: 16)) is not allowed here")
        }
        offset += UTF8.width(scalar)
      }
    }
  }

  mutating func skipSpaces() {
    while let byte = peek, byte == 0x20 || byte == 0x09 { position += 1 }
  }

  private mutating func skipComment() {
    if peek == UInt8(ascii: "#") { while let byte = peek, byte != UInt8(ascii: "\n") { position += 1 } }
  }

  private mutating func takeNewline() -> Bool { take("\n") || take("\r\n") }

  /// What may stand behind a key or a header: spaces and a comment.
  mutating func endOfLine() throws(TOMLFailure) {
    skipSpaces()
    skipComment()
    guard isAtEnd || takeNewline() else { throw unexpected("expected the end of the line") }
  }

  /// Spaces, comments and line ends, which are allowed inside arrays.
  mutating func skipLines() {
    repeat {
      skipSpaces()
      skipComment()
    } while takeNewline()
  }

  // MARK: keys and strings

  mutating func keyPart() throws(TOMLFailure) -> String {
    if peek == UInt8(ascii: "\"") || peek == UInt8(ascii: "'") {
      if peek(1) == peek && peek(2) == peek { throw TOMLFailure(offset: position, problem: "a key is no string of several lines") }
      return try string()
    }
    let start = position
    while let byte = peek, Self.isBare(byte) { position += 1 }
    guard position > start else { throw unexpected("expected a key") }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private static func isBare(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"),
      UInt8(ascii: "-"):
      true
    default: false
    }
  }

  /// A string of any of the four kinds.
  mutating func string() throws(TOMLFailure) -> String {
    let start = position
    let quote = bytes[position]
    let isLiteral = quote == UInt8(ascii: "'")
    let isLong = take("\"\"\"") || take("'''")
    if !isLong { position += 1 }
    if isLong { _ = takeNewline() }
    var text: [UInt8] = []
    while let byte = peek {
      if byte == quote {
        if !isLong {
          position += 1
          return String(decoding: text, as: UTF8.self)
        }
        let quotes = bytes[position...].prefix(5).prefix { $0 == quote }.count
        // Up to two more quotes may stand before the closing three.
        if quotes >= 3 {
          text += [UInt8](repeating: quote, count: quotes - 3)
          position += quotes
          return String(decoding: text, as: UTF8.self)
        }
        text += [UInt8](repeating: quote, count: quotes)
        position += quotes
      } else if byte == UInt8(ascii: "\\"), !isLiteral {
        try escape(into: &text, isLong: isLong, stringStart: start)
      } else if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r"), !isLong {
        throw TOMLFailure(offset: position, problem: "the line ends inside the string that begins at column \(lineAndColumn(of: start).column)")
      } else {
        text.append(byte)
        position += 1
      }
    }
    throw unexpected("expected a closing quote", opened: start, "string")
  }

  private mutating func escape(into text: inout [UInt8], isLong: Bool, stringStart: Int) throws(TOMLFailure) {
    let offset = position
    guard let kind = peek(1) else { throw TOMLFailure(offset: offset, problem: "the text ends inside a string") }
    if isLong, takeLineEnd() { return }
    position += 2
    switch kind {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"): text.append(kind)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "n"): text.append(0x0A)
    case UInt8(ascii: "f"): text.append(0x0C)
    case UInt8(ascii: "r"): text.append(0x0D)
    case UInt8(ascii: "u"), UInt8(ascii: "U"):
      var value: UInt32 = 0
      for _ in 0..<(kind == UInt8(ascii: "u") ? 4 : 8) {
        guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { throw unexpected("expected a hexadecimal digit") }
        value = value << 4 | UInt32(digit)
        position += 1
      }
      guard let scalar = Unicode.Scalar(value) else { throw TOMLFailure(offset: offset, problem: "the escape names no Unicode character") }
      text += UTF8.encode(scalar)!
    default: throw TOMLFailure(offset: offset, problem: "an unknown escape; known ones: \\b \\t \\n \\f \\r \\\" \\\\ \\uXXXX \\UXXXXXXXX")
    }
  }

  /// Passes a backslash at the end of a line, and all spaces and line ends behind it.
  private mutating func takeLineEnd() -> Bool {
    var ahead = self
    ahead.position += 1
    ahead.skipSpaces()
    guard ahead.takeNewline() else { return false }
    repeat { ahead.skipSpaces() } while ahead.takeNewline()
    position = ahead.position
    return true
  }
}
