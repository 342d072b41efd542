// SPDX-License-Identifier: GPL-3.0-or-later

/// One step of one rank, in seconds since the step began on the first rank of all.
package struct StepRecord: Equatable, Sendable {
  package struct Instruction: Equatable, Sendable {
    package let start: Double
    package let end: Double
    /// Of this time, what was spent in collectives and waiting for messages.
    package let communication: Double

    package init(start: Double, end: Double, communication: Double) { (self.start, self.end, self.communication) = (start, end, communication) }
  }

  /// A message that this rank sent, from then until the rank found that it had left.
  package struct Transfer: Equatable, Sendable {
    package let bytes: Int
    /// The number of the instruction that sent it.
    package let instruction: Int
    package let start: Double
    package let end: Double
    /// Of this time, what the rank spent in communication, and not in kernels.
    package let communication: Double

    package init(bytes: Int, instruction: Int, start: Double, end: Double, communication: Double) {
      (self.bytes, self.instruction, self.start, self.end, self.communication) = (bytes, instruction, start, end, communication)
    }
  }

  /// All instructions of the program but those that free a buffer, whose time is that of the instruction before; then the wait at the end of the step
  /// until all messages have left.
  package let instructions: [Instruction]
  package let transfers: [Transfer]
  /// The time in which messages were on their way while the rank did something else.
  package let hidden: Double

  package init(instructions: [Instruction], transfers: [Transfer], hidden: Double) {
    (self.instructions, self.transfers, self.hidden) = (instructions, transfers, hidden)
  }

  /// The time that the rank spent in communication alone.
  package var exposed: Double { instructions.reduce(0) { $0 + $1.communication } }
}

extension StepRecord {
  /// - Parameter origin: by the rank's clock, when the step began.
  init(_ recorded: StepRecorder.Recorded, origin: Double) {
    var instructions: [Instruction] = []
    var last = StepRecorder.Moment(time: recorded.start)
    for end in recorded.ends {
      instructions.append(
        Instruction(start: last.time - origin, end: end.time - origin, communication: max(0, end.communication - last.communication)))
      last = end
    }
    self.init(
      instructions: instructions,
      transfers: recorded.transfers.map {
        Transfer(
          bytes: $0.bytes, instruction: $0.instruction, start: $0.start.time - origin, end: $0.end.time - origin,
          communication: max(0, $0.end.communication - $0.start.communication))
      }, hidden: Self.hidden(recorded.transfers))
  }

  /// The union of the times in which messages were on their way, without the communication in it.
  static func hidden(_ transfers: [StepRecorder.Transfer]) -> Double {
    var total = 0.0
    var current: (start: StepRecorder.Moment, end: StepRecorder.Moment)?
    func add() {
      guard let current else { return }
      total += max(0, current.end.time - current.start.time - (current.end.communication - current.start.communication))
    }
    // They begin one after the other.
    for transfer in transfers {
      if let open = current, transfer.start.time <= open.end.time {
        if transfer.end.time > open.end.time { current = (open.start, transfer.end) }
      } else {
        add()
        current = (transfer.start, transfer.end)
      }
    }
    add()
    return total
  }

  /// Brings every rank's step to rank 0, which alone gets them. Collective.
  static func gather(_ recorded: StepRecorder.Recorded, over world: Communicator) throws(ExecutionError) -> [StepRecord] {
    let clock = MonotonicClock.identity ?? "rank \(world.rank)"
    let clocks = try world.gather(Array(clock.utf8))
    let all = try world.gather(recorded.numbers.withUnsafeBytes(Array.init))
    guard let clocks, let all else { return [] }
    let ranks = all.map { bytes in
      StepRecorder.Recorded(
        bytes.withUnsafeBytes { bytes in
          stride(from: 0, to: bytes.count, by: MemoryLayout<Double>.stride).map { bytes.loadUnaligned(fromByteOffset: $0, as: Double.self) }
        })
    }
    return aligned(ranks, clocks: clocks)
  }

  /// Puts steps of several clocks on one time line.
  ///
  /// Ranks of one host read one clock. Between hosts the barrier before the step tells the time: no rank leaves it before all have come to it, so the first
  /// of each host to leave did so at nearly the same time.
  static func aligned<Clock: Equatable>(_ ranks: [StepRecorder.Recorded], clocks: [Clock]) -> [StepRecord] {
    zip(ranks, clocks).map { rank, clock in
      StepRecord(rank, origin: zip(ranks, clocks).reduce(.infinity) { $1.1 == clock ? min($0, $1.0.start) : $0 })
    }
  }
}
