// SPDX-License-Identifier: GPL-3.0-or-later
import Dispatch
import Documents
import Foundation
import Planner
import Search
import Synchronization

/// Shows on a terminal how a search gets on, and lets Ctrl-C end it with the best plan so far; a second Ctrl-C ends the process.
final class SearchWatch: Sendable {
  let stop: StopCondition
  private let start = ContinuousClock.now
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private let lastShown = Mutex<ContinuousClock.Instant?>(nil)
  private let interrupts = Atomic(0)
  // Set once in init, released with the watch.
  private nonisolated(unsafe) var signalSource: (any DispatchSourceSignal)?

  /// - Parameter limit: seconds from now on; nil: none.
  init(limit: Double?) {
    stop = StopCondition(after: limit.map { .seconds($0) })
    signal(SIGINT, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
    source.setEventHandler { [weak self] in self?.interrupt() }
    source.resume()
    signalSource = source
  }

  var monitor: SearchMonitor { SearchMonitor(stop: stop) { [self] in show($0) } }

  /// For one search of several, which ends after this time or with the others.
  func monitor(for time: Duration) -> SearchMonitor { SearchMonitor(stop: StopCondition(after: time, within: stop)) { [self] in show($0) } }

  /// Whether Ctrl-C ended the search.
  var wasInterrupted: Bool { interrupts.load(ordering: .relaxed) > 0 }

  private func interrupt() {
    if interrupts.add(1, ordering: .relaxed).newValue > 1 {
      clear()
      _exit(Failure.interrupted)
    }
    stop.ask()
  }

  private func show(_ progress: SearchProgress) {
    guard isTerminal else { return }
    let now = ContinuousClock.now
    let isDue = lastShown.withLock { last in
      guard now - (last ?? start) >= .milliseconds(200) else { return false }
      last = now
      return true
    }
    guard isDue else { return }
    let best = progress.objective.map { "best \($0)" } ?? "no plan yet"
    let seconds = Int((now - start) / .seconds(1))
    write(
      "\r\u{1B}[Ksearching, \(seconds) s: \(best), bound \(progress.lowerBound), \(progress.priced) solved, \(progress.open) open (Ctrl-C: best so far)"
    )
  }

  /// Takes the progress line away, and gives Ctrl-C back its meaning.
  func end() {
    clear()
    signalSource?.cancel()
    signal(SIGINT, SIG_DFL)
  }

  private func clear() {
    if isTerminal, lastShown.withLock({ $0 }) != nil { write("\r\u{1B}[K") }
  }

  private func write(_ text: String) { StandardError.write(text) }
}
