// SPDX-License-Identifier: GPL-3.0-or-later
import Dispatch
import Documents
import Foundation
import Search
import Synchronization

/// Shows on a terminal how some work gets on, and lets Ctrl-C end it with what was found so far; a second Ctrl-C ends the process.
final class ProgressWatch: Sendable {
  let stop = StopCondition()
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private let shown = Mutex<(text: String, at: ContinuousClock.Instant)?>(nil)
  // Set once in init, released with the watch.
  private nonisolated(unsafe) var signalSource: (any DispatchSourceSignal)?

  init() {
    signal(SIGINT, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: SIGINT, queue: .global())
    source.setEventHandler { [weak self] in
      guard let self else { return }
      if stop.isReached {
        clear()
        _exit(Failure.interrupted)
      }
      stop.ask()
    }
    source.resume()
    signalSource = source
  }

  /// Shows a line in place of the last one, a few times each second at most.
  func show(_ text: String) {
    guard isTerminal else { return }
    let isDue = shown.withLock { last in
      if let last, last.text == text || ContinuousClock.now - last.at < .milliseconds(100) { return false }
      last = (text, .now)
      return true
    }
    if isDue { write("\r\u{1B}[K\(text)") }
  }

  /// Takes the line away, and gives Ctrl-C back its meaning.
  func end() {
    clear()
    signalSource?.cancel()
    signal(SIGINT, SIG_DFL)
  }

  private func clear() {
    if isTerminal, shown.withLock({ $0 }) != nil { write("\r\u{1B}[K") }
  }

  private func write(_ text: String) { StandardError.write(text) }
}
