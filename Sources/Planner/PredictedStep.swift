// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Lowering
import Plans
import Quantities

/// The time line of a step as the cost model has it: the pipeline's passes, and in them a program's instructions one after the other.
package struct PredictedStep {
  /// One piece of a rank's step. Whole passes, what is done once, and waiting follow each other without gaps; instructions lie in them.
  package struct Span: Hashable, Sendable {
    package enum Kind: Hashable, Sendable {
      /// The pass of this number in the program.
      case pass(Int)
      /// After the last pass: gradients are summed, parameters updated.
      case once
      /// Waiting for other stages, and for messages from them.
      case bubble
      /// The instruction of this number in the program.
      case instruction(Int)
      /// What a pass takes longer than its instructions: the host hands its kernels over more slowly than the device carries them out.
      case host
    }

    package let kind: Kind
    package let start: Seconds
    package let end: Seconds
    /// Of an instruction's time the last part, which goes by in collectives, and in waiting for blocks that travel around a ring.
    package let communication: Seconds
  }

  package let prediction: Prediction
  /// For each group of devices.
  package let parts: [StageParts]
  let prices: StagePrices
  private let decision: Decision
  let timeline: PipelineTimeline

  init(_ decision: Decision, _ prices: StagePrices) throws {
    (self.decision, self.prices) = (decision, prices)
    let predicted = try prices.predict(decision)
    (prediction, timeline) = (predicted.prediction, predicted.timeline)
    parts = try prices.parts(of: decision)
  }

  package func instructionPrices(of program: Program) -> InstructionPrices { InstructionPrices(decision, prices, program) }

  /// One rank's step, by the times at which spans begin; a whole comes before its parts.
  package func spans(of program: Program) -> [Span] {
    let instructions = instructionPrices(of: program)
    var spans: [Span] = []
    var now: Int64 = 0
    func add(_ kind: Span.Kind, _ start: Int64, _ end: Int64, communication: Seconds = .zero) {
      guard end > start else { return }
      let (start, end) = (prices.pricings[0].seconds(start), prices.pricings[0].seconds(end))
      spans.append(Span(kind: kind, start: start, end: end, communication: min(communication, end - start)))
    }
    /// Those that have a price. Each is rounded to a tick, so that a few ticks may be left at the end.
    func addInstructions(_ range: Range<Int>, _ start: Int64, _ end: Int64) {
      var time = start
      for index in range {
        let next = min(end, time + instructions.ticks(program.instructions[index]))
        add(.instruction(index), time, next, communication: instructions.communication(program.instructions[index]))
        time = next
      }
      if end - time > Int64(range.count) { add(.host, time, end) }
    }
    for (index, item) in timeline.passes[program.stage].enumerated() {
      add(.bubble, now, item.start)
      add(.pass(index), item.start, item.end)
      addInstructions(program.passes[index].instructions, item.start, item.end)
      now = item.end
    }
    let rest = (program.passes.last?.instructions.upperBound ?? 0)..<program.instructions.count
    // Each operator's part is rounded to a tick there too.
    let once = rest.reduce(Int64(0)) { $0 + instructions.ticks(program.instructions[$1]) }
    let end = min(timeline.end, now + once)
    add(.once, now, end)
    addInstructions(rest, now, end)
    add(.bubble, end, timeline.end)
    return spans
  }
}
