// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Planner
import Plans
import Quantities
import Report
import Strategies

/// The best configurations of a search, one line each.
struct Ranking {
  private let entries: [(decision: Decision, prediction: Prediction)]

  init(_ planned: PlanOutcome.Planned) {
    entries = [(planned.decision, planned.prediction)] + planned.others.map { ($0.decision, $0.prediction) }
  }

  var lines: [String] {
    let best = entries[0].prediction.step
    return ["", "  best configurations"]
      + entries.enumerated().map { number, entry in
        let slower = number == 0 ? "" : "   +\(percent(entry.prediction.step / best - 1))"
        return "  \(number + 1). \(entry.prediction.step)\(slower)   \(entry.prediction.memory)   \(entry.decision.configurationText)"
      }
  }

  var json: JSON {
    .array(
      entries.map { entry in
        (([
          "objective_seconds": .double(entry.prediction.step.value), "memory_bytes_per_device": .double(entry.prediction.memory.value),
          "mesh": .array(entry.decision.mesh.map { .int($0) }), "layers": .array(entry.decision.layersOfStages.map { .int($0) }),
          "stages": .int(entry.decision.groups), "schedule": .string(entry.decision.schedule.kind.rawValue),
          "chunks": .int(entry.decision.schedule.chunks),
          "micro_batches": .int(entry.decision.job.microBatches), "recompute": .string(entry.decision.recomputeText ?? Recompute.none.rawValue),
        ] as JSON).adding(entry.decision.shares?.json ?? [:]))
      })
  }
}
