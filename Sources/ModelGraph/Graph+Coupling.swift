// SPDX-License-Identifier: GPL-3.0-or-later

extension OperatorKind {
  /// Whether a sample's result depends on the other samples of the batch, so that the operator is another function on a part of it.
  package var couplesSamples: Bool {
    switch self {
    case .contrastiveLoss, .batchNorm: true
    default: false
    }
  }
}

extension Graph {
  /// Whether the model computes what it is meant to only on a whole global batch, so that a step has one micro-batch. Splitting the batch over
  /// devices is no obstacle: the operators that couple samples exchange what they need.
  package var couplesBatch: Bool { !isPerMicroBatch && operators.contains { $0.kind.couplesSamples } }
}
