// SPDX-License-Identifier: GPL-3.0-or-later

/// A JSON value. Objects keep the order of their keys; numbers without a fraction or exponent that fit 64 bits are `int`.
package enum JSON: Hashable, Sendable {
  case null
  case bool(Bool)
  case int(Int)
  /// Always finite.
  case double(Double)
  case string(String)
  case array([JSON])
  case object(Object)

  /// The members of a JSON object, in file order; no key occurs twice.
  package struct Object: Sendable {
    package struct Member: Hashable, Sendable {
      package var key: String
      package var value: JSON
    }

    package private(set) var members: [Member] = []
    /// Key to position, kept only where a linear scan would be slow.
    private var index: [String: Int] = [:]
    private static let scanLimit = 8

    package init() {}

    /// - Precondition: no key occurs twice.
    package init(_ members: some Sequence<(String, JSON)>) {
      for (key, value) in members {
        let isNew = append(key, value)
        precondition(isNew, "the key \"\(key)\" occurs twice")
      }
    }

    /// Adds a member at the end and returns true, or leaves the object alone and returns false if the key is there already.
    package mutating func append(_ key: String, _ value: JSON) -> Bool {
      guard position(of: key) == nil else { return false }
      members.append(Member(key: key, value: value))
      if members.count > Self.scanLimit {
        if index.isEmpty {
          for (i, member) in members.enumerated() { index[member.key] = i }
        } else {
          index[key] = members.count - 1
        }
      }
      return true
    }

    /// The value of `key`; setting nil removes the member, setting a value keeps its place or appends.
    package subscript(key: String) -> JSON? {
      get { position(of: key).map { members[$0].value } }
      set {
        switch (position(of: key), newValue) {
        case (let i?, let value?): members[i].value = value
        case (nil, let value?): _ = append(key, value)
        case (let i?, nil):
          members.remove(at: i)
          index = [:]
          if members.count > Self.scanLimit {
            for (i, member) in members.enumerated() { index[member.key] = i }
          }
        case (nil, nil): break
        }
      }
    }

    private func position(of key: String) -> Int? {
      index.isEmpty ? members.firstIndex { $0.key == key } : index[key]
    }
  }
}

extension JSON.Object: Hashable {
  /// Equal members in equal order: two files that differ in order only have equal *canonical text*, not equal values.
  package static func == (a: Self, b: Self) -> Bool { a.members == b.members }
  package func hash(into hasher: inout Hasher) { hasher.combine(members) }
}

extension JSON {
  package subscript(key: String) -> JSON? {
    if case .object(let object) = self { object[key] } else { nil }
  }

  /// What an error message calls this value: its type, and its text where that is short.
  package var summary: String {
    switch self {
    case .null: "null"
    case .bool(let value): "\(value)"
    case .int, .double: "the number \(canonicalText)"
    case .string(let text): text.count <= 60 ? "the string \(canonicalText)" : "a string of \(text.count) characters"
    case .array(let elements): "an array of \(elements.count)"
    case .object(let object): object.members.isEmpty ? "an empty object" : "an object"
    }
  }
}

extension JSON: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  package init(stringLiteral value: String) { self = .string(value) }
  package init(integerLiteral value: Int) { self = .int(value) }
  package init(floatLiteral value: Double) { self = .double(value) }
  package init(booleanLiteral value: Bool) { self = .bool(value) }
  package init(arrayLiteral elements: JSON...) { self = .array(elements) }
  /// - Precondition: no key occurs twice.
  package init(dictionaryLiteral elements: (String, JSON)...) { self = .object(Object(elements)) }
}
