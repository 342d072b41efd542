// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Plans
import Quantities
import Report

/// The tracks on which a rank's predicted step is drawn.
package struct RankTracks {
  package var passes: Trace.Track
  package var compute: Trace.Track
  package var communication: Trace.Track

  /// All on one.
  package init(_ track: Trace.Track) { (passes, compute, communication) = (track, track, track) }

  package init(passes: Trace.Track, compute: Trace.Track, communication: Trace.Track) {
    (self.passes, self.compute, self.communication) = (passes, compute, communication)
  }

  fileprivate var areApart: Bool { compute != communication }
}

extension Trace {
  /// A time on a trace.
  package static func nanoseconds(_ time: Seconds) -> Int { Int((time.value * 1e9).rounded()) }

  /// Adds a rank's predicted step: passes, what is done once and bubbles on one track, which they fill; kernels on another, and collectives on a third,
  /// those in an operator at the end of its time.
  ///
  /// - Parameters:
  ///   - labels: of the program's instructions.
  ///   - microBatches: so many have their instructions in their passes.
  package mutating func add(
    _ step: PredictedStep, of report: ProgramReport, _ labels: TraceLabels, on tracks: RankTracks, microBatches: Int = .max
  ) {
    var isDetailed = true
    func add(_ label: TraceLabel, on track: Track, _ start: Int, _ end: Int) {
      self.add(Event(name: label.name, categories: label.categories, track: track, start: start, end: end, arguments: label.arguments))
    }
    for span in step.spans(of: report.program) {
      let (start, end) = (Self.nanoseconds(span.start), Self.nanoseconds(span.end))
      // Times are rounded one by one, which may leave nothing of one.
      if start == end, tracks.areApart || !span.isInstruction { continue }
      switch span.kind {
      case .pass(let number):
        let pass = report.program.passes[number].pass
        isDetailed = pass.microBatch < microBatches
        add(.pass(pass, report.plan.decision), on: tracks.passes, start, end)
      case .once:
        isDetailed = true
        add(.once, on: tracks.passes, start, end)
      case .bubble: add(.bubble, on: tracks.passes, start, end)
      case .host where !isDetailed, .instruction where !isDetailed: break
      case .host: add(.host, on: tracks.compute, start, end)
      case .instruction(let number) where tracks.areApart:
        let exchange = Self.nanoseconds(span.end - span.communication)
        if exchange > start { add(labels[number], on: tracks.compute, start, exchange) }
        if end > exchange { add(labels[number], on: tracks.communication, exchange, end) }
      case .instruction(let number): add(labels[number], on: tracks.compute, start, end)
      }
    }
  }
}

extension PredictedStep.Span {
  fileprivate var isInstruction: Bool { if case .instruction = kind { true } else { false } }
}
