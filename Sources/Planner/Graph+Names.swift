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

  /// The operators that may be meant by a name that none has: the one that is spelt alike, else some whose names end so.
  package func operatorNames(like name: String) -> [String] {
    let names = operators.map(\.name)
    if let near = nearestSpelling(to: name, among: names) { return [near] }
    return Array(names.filter { $0.hasSuffix("." + name) }.prefix(3))
  }
}
