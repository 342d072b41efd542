// SPDX-License-Identifier: GPL-3.0-or-later

/// The grammar of TOML: lines of keys and headers, and the tables that they make.
struct TOMLParser {
  var scanner: TOMLScanner
  private let root = TOMLTable(.header)
  /// The number of the section, which each header begins.
  private var section = 0
  private var depth = 0

  init(_ scanner: TOMLScanner) { self.scanner = scanner }

  mutating func document() throws(TOMLFailure) -> JSON {
    try scanner.checkText()
    var current = root
    while !scanner.isAtEnd {
      scanner.skipSpaces()
      if scanner.peek == UInt8(ascii: "[") {
        current = try header()
      } else if let byte = scanner.peek, byte != UInt8(ascii: "#"), byte != UInt8(ascii: "\n"), byte != UInt8(ascii: "\r") {
        try keyValue(into: current)
      }
      try scanner.endOfLine()
    }
    return root.json
  }

  // MARK: headers

  private mutating func header() throws(TOMLFailure) -> TOMLTable {
    let start = scanner.position
    scanner.position += 1
    let isArray = scanner.take("[")
    scanner.skipSpaces()
    let keys = try key()
    guard scanner.take("]"), !isArray || scanner.take("]") else {
      throw scanner.unexpected("expected \(isArray ? "']]'" : "']'") after the table's name")
    }
    section += 1
    var table = root
    for name in keys.dropLast() { table = try descend(table, name, keys, start) }
    let (last, path) = (keys[keys.count - 1], Self.text(keys))
    switch (table[last], isArray) {
    case (nil, false):
      let new = TOMLTable(.header)
      table[last] = .table(new)
      return new
    case (nil, true):
      let new = TOMLTable(.header)
      table[last] = .tables([new])
      return new
    case (.tables(let tables)?, true):
      let new = TOMLTable(.header)
      table[last] = .tables(tables + [new])
      return new
    case (.table(let known)?, false):
      guard case .implied = known.origin else { throw TOMLFailure(offset: start, problem: "the table \(path) is defined twice") }
      known.origin = .header
      return known
    case (.tables?, false): throw TOMLFailure(offset: start, problem: "\(path) is an array of tables; add to it with [[\(path)]]")
    case (_, true): throw TOMLFailure(offset: start, problem: "\(path) is defined already, and not as an array of tables")
    case (.value?, false): throw TOMLFailure(offset: start, problem: "\(path) is defined already, and not as a table")
    }
  }

  /// The table of a name inside another, on the way to a header's own.
  private func descend(_ table: TOMLTable, _ name: String, _ keys: [String], _ start: Int) throws(TOMLFailure) -> TOMLTable {
    switch table[name] {
    case nil:
      let new = TOMLTable(.implied)
      table[name] = .table(new)
      return new
    case .table(let known)?: return known
    case .tables(let tables)?: return tables[tables.count - 1]
    case .value?: throw TOMLFailure(offset: start, problem: "in \(Self.text(keys)), \(name) has a value that no header can add to")
    }
  }

  // MARK: keys

  private mutating func keyValue(into table: TOMLTable) throws(TOMLFailure) {
    let start = scanner.position
    let keys = try key()
    guard scanner.take("=") else { throw scanner.unexpected("expected '=' after the key \(Self.text(keys))") }
    scanner.skipSpaces()
    let value = try value()
    var table = table
    for name in keys.dropLast() {
      switch table[name] {
      case nil:
        let new = TOMLTable(.dotted(section: section))
        table[name] = .table(new)
        table = new
      case .table(let known)?:
        switch known.origin {
        case .dotted(section): break
        case .implied: known.origin = .dotted(section: section)
        default: throw TOMLFailure(offset: start, problem: "in \(Self.text(keys)), the table \(name) is complete: it has a header of its own")
        }
        table = known
      case .tables?, .value?: throw TOMLFailure(offset: start, problem: "in \(Self.text(keys)), \(name) is defined already, and no key can add to it")
      }
    }
    let last = keys[keys.count - 1]
    guard table[last] == nil else { throw TOMLFailure(offset: start, problem: "the key \(Self.text(keys)) is defined twice") }
    table[last] = .value(value)
  }

  /// The parts of a dotted key, with the spaces behind it.
  private mutating func key() throws(TOMLFailure) -> [String] {
    let start = scanner.position
    var parts: [String] = []
    repeat {
      scanner.skipSpaces()
      parts.append(try scanner.keyPart())
      scanner.skipSpaces()
    } while scanner.take(".")
    guard parts.count <= JSON.depthLimit else { throw TOMLFailure(offset: start, problem: "nested more than \(JSON.depthLimit) deep") }
    return parts
  }

  private static func text(_ keys: [String]) -> String { keys.joined(separator: ".") }

  // MARK: values

  private mutating func value() throws(TOMLFailure) -> JSON {
    switch scanner.peek {
    case UInt8(ascii: "\""), UInt8(ascii: "'"): return .string(try scanner.string())
    case UInt8(ascii: "["): return try array()
    case UInt8(ascii: "{"): return try inlineTable()
    default: return try scanner.scalar()
    }
  }

  private mutating func enter() throws(TOMLFailure) {
    depth += 1
    guard depth <= JSON.depthLimit else { throw TOMLFailure(offset: scanner.position, problem: "nested more than \(JSON.depthLimit) deep") }
    scanner.position += 1
  }

  private mutating func array() throws(TOMLFailure) -> JSON {
    let start = scanner.position
    try enter()
    var elements: [JSON] = []
    while true {
      scanner.skipLines()
      if scanner.take("]") { break }
      guard !scanner.isAtEnd else { throw scanner.unexpected("expected a value or ']'", opened: start, "array") }
      elements.append(try value())
      scanner.skipLines()
      if scanner.take(",") { continue }
      guard scanner.take("]") else { throw scanner.unexpected("expected ',' or ']'", opened: start, "array") }
      break
    }
    depth -= 1
    return .array(elements)
  }

  private mutating func inlineTable() throws(TOMLFailure) -> JSON {
    let start = scanner.position
    try enter()
    // Dotted keys inside may add to one another's tables, and nothing outside may add to any.
    let table = TOMLTable(.header)
    scanner.skipSpaces()
    if !scanner.take("}") {
      repeat {
        scanner.skipSpaces()
        try keyValue(into: table)
        scanner.skipSpaces()
      } while scanner.take(",")
      guard scanner.take("}") else { throw scanner.unexpected("expected ',' or '}' on the same line", opened: start, "inline table") }
    }
    depth -= 1
    return table.json
  }
}
