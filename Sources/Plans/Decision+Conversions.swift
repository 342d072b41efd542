// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

extension Decision {
  /// For each tensor the conversions between the layouts that its producers leave it in and those that its readers take, and back for gradients, in
  /// as few steps as there can be; a search weighs their times instead.
  ///
  /// - Parameter mesh: of the stages that hold an operator.
  package static func shortestConversions(
    of graph: Graph, _ assignments: [[Int?]], mesh: (OperatorID) -> [Int], shares: BatchShares? = nil
  ) -> [Conversion] {
    let strategies = assignments.enumerated().map { Strategy(assignment: $1, rule: OperatorRules.rule(for: $0, in: graph)) }
    var conversions: [Conversion] = []
    for tensor in graph.tensors.indices where graph.tensors[tensor].isActivation {
      var known = Set<[Layout]>()
      func convert(_ from: Layout, _ to: Layout) {
        guard from != to, known.insert([from, to]).inserted else { return }
        let steps = graph.shortestPath(tensor, from, to, on: mesh(graph.consumers[tensor][0].op), shares)
        conversions.append(Conversion(tensor: tensor, from: from, to: to, steps: steps))
      }
      for producer in graph.producers(of: tensor) {
        // Between two meshes there are no conversions.
        for site in graph.consumers[tensor] where mesh(site.op) == mesh(producer) {
          let use = strategies[site.op].operands[site.operand]
          convert(strategies[producer].result, use.forward)
          convert(use.gradient, strategies[producer].resultGradient)
        }
      }
    }
    return conversions
  }
}

extension Graph {
  /// The operators whose results a tensor may be, as its readers name it.
  fileprivate func producers(of tensor: TensorID) -> [OperatorID] {
    if let producer = producer[tensor] { return [producer] }
    var producers: [OperatorID] = []
    for (index, segment) in segments.enumerated() {
      guard let position = segment.entries.firstIndex(of: tensor) else { continue }
      var exits: [TensorID] = []
      if index > 0 { exits.append(segments[index - 1].exits[position]) }
      if segment.repeats > 1 { exits.append(segment.exits[position]) }
      producers += exits.flatMap(self.producers)
    }
    return producers
  }

  /// Breadth first over `ReshardingStep.steps`.
  fileprivate func shortestPath(
    _ tensor: TensorID, _ from: Layout, _ to: Layout, on mesh: [Int], _ shares: BatchShares?
  ) -> [ReshardingStep] {
    let shape = shape(tensor)
    var queue: [(layout: Layout, steps: [ReshardingStep])] = [(from, [])]
    var seen: Set<Layout> = [from]
    var next = 0
    while next < queue.count {
      let (layout, steps) = queue[next]
      next += 1
      if layout == to { return steps }
      for step in ReshardingStep.steps(from: layout, shape: shape, mesh: mesh)
      where shares?.allow(step.result, of: tensor, in: self, mesh: mesh) ?? true && seen.insert(step.result).inserted {
        queue.append((step.result, steps + [step]))
      }
    }
    preconditionFailure("\(tensors[tensor].name): no way from \(from.placements) to \(to.placements)")
  }
}
