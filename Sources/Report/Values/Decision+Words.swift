// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans
import Quantities
import Strategies

extension Decision {
  /// `8 stages, 1f1b`, or `8 stages of 3 chunks, interleaved`.
  package var pipelineText: String {
    let chunks = schedule.chunks > 1 ? " of \(schedule.chunks) chunks" : ""
    return counted(groups, "stage") + chunks + (groups > 1 ? ", \(schedule.kind.rawValue)" : "")
  }
}

extension Decision {
  /// `2 x 4`, or where stages have several, `2 x 4 on stage 0, 8 on stages 1–2`.
  package var meshText: String {
    func text(_ mesh: [Int]) -> String { mesh.map(String.init).joined(separator: " x ") }
    if stageMeshes.isEmpty { return text(mesh) }
    var runs: [(mesh: [Int], stages: Range<Int>)] = []
    for (stage, mesh) in stageMeshes.enumerated() {
      if let last = runs.last, last.mesh == mesh {
        runs[runs.count - 1].stages = last.stages.lowerBound..<stage + 1
      } else {
        runs.append((mesh, stage..<stage + 1))
      }
    }
    return runs.map { "\(text($0.mesh)) on \($0.stages.count == 1 ? "stage" : "stages") \(span($0.stages))" }.joined(separator: ", ")
  }
}

extension Decision {
  /// What layers compute again, and how many of them where not all do alike: `full in 12 of 32 layers`; nil where none does.
  package var recomputeText: String? {
    let layers = graph.segments.indices.filter { graph.holdsLayers($0) }
    let all = layers.reduce(0) { $0 + graph.segments[$1].repeats }
    let parts = Recompute.allCases.filter { $0 != .none }.compactMap { kind -> String? in
      let count = layers.reduce(0) { recompute[$1] == kind ? $0 + graph.segments[$1].repeats : $0 }
      return count == 0 ? nil : count == all ? kind.rawValue : "\(kind.rawValue) in \(count) of \(counted(all, "layer"))"
    }
    return parts.isEmpty ? nil : parts.joined(separator: ", ")
  }

  /// Whether the layers of one block are of several kinds on each stage.
  package var layersDiffer: Bool {
    if !stageMeshes.isEmpty { return false }
    return graph.segments.indices.contains { id in graph.segments[id].operators.contains { Graph.firstCopy(graph.operators[$0].name) > 0 } }
  }
}

extension Decision {
  /// `3`, or with several chunks on each stage `3.1`: the stage and the number of its chunk.
  package func name(ofStage stage: Int) -> String { schedule.chunks == 1 ? "\(stage)" : "\(group(ofStage: stage)).\(stage / groups)" }

  /// Of each virtual stage how many of the repeated layers it holds.
  package var layersOfStages: [Int] { stages.map { stage in stage.units.reduce(0) { graph.holdsLayers($1.segment) ? $0 + $1.copies.count : $0 } } }

  /// What stages hold of the repeated layers: `4 layers each`, or `1 3 3 1 layers`.
  private var layersText: String {
    let layers = layersOfStages
    return Set(layers).count == 1 ? "\(counted(layers[0], "layer")) each" : "\(layers.oneByOne) layers"
  }

  /// `mesh 2x4, 8 stages, 1f1b, 4 layers each, 48 micro-batches`.
  package var configurationText: String {
    var parts = ["mesh " + meshText.replacing(" x ", with: "x"), pipelineText]
    if groups > 1 { parts.append(layersText) }
    parts.append(counted(job.microBatches, "micro-batch", plural: "micro-batches"))
    if let shares { parts.append("samples \(shares.text)") }
    if let recomputeText { parts.append("recompute \(recomputeText)") }
    return parts.joined(separator: ", ")
  }

  /// The same with what the axes split, and how weights are shared out: `2 data x 4 column row heads, 2 stages, 1f1b of 6 layers each, 4 micro-batches, ZeRO 1`.
  package var splitText: String {
    let rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
    let axes = mesh.indices.filter { mesh[$0] > 1 }.map { axis in
      let words = splitWords(axis, rules)
      return words.isEmpty ? "\(mesh[axis])" : "\(mesh[axis]) \(words.joined(separator: " "))"
    }
    var parts = stageMeshes.isEmpty ? (axes.isEmpty ? [] : [axes.joined(separator: " x ")]) : [meshText.replacing(" x ", with: "x")]
    if groups > 1 { parts.append("\(pipelineText) of \(layersText)") }
    if job.microBatches > 1 { parts.append(counted(job.microBatches, "micro-batch", plural: "micro-batches")) }
    if let stages = zeroText(withNone: false) { parts.append("ZeRO \(stages)") }
    if let shares { parts.append("samples \(shares.text)") }
    if let recomputeText { parts.append("recompute \(recomputeText)") }
    return parts.isEmpty ? "one device" : parts.joined(separator: ", ")
  }

  /// The ZeRO stage of most weights, and others that occur: `1`, `1 (some weights 3)`, `2 (some weights)`; nil where nothing is shared out.
  ///
  /// - Parameter withNone: whether it is said that some are not shared out, as with small ones: `1 (some weights 0, 3)`, `0 (some weights 2)`.
  package func zeroText(withNone: Bool) -> String? {
    let stages = zeroStages
    guard let most = stages.first, stages != [.none] else { return nil }
    let others = stages.dropFirst().sorted().filter { withNone || $0 != .none }.map { "\($0.rawValue)" }
    if !withNone, most == .none { return others.joined(separator: ", ") + " (some weights)" }
    return "\(most.rawValue)" + (others.isEmpty ? "" : " (some weights \(others.joined(separator: ", ")))")
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

extension BatchShares {
  package var text: String { samples.inRuns }
}

extension [Int] {
  /// `1 3 3 1`; what is too long to be read like that in runs.
  package var oneByOne: String { count <= 16 ? map(String.init).joined(separator: " ") : inRuns }

  /// Equal neighbours together: `5 5 3 3` is `2 × 5, 2 × 3`.
  package var inRuns: String {
    var runs: [(count: Int, value: Int)] = []
    for value in self {
      if runs.last?.value == value { runs[runs.count - 1].count += 1 } else { runs.append((1, value)) }
    }
    return runs.map { $0.count == 1 ? "\($0.value)" : "\($0.count) × \($0.value)" }.joined(separator: ", ")
  }
}
