// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner

extension Graph {
  /// The operator of a name, or of the name of one of its copies.
  ///
  /// - Throws: `UsageError` that says which copies there are, or suggests a name.
  func op(named layer: String) throws -> OperatorID {
    if layer.isEmpty { throw UsageError("an operator's name is empty; `tpplan inspect` prints them") }
    if let id = operators.firstIndex(where: { $0.name == layer }) { return id }
    let (pattern, copy) = Graph.blockPattern(of: layer)
    // Layers of several kinds have an operator each.
    let kinds = operators.indices.filter { Graph.withoutFirstCopy(operators[$0].name) == pattern }
    guard let copy, !kinds.isEmpty else {
      throw UsageError("\(layer): no operator of \(name) has this name\(hint(pattern: pattern, copy: copy))")
    }
    guard let id = kinds.first(where: { copies(of: segmentOfOperator[$0]).contains(copy) }) else {
      let last = kinds.map { copies(of: segmentOfOperator[$0]).upperBound - 1 }.max() ?? 0
      throw UsageError("\(layer): copies of \(pattern) are numbered 0 to \(last); give one of them, or {i}")
    }
    return id
  }

  /// Whether a name is that of an operator, or of one of its copies.
  func hasOperator(named layer: String) -> Bool { (try? op(named: layer)) != nil }

  /// What may have been meant.
  private func hint(pattern: String, copy: Int?) -> String {
    let near = operatorNames(like: pattern).map { name in copy.map { Graph.name(name, copy: $0) } ?? name }
    return near.isEmpty ? "; `tpplan inspect` prints the names" : "; did you mean \(near.joined(separator: " or "))?"
  }
}
