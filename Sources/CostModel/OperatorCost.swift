// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies

/// What one strategy of one operator costs, on the rank with the largest part, for one micro-batch unless said otherwise.
///
/// Conversions between layouts, and what is kept of tensors that several operators read, are priced apart.
package struct OperatorCost: Hashable, Sendable {
  package var forward: Seconds
  package var backward: Seconds
  /// Of `forward`, what is spent in collectives inside the operator.
  package var interior: Seconds
  /// Once per step: summing gradients over data replicas.
  package var gradientSync: Seconds
  /// Once per step: the optimizer.
  package var update: Seconds
  /// Weights as kernels read them, gradients, master weights and optimizer state.
  package var weights: Bytes
  package var gradients: Bytes
  package var optimizerState: Bytes
  /// Arrays besides operands and result that backward needs (statistics, masks), per micro-batch.
  package var extras: Bytes
  /// Memory that only lives while the operator runs.
  package var transient: Bytes

  package var resident: Bytes { weights + gradients + optimizerState }
}
