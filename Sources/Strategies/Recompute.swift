// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// What a segment's backward pass does again instead of keeping its result (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost";
/// Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", §4.2.2 and §5).
package enum Recompute: String, Hashable, Sendable, CaseIterable, Comparable {
  /// Nothing: all that backward reads is kept, in the layouts in which operators read it.
  case none
  /// Passes over data that keep what they read, norms, activation functions and products of elements, so that their results need not be kept: Megatron-LM's
  /// `--recompute-modules layernorm moe_act` does so.
  case elementwise
  /// What operators read gathered is kept as it was before, and gathered again: Megatron-LM's sequence parallelism does so.
  case gathered
  /// Attention is computed again.
  case selective
  /// Both.
  case selectiveGathered = "selective+gathered"
  /// Everything: only what comes into the segment is kept, in the layouts in which its readers take it.
  case full

  /// By how much is done again.
  package static func < (a: Recompute, b: Recompute) -> Bool { a.rank < b.rank }

  private var rank: Int {
    switch self {
    case .none: 0
    case .elementwise: 1
    case .gathered: 2
    case .selective: 3
    case .selectiveGathered: 4
    case .full: 5
    }
  }

  /// Whether an operator's forward pass is carried out again before its segment's backward pass.
  package func repeats(_ rule: OperatorRule) -> Bool {
    switch self {
    case .none, .gathered: false
    case .elementwise: rule.isCheaplyRepeated
    case .selective, .selectiveGathered: if case .attention = rule.work { true } else { false }
    case .full: true
    }
  }

  /// Those among which a search chooses by itself.
  package static let searched: [Recompute] = [.none, .gathered, .selective, .selectiveGathered, .full]

  /// Whether its result is computed again for those who read it, so that it is kept nowhere. Attention that writes its scores is carried out again for
  /// their sake; its result is kept as others' operand (Korthikanti et al. 2022, §5; Megatron-LM's checkpoint around it does so).
  package func revivesResult(of rule: OperatorRule, _ attention: AttentionKernel) -> Bool {
    repeats(rule) && (self == .full || self == .elementwise || attention == .fused)
  }

  /// The same, and what was gathered is gathered again.
  package var gathering: Recompute {
    switch self {
    case .none, .gathered: .gathered
    case .selective, .selectiveGathered: .selectiveGathered
    case .elementwise, .full: self
    }
  }

  /// The same, and what was gathered is kept.
  package var keepingGathered: Recompute {
    switch self {
    case .none, .gathered: .none
    case .selective, .selectiveGathered: .selective
    case .elementwise, .full: self
    }
  }

  /// Whether what was gathered is gathered again. What is computed again is kept nowhere, so that there is nothing to gather.
  package var gathers: Bool { self == .gathered || self == .selectiveGathered }
}
