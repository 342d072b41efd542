// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import Quantities

/// Shows what the steps of a training give while its ranks go on: a bar on a terminal, otherwise lines of JSON.
final class StepWatch {
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private let bar = ProgressBar("training")

  /// - Parameter line: JSON, as a rank writes it.
  func show(_ line: String) {
    guard isTerminal, let step = StepReport(json: line) else { return note(line) }
    var parts = ["step \(step.step + 1) of \(step.of)"]
    if let loss = step.loss { parts.append("loss " + String(format: "%.4f", loss)) }
    if let rate = step.tokensPerSecond { parts.append("\(Int(rate.rounded())) tokens/s") }
    parts.append("\(Seconds(step.seconds * Double(step.of - step.step - 1))) left")
    bar.show(Double(step.step + 1) / Double(step.of), parts.joined(separator: ", "))
  }

  /// Writes what a rank says beside its steps.
  func passOn(_ line: String) { bar.interrupt { note(line) } }

  func end() { bar.end() }
}
