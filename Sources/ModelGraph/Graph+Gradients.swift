// SPDX-License-Identifier: GPL-3.0-or-later

extension Graph {
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

  /// For each tensor, whether it is learned, or computed from something learned (what comes in from the copy before counts as such), so that a
  /// gradient with respect to it is of any use.
  private func dependsOnParameters() -> [Bool] {
    var depends = tensors.indices.map { tensors[$0].isParameter || (tensors[$0].isActivation && producer[$0] == nil) }
    for segment in segments {
      for op in segment.operators { depends[operators[op].result] = operators[op].operands.contains { depends[$0] } }
    }
    return depends
  }
}
