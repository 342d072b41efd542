// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph

extension Graph {
  /// A name with `{i}` in place of its first part that is a number, and that number.
  package static func blockPattern(of name: String) -> (pattern: String, copy: Int?) {
    var parts = name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard let place = parts.firstIndex(where: { Int($0) != nil }), let copy = Int(parts[place]) else { return (name, nil) }
    parts[place] = "{i}"
    return (parts.joined(separator: "."), copy)
  }

  /// The operators that may be meant by a name, or a pattern, that none has: those whose paths differ least from it, three at most.
  package func operatorNames(like name: String) -> [String] {
    let typed = PathSpelling(name)
    let scored = operators.map(\.name).compactMap { name in typed.distance(to: name).map { (name: name, distance: $0) } }
    guard let least = scored.map(\.distance).min() else { return [] }
    return scored.filter { $0.distance <= least + 1e-9 }.prefix(3).map(\.name)
  }
}
