// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// How attention works on a sequence that is split.
package enum ContextWay: String, Hashable, Sendable, CaseIterable {
  /// Each rank has its own queries, and all keys and values, gathered (Llama Team 2024, "The Llama 3 Herd of Models", §3.3.2).
  case gather
  /// Each rank has its own queries; keys and values travel around (Liu et al. 2023).
  case ring
  /// Between the operators around it and attention, sequence and heads change places in an all-to-all (Jacobs et al. 2023, "DeepSpeed Ulysses").
  case ulysses

  /// Whether an attention operator whose mesh axis goes to this iteration axis goes this way.
  package func isMeant(_ axis: Int?, _ rule: OperatorRule) -> Bool {
    guard let axis else { return false }
    let iteration = rule.iteration[axis]
    return switch self {
    case .gather: iteration.role.isPosition && iteration.splits == [axis]
    case .ring: axis == rule.ring?.axis
    case .ulysses: iteration.role == .heads || iteration.role == .queries
    }
  }
}
