// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Execution

/// What is recorded of a step.
@Suite struct StepRecordTests {
  private typealias Moment = StepRecorder.Moment

  @Test("worked by hand: instructions lie one after the other, and messages hide what is not communication while any is on its way")
  func record() {
    let recorder = StepRecorder(instructions: 4, transfers: 3)
    recorder.begin(at: 10, communication: 5)
    recorder.add(end: 11, communication: 5)
    recorder.add(end: 13, communication: 6.5)
    var recorded = recorder.recorded
    #expect(recorded.ends == [Moment(time: 11, communication: 0), Moment(time: 13, communication: 1.5)] && recorded.transfers.isEmpty)
    // The first two overlap, from 10 to 12.5 with 1 of communication; the third is alone, from 12.75 to 13 with all of it communication.
    func transfer(_ start: Double, _ end: Double, _ communication: (Double, Double)) -> StepRecorder.Transfer {
      .init(
        bytes: 8, instruction: 1, start: Moment(time: start, communication: communication.0), end: Moment(time: end, communication: communication.1))
    }
    recorded.transfers = [transfer(10, 12, (0, 0.5)), transfer(10.5, 12.5, (0, 1)), transfer(12.75, 13, (1.25, 1.5))]
    #expect(StepRecorder.Recorded(recorded.numbers) == recorded)
    let record = StepRecord(recorded, origin: 9)
    #expect(record.instructions == [.init(start: 1, end: 2, communication: 0), .init(start: 2, end: 4, communication: 1.5)])
    #expect(record.transfers[1] == .init(bytes: 8, instruction: 1, start: 1.5, end: 3.5, communication: 1))
    #expect(record.exposed == 1.5 && record.hidden == 1.5)
    let overlap = CommunicationOverlap([record, StepRecord(instructions: [], transfers: [], hidden: 0)])
    #expect(overlap.communicationPerRank == 1.5 && overlap.hiddenShare == 0.5)
    #expect(CommunicationOverlap([]).hiddenShare == 0 && CommunicationOverlap([]).communicationPerRank == 0)
  }

  @Test("worked by hand: ranks of one host share its clock, and each host's begins when its first rank leaves the barrier")
  func clocks() {
    let ranks = [100.25, 100, 7, 7.5].map { StepRecorder.Recorded(start: $0, ends: [Moment(time: $0 + 1)]) }
    let starts = StepRecord.aligned(ranks, clocks: ["a", "a", "b", "b"]).map { $0.instructions[0].start }
    #expect(starts == [0.25, 0, 0, 0.5])
  }
}
