// SPDX-License-Identifier: GPL-3.0-or-later

extension OperatorKind {
  /// Whether the gradient jumps where values cross each other or 0, so that a value that rounding moves across changes gradients by more than
  /// rounding: which side of 0, which largest value, which experts.
  package var hasKinks: Bool {
    switch self {
    case .activation(.relu), .maxPool, .route: true
    default: false
    }
  }
}

extension Graph {
  package var hasKinks: Bool { operators.contains { $0.kind.hasKinks } }
}
