// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// The learning rate of each step: a linear warm-up, then constant, or down to a minimum along a line or half a cosine.
package struct LearningRate: Sendable, Equatable {
  package enum Decay: String, CaseIterable, Sendable {
    case constant
    case linear
    case cosine
  }

  /// The rate after the warm-up.
  package var peak = 1e-4
  package var decay = Decay.constant
  /// Steps of the warm-up: step t of w has (t + 1) / w of the peak, as in Megatron-LM, so that no step is without effect.
  package var warmup = 0
  /// The steps of the whole training, after which the rate would be the minimum. Of no effect on a constant rate.
  package var steps = 1
  package var minimum = 0.0

  package init(peak: Double = 1e-4) { self.peak = peak }

  /// - Parameter step: from 0.
  package func value(at step: Int) -> Double {
    if step < warmup { return peak * Double(step + 1) / Double(warmup) }
    let done = min(1, Double(step - warmup) / Double(max(1, steps - warmup)))
    switch decay {
    case .constant: return peak
    case .linear: return peak + (minimum - peak) * done
    case .cosine: return minimum + (peak - minimum) * 0.5 * (1 + cos(.pi * done))
    }
  }
}
