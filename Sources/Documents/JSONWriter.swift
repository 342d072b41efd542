// SPDX-License-Identifier: GPL-3.0-or-later

extension JSON {
  /// The canonical bytes: no white space, keys in the order of their UTF-8 bytes, numbers in one spelling. Equal documents have
  /// equal canonical bytes, whatever the order of their keys and whether a file wrote `300` or `300.0`; hashes are taken of these.
  package var canonicalBytes: [UInt8] {
    var writer = JSONWriter()
    writer.compact(self)
    return writer.output
  }

  package var canonicalText: String { String(decoding: canonicalBytes, as: UTF8.self) }

  /// The same keys and numbers laid out for people: two spaces an indent; an array or object that holds no other and fits the
  /// line stays on one; a line feed at the end.
  package var prettyBytes: [UInt8] {
    var writer = JSONWriter()
    writer.pretty(self, indent: 0)
    writer.append("\n")
    return writer.output
  }

  package var prettyText: String { String(decoding: prettyBytes, as: UTF8.self) }

  /// As `prettyBytes`, but with keys where they stand: for a file of a person's that is written again with a few values changed.
  package var prettyBytesInOrder: [UInt8] {
    var writer = JSONWriter(sortsKeys: false)
    writer.pretty(self, indent: 0)
    writer.append("\n")
    return writer.output
  }

  /// SHA-256 of the canonical bytes, in hexadecimal.
  package var sha256: String { SHA256.hexadecimal(of: canonicalBytes) }
}

private struct JSONWriter {
  var output: [UInt8] = []
  var sortsKeys = true
  /// A leaf container up to this many columns, indent included, stays on one line.
  private static let lineLength = 110

  mutating func append(_ text: String) { output += text.utf8 }

  mutating func compact(_ value: JSON, separator: String = ",", colon: String = ":") {
    switch value {
    case .null: append("null")
    case .bool(let value): append(value ? "true" : "false")
    case .int(let value): append("\(value)")
    case .double(let value): append(Self.text(value))
    case .string(let text): string(text)
    case .array(let elements):
      append("[")
      for (i, element) in elements.enumerated() {
        if i > 0 { append(separator) }
        compact(element, separator: separator, colon: colon)
      }
      append("]")
    case .object(let object):
      append("{")
      for (i, member) in (sortsKeys ? object.sortedMembers : object.members).enumerated() {
        if i > 0 { append(separator) }
        string(member.key)
        append(colon)
        compact(member.value, separator: separator, colon: colon)
      }
      append("}")
    }
  }

  mutating func pretty(_ value: JSON, indent: Int) {
    if value.isLeaf {
      var line = JSONWriter(sortsKeys: sortsKeys)
      line.compact(value, separator: ", ", colon: ": ")
      if !value.isContainer || (indent > 0 && indent + line.output.count <= Self.lineLength) || line.output.count == 2 {
        output += line.output
        return
      }
    }
    let inner = "\n" + String(repeating: " ", count: indent + 2)
    switch value {
    case .array(let elements):
      append("[")
      for (i, element) in elements.enumerated() {
        append(i > 0 ? "," + inner : inner)
        pretty(element, indent: indent + 2)
      }
      append("\n" + String(repeating: " ", count: indent) + "]")
    case .object(let object):
      append("{")
      for (i, member) in (sortsKeys ? object.sortedMembers : object.members).enumerated() {
        append(i > 0 ? "," + inner : inner)
        string(member.key)
        append(": ")
        pretty(member.value, indent: indent + 2)
      }
      append("\n" + String(repeating: " ", count: indent) + "}")
    default: compact(value)
    }
  }

  /// The shortest decimal that reads back as the same double; a whole number below 2^53 is spelt as an integer.
  /// - Precondition: finite: JSON has no other numbers.
  static func text(_ value: Double) -> String {
    precondition(value.isFinite, "JSON has no spelling for \(value)")
    return Int(exactly: value).flatMap { abs($0) < 1 << 53 ? "\($0)" : nil } ?? "\(value)"
  }

  private mutating func string(_ text: String) {
    output.append(UInt8(ascii: "\""))
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\""): append("\\\"")
      case UInt8(ascii: "\\"): append("\\\\")
      case 0x0A: append("\\n")
      case 0x0D: append("\\r")
      case 0x09: append("\\t")
      case ..<0x20: append("\\u00" + (byte < 16 ? "0" : "") + String(byte, radix: 16))
      default: output.append(byte)
      }
    }
    output.append(UInt8(ascii: "\""))
  }
}

extension JSON {
  fileprivate var isContainer: Bool {
    switch self {
    case .array, .object: true
    default: false
    }
  }

  /// True if no array or object stands inside this value.
  fileprivate var isLeaf: Bool {
    switch self {
    case .array(let elements): !elements.contains { $0.isContainer }
    case .object(let object): !object.members.contains { $0.value.isContainer }
    default: true
    }
  }
}

extension JSON.Object {
  fileprivate var sortedMembers: [Member] {
    members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
  }
}
