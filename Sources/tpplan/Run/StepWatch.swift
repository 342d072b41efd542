// SPDX-License-Identifier: GPL-3.0-or-later
import Execution
import Foundation
import Quantities

/// Shows what the steps of a training give while its ranks go on: a bar on a terminal, otherwise lines of JSON.
final class StepWatch {
  let isTerminal = isatty(STDERR_FILENO) == 1
  /// The checkpoint that was written last.
  private(set) var lastCheckpoint: String?
  private let bar = ProgressBar("training")
  private let clock = ContinuousClock()
  /// The first step that was told, when, and when the bar was drawn last.
  private var first: (step: Int, time: ContinuousClock.Instant)?
  private var drawn: ContinuousClock.Instant?

  /// - Parameter line: JSON, as a rank writes it.
  func show(_ line: String) {
    if let checkpoint = CheckpointReport(json: line) { lastCheckpoint = checkpoint.path }
    guard isTerminal else { return note(line) }
    guard let step = StepReport(json: line) else { return }
    let now = clock.now
    let begin = first ?? (step.step, now)
    first = begin
    // A terminal need not keep up with steps of a millisecond.
    if let drawn, now - drawn < .milliseconds(100), step.step + 1 < step.of { return }
    drawn = now
    var parts = ["step \(step.step + 1) of \(step.of)"]
    if let loss = step.loss { parts.append("loss " + String(format: "%.4f", loss)) }
    if let rate = step.tokensPerSecond { parts.append("\(Int(rate.rounded())) tokens/s") }
    // By all steps since the first, which warms up, with their checkpoints.
    let each = step.step > begin.step ? (now - begin.time) / .seconds(1) / Double(step.step - begin.step) : step.seconds
    parts.append("\(Seconds(each * Double(step.of - step.step - 1))) left")
    bar.show(Double(step.step + 1) / Double(step.of), parts.joined(separator: ", "))
  }

  /// Writes what a rank says beside its steps.
  func passOn(_ line: String) { bar.interrupt { note(line) } }

  func end() { bar.end() }
}
