// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph

extension Graph {
  /// The operator of a name, or of the name of one of its copies.
  ///
  /// - Throws: `UsageError` that says which copies there are, or suggests a name.
  func op(named layer: String) throws -> OperatorID {
    if let id = operators.firstIndex(where: { $0.name == layer }) { return id }
    let (pattern, copy) = Self.pattern(of: layer)
    guard let copy, let id = operators.firstIndex(where: { $0.name == pattern }) else {
      throw UsageError("--layer \(layer): no operator of \(name) has this name\(hint(pattern: pattern, copy: copy))")
    }
    let copies = segments[segmentOfOperator[id]].repeats
    guard 0..<copies ~= copy else {
      throw UsageError("--layer \(layer): copies of \(pattern) are numbered 0 to \(copies - 1); give one of them, or {i}")
    }
    return id
  }

  /// A name with `{i}` in place of its first part that is a number, and that number.
  private static func pattern(of layer: String) -> (pattern: String, copy: Int?) {
    var parts = layer.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard let place = parts.firstIndex(where: { Int($0) != nil }), let copy = Int(parts[place]) else { return (layer, nil) }
    parts[place] = "{i}"
    return (parts.joined(separator: "."), copy)
  }

  /// What may have been meant: a name that is spelt alike, else those that end so.
  private func hint(pattern: String, copy: Int?) -> String {
    func shown(_ name: String) -> String { copy.map { Graph.name(name, copy: $0) } ?? name }
    if let near = nearestSpelling(to: pattern, among: operators.map(\.name)) { return "; did you mean \(shown(near))?" }
    let endings = operators.map(\.name).filter { $0.hasSuffix("." + pattern) }
    return endings.isEmpty ? "; `tpplan inspect` prints the names" : "; did you mean \(endings.prefix(3).map(shown).joined(separator: " or "))?"
  }
}
