// SPDX-License-Identifier: GPL-3.0-or-later

/// Takes down one step of one rank: when each instruction ended, how much of it was communication, and when messages were on their way.
///
/// All memory is there before the step, so that recording takes two stores and no allocation for an instruction.
final class StepRecorder {
  /// A time, and the seconds that the rank had spent in communication until then, since the step began.
  struct Moment: Equatable {
    var time = 0.0
    var communication = 0.0
  }

  struct Transfer: Equatable {
    var bytes = 0
    /// The number of the instruction that sent it.
    var instruction = 0
    var start = Moment()
    var end = Moment()
  }

  private var start = 0.0
  /// The end of each instruction, in their order; the last is the wait for messages at the end of the step.
  private var ends: [Moment]
  private var transfers: [Transfer]
  private var endCount = 0
  private var transferCount = 0
  /// The ledger's seconds when the step began.
  private var before = 0.0

  init(instructions: Int, transfers: Int) {
    ends = Array(repeating: Moment(), count: instructions)
    self.transfers = Array(repeating: Transfer(), count: transfers)
  }

  /// What was taken down, by this rank's clock.
  struct Recorded: Equatable {
    var start = 0.0
    var ends: [Moment] = []
    var transfers: [Transfer] = []
  }

  var recorded: Recorded { Recorded(start: start, ends: Array(ends[..<endCount]), transfers: Array(transfers[..<transferCount])) }

  func begin(at time: Double, communication: Double) {
    (start, before, endCount, transferCount) = (time, communication, 0, 0)
  }

  func add(end: Double, communication: Double) {
    ends[endCount] = Moment(time: end, communication: communication - before)
    endCount += 1
  }

  /// - Returns: the message's number.
  func beginTransfer(bytes: Int, communication: Double) -> Int {
    let now = Moment(time: MonotonicClock.now, communication: communication - before)
    transfers[transferCount] = Transfer(bytes: bytes, instruction: endCount, start: now, end: now)
    transferCount += 1
    return transferCount - 1
  }

  func endTransfer(_ number: Int, communication: Double) {
    transfers[number].end = Moment(time: MonotonicClock.now, communication: communication - before)
  }
}

/// As ranks tell each other.
extension StepRecorder.Recorded {
  var numbers: [Double] {
    [start, Double(ends.count)] + ends.flatMap { [$0.time, $0.communication] }
      + transfers.flatMap {
        [Double($0.bytes), Double($0.instruction), $0.start.time, $0.start.communication, $0.end.time, $0.end.communication]
      }
  }

  init(_ numbers: [Double]) {
    start = numbers[0]
    let rest = 2 + 2 * Int(numbers[1])
    ends = stride(from: 2, to: rest, by: 2).map { .init(time: numbers[$0], communication: numbers[$0 + 1]) }
    transfers = stride(from: rest, to: numbers.count, by: 6).map {
      .init(
        bytes: Int(numbers[$0]), instruction: Int(numbers[$0 + 1]), start: .init(time: numbers[$0 + 2], communication: numbers[$0 + 3]),
        end: .init(time: numbers[$0 + 4], communication: numbers[$0 + 5]))
    }
  }
}
