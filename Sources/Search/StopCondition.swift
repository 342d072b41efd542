// SPDX-License-Identifier: GPL-3.0-or-later
import Synchronization

/// When a search must end with the best that it has: at an instant, or as soon as it is asked to.
package final class StopCondition: Sendable {
  private let deadline: ContinuousClock.Instant?
  private let isAsked = Atomic(false)
  private let parent: StopCondition?

  /// - Parameters:
  ///   - limit: the time from now on; nil: none.
  ///   - parent: ends this search too, when it is reached.
  package init(after limit: Duration? = nil, within parent: StopCondition? = nil) {
    let own = limit.map { ContinuousClock.now + $0 }
    deadline = [own, parent?.deadline].compactMap { $0 }.min()
    self.parent = parent
  }

  /// Asks for the end. Safe to call from a signal handler's queue.
  package func ask() { isAsked.store(true, ordering: .relaxed) }

  package var isReached: Bool { isAsked.load(ordering: .relaxed) || parent?.isReached ?? false || isLate }

  private var isLate: Bool { deadline.map { ContinuousClock.now >= $0 } ?? false }

  /// Whole milliseconds until the deadline, at least 1.
  var millisecondsLeft: Int {
    guard let deadline else { return Int(Int32.max) }
    let left = (deadline - ContinuousClock.now) / .milliseconds(1)
    return Int(max(1, min(left.rounded(.up), Double(Int32.max))))
  }
}
