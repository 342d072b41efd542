// SPDX-License-Identifier: GPL-3.0-or-later

/// A value inside a file, with the JSON path that leads to it: what a decoder reads from, so that each error says where.
package struct Node: Sendable {
  package let file: String
  /// e.g. `$.levels[0].bandwidth_GBps`
  package let path: String
  package let value: JSON

  package func string() throws(DocumentError) -> String {
    guard case .string(let text) = value else { throw invalid(expected: "a string") }
    return text
  }

  package func bool() throws(DocumentError) -> Bool {
    guard case .bool(let flag) = value else { throw invalid(expected: "true or false") }
    return flag
  }

  /// A whole number; `1e6` and `4.0` are whole numbers too.
  package func int(_ bound: Bound<Int> = .any) throws(DocumentError) -> Int {
    let number: Int? =
      switch value {
      case .int(let number): number
      // Above 2^53 a double no longer tells neighbouring integers apart.
      case .double(let number): Int(exactly: number).flatMap { abs($0) <= 1 << 53 ? $0 : nil }
      default: nil
      }
    guard let number, bound.contains(number) else { throw invalid(expected: "a whole number" + bound.phrase) }
    return number
  }

  package func double(_ bound: Bound<Double> = .any) throws(DocumentError) -> Double {
    let number: Double? =
      switch value {
      case .int(let number): Double(number)
      case .double(let number): number
      default: nil
      }
    guard let number, bound.contains(number) else { throw invalid(expected: "a number" + bound.phrase) }
    return number
  }

  /// From 0 to below 1.
  package func probability() throws(DocumentError) -> Double {
    let value = try double()
    guard value >= 0, value < 1 else { throw invalid(expected: "a probability from 0 to below 1") }
    return value
  }

  /// One of an enumeration's raw values.
  package func choice<Choice: RawRepresentable<String> & CaseIterable>(of type: Choice.Type) throws(DocumentError) -> Choice {
    if case .string(let text) = value, let choice = Choice(rawValue: text) { return choice }
    let names = Choice.allCases.map { $0.rawValue }
    var hint = ""
    if case .string(let text) = value, let nearest = nearestSpelling(to: text, among: names) { hint = "; did you mean \"\(nearest)\"?" }
    throw invalid(expected: "one of " + names.map { "\"\($0)\"" }.joined(separator: ", ") + hint)
  }

  /// The elements of an array.
  package func elements() throws(DocumentError) -> [Node] {
    guard case .array(let elements) = value else { throw invalid(expected: "an array") }
    return elements.enumerated().map { Node(file: file, path: "\(path)[\($0)]", value: $1) }
  }

  /// The elements of an array of whole numbers; paths are made only for errors, so that long arrays are cheap.
  package func ints(_ bound: Bound<Int> = .any) throws(DocumentError) -> [Int] {
    guard case .array(let elements) = value else { throw invalid(expected: "an array of whole numbers") }
    var numbers: [Int] = []
    numbers.reserveCapacity(elements.count)
    for (i, element) in elements.enumerated() {
      if case .int(let number) = element, bound.contains(number) {
        numbers.append(number)
      } else {
        numbers.append(try Node(file: file, path: "\(path)[\(i)]", value: element).int(bound))
      }
    }
    return numbers
  }

  /// The members of an object whose keys are names, not fixed words, in file order.
  package func members() throws(DocumentError) -> [(key: String, node: Node)] {
    guard case .object(let object) = value else { throw invalid(expected: "an object") }
    return object.members.map { ($0.key, child($0.key, $0.value)) }
  }

  /// A reader of an object with fixed keys.
  ///
  /// - Parameter keys: keys that the format has, named before they are read: none of them is taken for another one that is missing.
  package func object(keys: [String] = []) throws(DocumentError) -> ObjectReader {
    guard case .object(let object) = value else { throw invalid(expected: "an object") }
    return ObjectReader(node: self, object: object, keys: keys)
  }

  /// The object of a file, or of a file inside another, whose key `format` reads `expected`, e.g. `tpplan/model/1`. The key counts as read.
  ///
  /// - Throws: `DocumentError.wrongKind` for another kind of file, `.wrongFormat` for another version; `.invalid`, `.missingKey`.
  package func object(format expected: String, keys: [String] = []) throws(DocumentError) -> ObjectReader {
    let reader = try object(keys: keys)
    if let found = DocumentKind(of: value), let wanted = DocumentKind(format: expected), found != wanted {
      throw .wrongKind(file: file, found: found, expected: wanted)
    }
    let found = try reader.node("format")
    guard case .string(expected) = found.value else {
      throw .wrongFormat(file: file, found: found.value.summary, expected: expected)
    }
    return reader
  }

  /// The error that this value is not what is expected.
  package func invalid(expected: String) -> DocumentError {
    .invalid(file: file, path: path, found: value.summary, expected: expected)
  }

  func child(_ key: String, _ value: JSON) -> Node {
    Node(file: file, path: path + Self.step(key), value: value)
  }

  /// `.key` where the key is a plain word, else `["key"]`.
  static func step(_ key: String) -> String {
    let isWord =
      !key.isEmpty
      && key.utf8.allSatisfy { byte in
        byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-") || Unicode.Scalar(byte).properties.isAlphabetic && byte < 0x80
          || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte
      }
    return isWord ? ".\(key)" : "[\(JSON.string(key).canonicalText)]"
  }
}

/// The lawful range of a number in a file.
package enum Bound<Value: Comparable & Sendable & ExpressibleByIntegerLiteral>: Sendable {
  case any
  /// > 0
  case positive
  /// ≥ 0
  case nonNegative
  /// > 0 and ≤ 1
  case fraction
  /// Both ends included.
  case within(Value, Value)

  package func contains(_ value: Value) -> Bool {
    switch self {
    case .any: true
    case .positive: value > 0
    case .nonNegative: value >= 0
    case .fraction: value > 0 && value <= 1
    case .within(let low, let high): value >= low && value <= high
    }
  }

  /// What follows "a number" in a message.
  var phrase: String {
    switch self {
    case .any: ""
    case .positive: " above 0"
    case .nonNegative: " of at least 0"
    case .fraction: " above 0 and at most 1"
    case .within(let low, let high): " from \(low) to \(high)"
    }
  }
}
