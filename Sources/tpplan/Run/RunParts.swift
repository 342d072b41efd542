// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Execution
import Lowering
import Plans
import Quantities

/// Predicted beside measured, part by part, for the ranks of each stage.
struct RunParts {
  struct Stage {
    let ranks: Range<Int>
    let predicted: StepParts
    /// Of each rank.
    let measured: [StepParts]

    /// The mean over the stage's ranks.
    func mean(_ value: (StepParts) -> Double) -> Double { measured.reduce(0) { $0 + value($1) } / Double(measured.count) }
  }

  let stages: [Stage]

  init(_ decision: Decision, _ predicted: Prediction, _ measured: [StepParts]) {
    stages = (0..<decision.groups).compactMap { group in
      let ranks = decision.ranks(ofGroup: group)
      guard ranks.upperBound <= measured.count else { return nil }
      return Stage(
        ranks: ranks, predicted: predicted.parts(ofGroup: group, microBatches: decision.job.microBatches), measured: Array(measured[ranks]))
    }
  }

  var lines: [String] {
    stages.enumerated().flatMap { number, stage -> [String] in
      let heading = stages.count == 1 ? "time" : "time, stage \(number)"
      func line(_ name: String, _ predicted: Double, _ measured: Double) -> String {
        let ratio = predicted > 0 ? rounded(measured / predicted) : "-"
        return "    " + name.padded(to: 16) + Self.column(Seconds(predicted).description) + Self.column(Seconds(measured).description)
          + Self.column(ratio)
      }
      // Not what is nothing beside the rest: the end of a step that waits for no stage.
      let least = 1e-4 * stage.mean { $0.seconds.reduce(0, +) }
      let parts = StepPart.allCases.filter { part in stage.predicted[part] > 0 || stage.mean { $0[part] } > least }.map { part in
        line(part.name, stage.predicted[part], stage.mean { $0[part] })
      }
      let communication = stage.mean(\.communication)
      let shared =
        stage.predicted.communication > 0 || communication > 0 ? [line("in collectives", stage.predicted.communication, communication)] : []
      return ["  " + heading.padded(to: 18) + Self.column("predicted") + Self.column("measured") + Self.column("ratio")] + parts + shared
    }
  }

  private static func column(_ text: String) -> String { String(repeating: " ", count: max(1, 11 - text.count)) + text }

  var json: JSON {
    func object(_ parts: StepParts) -> JSON {
      var o = JSON.Object(StepPart.allCases.map { ("\($0.name.replacing(" ", with: "_"))_seconds", .double(parts[$0])) })
      o["collectives_seconds"] = .double(parts.communication)
      return .object(o)
    }
    return .array(
      stages.enumerated().map { number, stage in
        [
          "stage": .int(number), "ranks": .array(stage.ranks.map { .int($0) }), "predicted": object(stage.predicted),
          "measured": .array(stage.measured.map(object)),
        ]
      })
  }
}

extension String {
  fileprivate func padded(to width: Int) -> String { count < width ? self + String(repeating: " ", count: width - count) : self }
}

extension Prediction {
  /// What a rank of a group of devices spends on each part of a step. What is left of the step is waiting for other stages, and their messages.
  func parts(ofGroup group: Int, microBatches: Int) -> StepParts {
    var parts = StepParts()
    for index in stride(from: group, to: stages.count, by: groups) {
      let stage = stages[index]
      parts[.forward] += stage.forward.value * Double(microBatches)
      parts[.backward] += stage.backward.value * Double(microBatches)
      parts[.gradientSync] += stage.gradientSync.value
      parts[.optimizer] += stage.update.value
      parts.communication += stage.communication.value * Double(microBatches) + stage.gradientSync.value
    }
    // Times are rounded to ticks one by one, so that with one stage a few picoseconds are left.
    parts[.stages] = groups == 1 ? 0 : max(0, step.value - parts.seconds.reduce(0, +))
    return parts
  }
}
