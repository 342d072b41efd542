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
