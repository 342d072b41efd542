// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import Quantities

/// The parts into which a step's time falls on one rank; predictions have the same.
package enum StepPart: Int, CaseIterable, Sendable {
  /// Kernels, conversions of layouts and weights that are gathered for them, over all micro-batches.
  case forward
  /// The same, what is computed again, and the updates of weights that follow their gradients at once.
  case backward
  /// Summing gradients over ranks once per step, and gathering what was updated in parts.
  case gradientSync
  case optimizer
  /// Messages between stages, and waiting for them.
  case stages

  /// As reports name it.
  package var name: String {
    switch self {
    case .forward: "forward"
    case .backward: "backward"
    case .gradientSync: "gradient sync"
    case .optimizer: "optimizer"
    case .stages: "other stages"
    }
  }
}

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

extension Program {
  /// For each instruction its part. One that moves or clears data belongs to the kernel after it, unless its own kind says more.
  package func stepParts() -> [StepPart] {
    var parts: [StepPart] = []
    var next = StepPart.optimizer
    for instruction in instructions.reversed() {
      switch instruction {
      case .kernel(let call): next = call.phase == .forward ? .forward : .backward
      default: break
      }
      parts.append(part(of: instruction, before: next))
    }
    return parts.reversed()
  }

  private func part(of instruction: Instruction, before next: StepPart) -> StepPart {
    switch instruction {
    case .kernel, .load, .free: next
    case .reshard(_, _, let buffer), .accumulate(_, let buffer), .zero(let buffer):
      switch buffers[buffer].role {
      // Gradients belong to the backward pass, also those that are cleared before the forward pass.
      case .gradient, .wholeGradient, .parameterGradient: .backward
      default: next == .optimizer ? .backward : next
      }
    case .send, .receive, .sendBoxes, .receiveBoxes: .stages
    case .gatherParameter(let parameter, _, let buffer):
      buffer != parameters[parameter].value ? next : parameters[parameter].isPassing ? .backward : .gradientSync
    case .scatterGradient(let parameter, _, let buffer):
      buffer != parameters[parameter].gradient || parameters[parameter].isPassing ? .backward : .gradientSync
    case .reduceGradient(let parameter, _): parameters[parameter].isPassing ? .backward : .gradientSync
    case .reduceTied, .exchangeTied: .gradientSync
    case .update(let parameter): parameters[parameter].isPassing ? .backward : .optimizer
    }
  }
}
