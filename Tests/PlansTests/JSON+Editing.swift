// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import TestSupport

enum Step: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral {
  case key(String)
  case index(Int)
  init(stringLiteral value: String) { self = .key(value) }
  init(integerLiteral value: Int) { self = .index(value) }
}

extension JSON {
  func get(_ path: [Step]) -> JSON? {
    guard let step = path.first else { return self }
    let rest = Array(path.dropFirst())
    switch (self, step) {
    case (.object(let object), .key(let key)): return object[key]?.get(rest)
    case (.array(let elements), .index(let index)) where elements.indices.contains(index): return elements[index].get(rest)
    default: return nil
    }
  }

  /// Sets the value at a path; removes it where `value` is nil. What is not there is left alone, a new key of an object apart.
  mutating func replace(_ path: [Step], with value: JSON?) {
    guard let step = path.first else { return }
    let rest = Array(path.dropFirst())
    switch (self, step) {
    case (.object(var object), .key(let key)):
      if rest.isEmpty {
        object[key] = value
      } else if var inner = object[key] {
        inner.replace(rest, with: value)
        object[key] = inner
      }
      self = .object(object)
    case (.array(var elements), .index(let index)) where elements.indices.contains(index):
      if !rest.isEmpty {
        elements[index].replace(rest, with: value)
      } else if let value {
        elements[index] = value
      } else {
        elements.remove(at: index)
      }
      self = .array(elements)
    default: break
    }
  }

  mutating func set(_ path: [Step], _ value: JSON) { replace(path, with: value) }
  mutating func drop(_ path: [Step]) { replace(path, with: nil) }

  /// States the hashes of the embedded documents as they are now.
  mutating func rehash() {
    for key in ["model", "hardware"] {
      if let document = get([.key(key), "document"]) { set([.key(key), "sha256"], .string(document.sha256)) }
    }
  }

  // MARK: - Random edits

  /// The paths of all values inside.
  private var paths: [[Step]] {
    switch self {
    case .object(let object): object.members.flatMap { member in [[.key(member.key)]] + member.value.paths.map { [.key(member.key)] + $0 } }
    case .array(let elements): elements.enumerated().flatMap { index, element in [[.index(index)]] + element.paths.map { [.index(index)] + $0 } }
    default: []
    }
  }

  mutating func mutate(_ generator: inout SeededGenerator) {
    let paths = paths
    guard let path = paths.randomElement(using: &generator), let old = get(path) else { return }
    let strange: [JSON] = [
      .null, true, 0, -1, 1, 2, 1_000_000, .int(.max), .int(.min), 0.5, -1e-300, 1e300, "", "R", "S0", "{i}", [], [0], .object(.init()),
    ]
    switch Int.random(in: 0..<6, using: &generator) {
    case 0: drop(path)
    case 1: if let value = strange.randomElement(using: &generator) { set(path, value) }
    case 2: if let other = paths.randomElement(using: &generator), let value = get(other) { set(path, value) }
    case 3:
      if case .int(let number) = old { set(path, .int(number &+ [-1, 1].randomElement(using: &generator)!)) } else { drop(path) }
    case 4:
      if case .array(let elements) = old { set(path, .array(elements.reversed())) } else { set(path, [old]) }
    default:
      if case .array(let elements) = old, let one = elements.randomElement(using: &generator) {
        set(path, .array(elements + [one]))
      } else {
        drop(path)
      }
    }
  }
}
