// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

/// The best configurations of a search, one line each.
struct Ranking {
  private let entries: [(decision: Decision, prediction: Prediction)]

  init(_ planned: PlanOutcome.Planned) {
    entries = [(planned.decision, planned.prediction)] + planned.others.map { ($0.decision, $0.prediction) }
  }

  private func stages(_ decision: Decision) -> [Int] {
    decision.stages.map { stage in stage.units.reduce(0) { decision.graph.holdsLayers($1.segment) ? $0 + $1.copies.count : $0 } }
  }

  var lines: [String] {
    let best = entries[0].prediction.step
    return ["", "  best configurations"]
      + entries.enumerated().map { number, entry in
        let slower = number == 0 ? "" : "   +\(percent(entry.prediction.step / best - 1))"
        return "  \(number + 1). \(entry.prediction.step)\(slower)   \(entry.prediction.memory)   \(text(entry.decision))"
      }
  }

  /// `mesh 2x4, 8 stages, 1f1b, layers 4 4 4 4, 48 micro-batches`.
  private func text(_ decision: Decision) -> String {
    var parts = ["mesh " + decision.meshText.replacing(" x ", with: "x"), decision.pipelineText]
    if decision.groups > 1 { parts.append("layers " + stages(decision).map(String.init).joined(separator: " ")) }
    parts.append(counted(decision.job.microBatches, "micro-batch", plural: "micro-batches"))
    if let shares = decision.shares { parts.append("samples \(shares.text)") }
    if let recompute = decision.recomputeText { parts.append("recompute \(recompute)") }
    return parts.joined(separator: ", ")
  }

  var json: JSON {
    .array(
      entries.map { entry in
        (([
          "objective_seconds": .double(entry.prediction.step.value), "memory_bytes_per_device": .double(entry.prediction.memory.value),
          "mesh": .array(entry.decision.mesh.map { .int($0) }), "layers": .array(stages(entry.decision).map { .int($0) }),
          "stages": .int(entry.decision.groups), "schedule": .string(entry.decision.schedule.kind.rawValue),
          "chunks": .int(entry.decision.schedule.chunks),
          "micro_batches": .int(entry.decision.job.microBatches), "recompute": .string(entry.decision.recomputeText ?? Recompute.none.rawValue),
        ] as JSON).adding(entry.decision.shares?.json ?? [:]))
      })
  }
}
