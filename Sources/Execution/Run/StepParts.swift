// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import Quantities

/// Seconds of one step, or predicted ones, by part.
package struct StepParts: Equatable, Sendable {
  /// By `StepPart`, communication included.
  package var seconds = [Double](repeating: 0, count: StepPart.allCases.count)
  /// Of all but `stages`, what was spent in collectives and messages, waiting for other ranks included.
  package var communication = 0.0

  package init() {}

  package subscript(part: StepPart) -> Double {
    get { seconds[part.rawValue] }
    set { seconds[part.rawValue] = newValue }
  }

  static var numberCount: Int { StepPart.allCases.count + 1 }
  var numbers: [Double] { seconds + [communication] }

  init(_ numbers: some Collection<Double>) {
    seconds = Array(numbers.prefix(StepPart.allCases.count))
    communication = Array(numbers).last ?? 0
  }

  /// Of each part the median.
  init(medianOf steps: [StepParts]) {
    for part in StepPart.allCases { self[part] = steps.map { $0[part] }.median ?? 0 }
    communication = steps.map(\.communication).median ?? 0
  }
}

/// Reads the clock between a program's instructions.
struct StepClock {
  private(set) var parts = StepParts()
  private let ledger: TrafficLedger
  private var last = 0.0
  private var communication = 0.0
  private var recorder: StepRecorder?

  init(_ ledger: TrafficLedger) { self.ledger = ledger }

  mutating func begin(recording recorder: StepRecorder? = nil) {
    parts = StepParts()
    self.recorder = recorder
    (last, communication) = (MonotonicClock.now, ledger.seconds)
    recorder?.begin(at: last, communication: communication)
  }

  /// Enters the time since the last call, or the beginning, under a part.
  mutating func enter(_ part: StepPart) {
    let now = MonotonicClock.now
    parts[part] += now - last
    if part != .stages { parts.communication += ledger.seconds - communication }
    recorder?.add(end: now, communication: ledger.seconds)
    (last, communication) = (now, ledger.seconds)
  }
}
