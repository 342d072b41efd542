// SPDX-License-Identifier: GPL-3.0-or-later

/// A value as Python writes it: literals, and calls that have nothing but such values as arguments.
indirect enum PythonLiteral: Hashable, Sendable {
  case text(String)
  case number(Int)
  case nothing
  case bool(Bool)
  case list([PythonLiteral])
  case tuple([PythonLiteral])
  /// In the order of the file.
  case dictionary([Entry])
  case call(name: String, arguments: [PythonLiteral], named: [Entry])

  struct Entry: Hashable, Sendable {
    let key: String
    let value: PythonLiteral
  }

  subscript(key: String) -> PythonLiteral? {
    switch self {
    case .dictionary(let entries), .call(_, _, let entries): entries.first { $0.key == key }?.value
    default: nil
    }
  }

  /// The argument of a call, by its place or its name.
  func argument(_ position: Int, _ name: String) -> PythonLiteral? {
    guard case .call(_, let arguments, _) = self else { return nil }
    return position < arguments.count ? arguments[position] : self[name]
  }

  var text: String? { if case .text(let text) = self { text } else { nil } }
  var number: Int? { if case .number(let number) = self { number } else { nil } }
}

/// Reads the values that a Python file assigns to names at the beginning of a line.
struct PythonReader {
  private let bytes: [UInt8]
  private var index = 0
  private let file: String

  init(_ text: String, file: String) { (bytes, self.file) = (Array(text.utf8), file) }

  /// The value of the first assignment to a name; nil without one.
  ///
  /// - Throws: `LaunchError`, with the line.
  mutating func value(of name: String) throws -> PythonLiteral? {
    let start = Array("\(name) = ".utf8)
    var line = 0
    while line < bytes.count {
      if bytes[line...].starts(with: start) {
        index = line + start.count
        return try value(depth: 0)
      }
      guard let end = bytes[line...].firstIndex(of: UInt8(ascii: "\n")) else { break }
      line = end + 1
    }
    return nil
  }

