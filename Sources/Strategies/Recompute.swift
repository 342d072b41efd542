// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// What a segment's backward pass computes again instead of keeping it (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost";
/// Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", §5).
package enum Recompute: String, Hashable, Sendable, CaseIterable, Comparable {
  /// Nothing: all that backward reads is kept.
  case none
  /// The attention operators' results.
  case selective
  /// Everything: only what comes into the segment is kept, in the layouts in which its readers take it.
  case full

  /// By how much is computed again.
  package static func < (a: Recompute, b: Recompute) -> Bool { a.rank < b.rank }

  private var rank: Int {
    switch self {
    case .none: 0
    case .selective: 1
    case .full: 2
    }
  }

  /// Whether an operator's forward pass is carried out again before its segment's backward pass.
  package func repeats(_ rule: OperatorRule) -> Bool {
    switch self {
    case .none: false
    case .selective: if case .attention = rule.work { true } else { false }
    case .full: true
    }
  }
}
