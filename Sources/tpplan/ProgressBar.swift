// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation

/// A bar on standard error, where that is a terminal.
final class ProgressBar {
  private let title: String
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private let width = 30
  private var isShown = false

  init(_ title: String) { self.title = title }

  /// - Parameters:
  ///   - part: from 0 to 1.
  ///   - text: what is said beside the bar.
  func show(_ part: Double, _ text: String = "Ctrl-C ends it") {
    guard isTerminal else { return }
    let full = Int((Double(width) * part).rounded(.down))
    let bar = String(repeating: "#", count: full) + String(repeating: ".", count: width - full)
    write("\r\u{1B}[K\(title) [\(bar)] \(Int(100 * part)) % (\(text))")
    isShown = true
  }

  /// Takes the bar away while something else is written.
  func interrupt(_ body: () -> Void) {
    end()
    body()
  }

  func end() {
    if isShown { write("\r\u{1B}[K") }
    isShown = false
  }

  private func write(_ text: String) { StandardError.write(text) }
}
