// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Search

/// Stages on devices of several kinds: every stage counts its own kind's costs.
extension Configuration {
  /// Each kind's times, of every stage those of its own kind.
  func stageTimesOfKinds(_ model: FoldedModel, _ choice: [Int]) -> [PipelineTimeline.StageTimes] {
    let times = model.kinds.map { stageTimes($0, choice) }
    return copies.indices.map { times[kindOfStage[$0 % stages]][$0] }
  }

  /// A chain as far as it passes through stages of one kind.
  private func part(_ path: PipelineTimeline.Path, kind: Int) -> PipelineTimeline.Path {
    func own(_ counts: [Int64]) -> [Int64] { counts.enumerated().map { kindOfStage[$0.offset % stages] == kind ? $0.element : 0 } }
    var part = path
    (part.forward, part.backward, part.once) = (own(path.forward), own(path.backward), own(path.once))
    (part.sendForward, part.sendBackward) = (own(path.sendForward), own(path.sendBackward))
    return part
  }

  /// The costs of all nodes and edges, without memory rows.
  func addCostsOfKinds(_ model: FoldedModel, paths: [PipelineTimeline.Path], _ builder: inout ProblemBuilder) throws {
    let parts = model.kinds.indices.map { kind in paths.map { part($0, kind: kind) } }
    let segments = model.pricing.graph.segments.count
    let weights = parts.map { $0.map { nodeWeights($0, segments: segments) } }
    for (index, node) in model.nodes.enumerated() {
      var costs = [Int64](repeating: 0, count: node.count * paths.count)
      for (kind, other) in model.kinds.enumerated() {
        let node = other.nodes[index]
        let wrap = other.sends(index, wraps: true)
        for s in 0..<node.count {
          for row in paths.indices {
            let w = weights[kind][row][node.segment]
            costs[s * paths.count + row] +=
              w.forward * node.forward[s] + w.backward * node.backward[s] + w.once * node.once[s] + w.sendForward * node.sendForward[s]
              + w.sendBackward * node.sendBackward[s] + w.wrapForward * wrap.forward[s] + w.wrapBackward * wrap.backward[s]
          }
        }
      }
      _ = try builder.addNode(costs: costs)
    }
    for (index, edge) in model.edges.enumerated() {
      var costs = [Int64](repeating: 0, count: edge.forward.count * paths.count)
      for (kind, other) in model.kinds.enumerated() {
        let own = other.edges[index]
        for (row, path) in parts[kind].enumerated() {
          let w = edgeWeights(path, edge.place)
          for entry in own.forward.indices {
            if own.forward[entry] == Problem.forbidden {
              costs[entry * paths.count + row] = Problem.forbidden
            } else {
              costs[entry * paths.count + row] += w.forward * own.forward[entry] + w.backward * own.backward[entry]
            }
          }
        }
      }
      try builder.addEdge(edge.tail, edge.head, costs: costs)
    }
  }
}
