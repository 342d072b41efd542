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

extension Decision {
  /// Of each virtual stage how many of the repeated layers it holds.
  var layersOfStages: [Int] { stages.map { stage in stage.units.reduce(0) { graph.holdsLayers($1.segment) ? $0 + $1.copies.count : $0 } } }

  /// `mesh 2x4, 8 stages, 1f1b, layers 4 4 4 4, 48 micro-batches`.
  var configurationText: String {
    var parts = ["mesh " + meshText.replacing(" x ", with: "x"), pipelineText]
    if groups > 1 { parts.append("layers " + layersOfStages.map(String.init).joined(separator: " ")) }
    parts.append(counted(job.microBatches, "micro-batch", plural: "micro-batches"))
    if let shares { parts.append("samples \(shares.text)") }
    if let recomputeText { parts.append("recompute \(recomputeText)") }
    return parts.joined(separator: ", ")
  }

  /// The same with what the axes split, and how weights are shared out: `2 data x 4 column row heads, 2 stages of 6 6 layers, 1f1b, 4 micro-batches, ZeRO 1`.
  var splitText: String {
    let rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
    let axes = mesh.indices.filter { mesh[$0] > 1 }.map { axis in
      let words = splitWords(axis, rules)
      return words.isEmpty ? "\(mesh[axis])" : "\(mesh[axis]) \(words.joined(separator: " "))"
    }
    var parts = stageMeshes.isEmpty ? (axes.isEmpty ? [] : [axes.joined(separator: " x ")]) : [meshText.replacing(" x ", with: "x")]
    if groups > 1 { parts.append(pipelineText + " of \(layersOfStages.map(String.init).joined(separator: " ")) layers") }
    if job.microBatches > 1 { parts.append(counted(job.microBatches, "micro-batch", plural: "micro-batches")) }
    if let most = zero.max(), most != .none { parts.append("ZeRO \(most.rawValue)") }
    if let shares { parts.append("samples \(shares.text)") }
    if let recomputeText { parts.append("recompute \(recomputeText)") }
    return parts.isEmpty ? "one device" : parts.joined(separator: ", ")
  }

  /// How products and attention are split along a mesh axis, the most frequent first.
  private func splitWords(_ axis: Int, _ rules: [OperatorRule]) -> [String] {
    var counts: [(word: String, count: Int)] = []
    for (op, rule) in rules.enumerated() where rule.isProduct || rule.isAttention {
      guard axis < assignments[op].count, let target = assignments[op][axis], let word = rule.iteration[target].words.first else { continue }
      let copies = graph.segments[graph.segmentOfOperator[op]].repeats
      if let known = counts.firstIndex(where: { $0.word == word }) { counts[known].count += copies } else { counts.append((word, copies)) }
    }
    return counts.enumerated().sorted { ($1.element.count, $0.offset) < ($0.element.count, $1.offset) }.prefix(3).map(\.element.word)
  }
}
