// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans

extension Decision {
  /// The decision as it is carried out: tokens come to experts in uneven numbers, so that every expert has a slot for every position, where the plan
  /// counts with balanced numbers. All-to-alls send those that hold tokens (`RoutedSlots`). Splits and conversions are the same: slots are cut as positions are.
  package var asExecuted: Decision {
    var decision = self
    if let graph = graph.withSlotsForEveryPosition { decision.graph = graph }
    return decision
  }
}
