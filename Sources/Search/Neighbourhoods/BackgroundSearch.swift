// SPDX-License-Identifier: GPL-3.0-or-later
import Dispatch

/// A neighbourhood search on a thread of its own, until it is told to end.
final class BackgroundSearch: @unchecked Sendable {
  private var search: NeighbourhoodSearch
  private let stop: StopCondition
  private let group = DispatchGroup()

  /// - Parameter choice: a legal choice to begin with, if it is better than the search's own.
  init(_ search: NeighbourhoodSearch, from choice: [Int], stop: StopCondition) {
    self.search = search
    self.search.restart(from: choice)
    let own = StopCondition(within: stop)
    self.stop = own
    // Only this block touches the search until the group is left.
    DispatchQueue.global().async(group: group) { [self] in
      while !own.isReached { self.search.round(threads: 1, stop: own) }
    }
  }

  /// Ends the search and returns it.
  func finish() -> NeighbourhoodSearch {
    stop.ask()
    group.wait()
    return search
  }
}
