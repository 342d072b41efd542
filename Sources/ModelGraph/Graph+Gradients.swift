// SPDX-License-Identifier: GPL-3.0-or-later

extension Graph {
  /// The graph with the parameters frozen that have such a name (with `{i}` for a repeat), and no others.
  package func freezing(_ isFrozen: (String) -> Bool) -> Graph {
    var graph = self
    for (id, tensor) in tensors.enumerated() {
      guard var source = tensor.parameter else { continue }
      source.isFrozen = isFrozen(tensor.name)
      graph.tensors[id].kind = .parameter(source)
    }
    return graph
  }

  /// For each tensor, whether the loss depends on it through operators that have gradients, so that training needs its gradient.
  ///
  /// Carries make the question circular (a block's entry needs a gradient because its exit does), so it is asked until nothing changes.
  package func reachesLoss() -> [Bool] {
    var needed = [Bool](repeating: false, count: tensors.count)
    guard let loss else { return needed }
    needed[loss] = true
    let depends = dependsOnParameters()
    var changed = true
    while changed {
      changed = false
      for (index, segment) in segments.enumerated().reversed() {
        let next = index + 1 < segments.count ? segments[index + 1].entries : []
        for (position, exit) in segment.exits.enumerated() where !needed[exit] {
          if needed[next[position]] || (segment.repeats > 1 && needed[segment.entries[position]]) {
            needed[exit] = true
            changed = true
          }
        }
        for op in segment.operators.reversed() where needed[operators[op].result] {
          for operand in operators[op].operands where !needed[operand] && depends[operand] {
            needed[operand] = true
            changed = true
          }
        }
      }
    }
    return needed
  }

  /// For each tensor, whether it is learned, or computed from something learned, in any copy of its segment, so that a gradient with respect to
  /// it is of any use.
  private func dependsOnParameters() -> [Bool] {
    var depends = tensors.map { $0.parameter.map { !$0.isFrozen } ?? false }
    // What goes out of a copy comes into the next: asked until nothing changes.
    var changed = true
    while changed {
      changed = false
      for (index, segment) in segments.enumerated() {
        for (position, entry) in segment.entries.enumerated() where !depends[entry] {
          let before = index > 0 && depends[segments[index - 1].exits[position]]
          if before || (segment.repeats > 1 && depends[segment.exits[position]]) {
            depends[entry] = true
            changed = true
          }
        }
        for op in segment.operators where !depends[operators[op].result] && operators[op].operands.contains(where: { depends[$0] }) {
          depends[operators[op].result] = true
          changed = true
        }
      }
    }
    return depends
  }

  /// For each segment, whether training computes gradients in it.
  package func segmentsWithBackward() -> [Bool] {
    let needed = reachesLoss()
    return segments.map { segment in
      segment.operators.contains { op in needed[operators[op].result] && operators[op].operands.contains { needed[$0] } }
    }
  }
}
