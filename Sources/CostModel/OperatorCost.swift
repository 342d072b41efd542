// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies

/// What one strategy of one operator costs, on the rank with the largest part, for one micro-batch unless said otherwise.
///
/// Conversions between layouts, what is kept of tensors that several operators read, and weights are priced apart.
package struct OperatorCost: Hashable, Sendable {
  package var forward: Seconds
  package var backward: Seconds
  /// Of `forward`, what is spent in collectives inside the operator, and waiting for blocks that travel around a ring.
  package var interior: Seconds
  /// The same of `backward`.
  package var backwardInterior: Seconds = .zero
  /// Arrays besides operands and result that backward needs (statistics, masks), per micro-batch.
  package var extras: Bytes
  /// Memory that only lives while the operator runs.
  package var transient: Bytes
}
