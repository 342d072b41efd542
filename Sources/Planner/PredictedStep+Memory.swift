// SPDX-License-Identifier: GPL-3.0-or-later
import Lowering
import Plans
import Quantities
import Strategies

extension PredictedStep {
  /// One pass of one micro-batch on a group of devices.
  package struct TimedPass: Hashable, Sendable {
    package let pass: Pass
    package let start: Seconds
    package let end: Seconds
  }

  /// When a group of devices carries out its passes, in order. What is between is waiting.
  package func passes(ofGroup group: Int) -> [TimedPass] {
    timeline.passes[group].map {
      TimedPass(pass: $0.pass, start: prices.pricings[0].seconds($0.start), end: prices.pricings[0].seconds($0.end))
    }
  }

  /// What one rank's tensors take while it carries out the step.
  package func memory(of program: Program) -> MemoryTimeline {
    MemoryTimeline(
      program, starts: starts(of: program), sizes: BufferSizes(program, prices.pricings[prices.kindOfStage[program.stage]]))
  }

  /// When each instruction begins; one without a price, when the one before it has ended.
  private func starts(of program: Program) -> [Seconds] {
    var starts = [Seconds?](repeating: nil, count: program.instructions.count)
    var ends = starts
    for span in spans(of: program) {
      switch span.kind {
      case .pass(let number): if !program.passes[number].instructions.isEmpty { starts[program.passes[number].instructions.lowerBound] = span.start }
      case .once:
        let first = program.passes.last?.instructions.upperBound ?? 0
        if first < starts.count { starts[first] = span.start }
      case .instruction(let index): (starts[index], ends[index]) = (span.start, span.end)
      case .bubble, .host: break
      }
    }
    var now = Seconds.zero
    return starts.indices.map { index in
      let start = max(now, starts[index] ?? now)
      now = max(start, ends[index] ?? start)
      return start
    }
  }
}