  /// The value of the first assignment to one of some names, also within a class; nil without one.
  ///
  /// - Throws: `LaunchError`, with the line.
  mutating func member(of names: [String]) throws -> (name: String, value: PythonLiteral)? {
    var line = 0
    while line < bytes.count {
      let start = bytes[line...].firstIndex { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") } ?? bytes.count
      for name in names where bytes[start...].starts(with: Array("\(name) = ".utf8)) {
        index = start + name.utf8.count + 3
        return (name, try value(depth: 0))
      }
      guard let end = bytes[line...].firstIndex(of: UInt8(ascii: "\n")) else { break }
      line = end + 1
    }
    return nil
  }

  /// The value that is all of the text.
  mutating func whole() throws -> PythonLiteral {
    index = 0
    let result = try value(depth: 0)
    skipSpace()
    if next != nil { throw failure("something follows the value") }
    return result
  }

  private func failure(_ problem: String) -> LaunchError {
    let line = 1 + bytes[..<min(index, bytes.count)].count { $0 == UInt8(ascii: "\n") }
    return LaunchError(file: file, place: "line \(line)", problem)
  }

  private var next: UInt8? { index < bytes.count ? bytes[index] : nil }

  private mutating func skipSpace() {
    while let byte = next {
      if byte == UInt8(ascii: "#") {
        while let byte = next, byte != UInt8(ascii: "\n") { index += 1 }
      } else if [UInt8(ascii: " "), UInt8(ascii: "\t"), UInt8(ascii: "\n"), UInt8(ascii: "\r")].contains(byte) {
        index += 1
      } else {
        return
      }
    }
  }

  private mutating func take(_ character: Unicode.Scalar) -> Bool {
    skipSpace()
    guard next == UInt8(ascii: character) else { return false }
    index += 1
    return true
  }

  private mutating func value(depth: Int) throws -> PythonLiteral {
    if depth > 32 { throw failure("values are nested too deep") }
    skipSpace()
    guard let byte = next else { throw failure("the file ends within a table") }
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "'"): return .text(try string())
    case UInt8(ascii: "["):
      index += 1
      return .list(try values(upTo: "]", depth))
    case UInt8(ascii: "("):
      index += 1
      return .tuple(try values(upTo: ")", depth))
    case UInt8(ascii: "{"):
      index += 1
      return .dictionary(try entries(depth))
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
    default: return try named(depth)
    }
  }

  private mutating func values(upTo end: Unicode.Scalar, _ depth: Int) throws -> [PythonLiteral] {
    var result: [PythonLiteral] = []
    while !take(end) {
      result.append(try value(depth: depth + 1))
      if !take(",") {
        guard take(end) else { throw failure("expected \",\" or \"\(end)\"") }
        break
      }
    }
    return result
  }

  private mutating func entries(_ depth: Int) throws -> [PythonLiteral.Entry] {
    var result: [PythonLiteral.Entry] = []
    while !take("}") {
      skipSpace()
      guard next == UInt8(ascii: "\"") || next == UInt8(ascii: "'") else { throw failure("expected a key in quotation marks") }
      let key = try string()
      if result.contains(where: { $0.key == key }) { throw failure("\"\(key)\" is there twice") }
      guard take(":") else { throw failure("expected \":\" after \"\(key)\"") }
      result.append(.init(key: key, value: try value(depth: depth + 1)))
      if !take(",") {
        guard take("}") else { throw failure("expected \",\" or \"}\"") }
        break
      }
    }
    return result
  }

  private mutating func string() throws -> String {
    let (quote, start) = (bytes[index], index + 1)
    index = start
    while let byte = next, byte != quote, byte != UInt8(ascii: "\n"), byte != UInt8(ascii: "\\") { index += 1 }
    guard next == quote else { throw failure("expected a plain text that ends in its line") }
    defer { index += 1 }
    return String(decoding: bytes[start..<index], as: UTF8.self)
  }

  private mutating func number() throws -> Int {
    let start = index
    while let byte = next, byte == UInt8(ascii: "-") || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { index += 1 }
    guard let number = Int(String(decoding: bytes[start..<index], as: UTF8.self)), next != UInt8(ascii: ".") else {
      throw failure("expected a whole number")
    }
    return number
  }

  /// A name: a constant or a call.
  private mutating func named(_ depth: Int) throws -> PythonLiteral {
    let name = identifier()
    switch name {
    case "": throw failure("found \(next.map { "\"\(Character(UnicodeScalar($0)))\"" } ?? "the end"), expected a value")
    case "None": return .nothing
    case "True": return .bool(true)
    case "False": return .bool(false)
    default: break
    }
    guard take("(") else { throw failure("\"\(name)\" is no value that a table may have") }
    var (arguments, named): ([PythonLiteral], [PythonLiteral.Entry]) = ([], [])
    while !take(")") {
      skipSpace()
      let start = index
      let key = identifier()
      if !key.isEmpty, take("="), next != UInt8(ascii: "=") {
        named.append(.init(key: key, value: try value(depth: depth + 1)))
      } else {
        index = start
        guard named.isEmpty else { throw failure("an argument without a name after one with a name") }
        arguments.append(try value(depth: depth + 1))
      }
      if !take(",") {
        guard take(")") else { throw failure("expected \",\" or \")\"") }
        break
      }
    }
    return .call(name: name, arguments: arguments, named: named)
  }

  private mutating func identifier() -> String {
    let start = index
    while let byte = next, byte == UInt8(ascii: "_") || byte == UInt8(ascii: ".") || byte.isLetterOrDigit { index += 1 }
    return String(decoding: bytes[start..<index], as: UTF8.self)
  }
}

extension UInt8 {
  fileprivate var isLetterOrDigit: Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(self) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(self)
      || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self)
  }
}
