// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Search

/// How a search gets on.
package struct SearchProgress: Sendable {
  /// Configurations, and families of them, that are still to be looked at.
  package let open: Int
  /// Configurations solved so far.
  package let priced: Int
  /// The step of the best plan so far.
  package let objective: Seconds?
  /// No plan that is still open takes less.
  package let lowerBound: Seconds
}

/// Watches a search, and ends it.
package struct SearchMonitor: Sendable {
  /// When the search must end with the best plan so far.
  package let stop: StopCondition
  /// Hears often, so it must be quick.
  package let report: (@Sendable (SearchProgress) -> Void)?

  package init(stop: StopCondition = StopCondition(), report: (@Sendable (SearchProgress) -> Void)? = nil) {
    self.stop = stop
    self.report = report
  }
}
