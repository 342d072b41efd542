// SPDX-License-Identifier: GPL-3.0-or-later

import ModelGraph

/// How much of what belongs to a weight the ranks share out that hold the same weight for different data (Rajbhandari et al. 2020, "ZeRO: Memory
/// Optimizations Toward Training Trillion Parameter Models", §5).
package enum ZeROStage: Int, Hashable, Sendable, Comparable, CaseIterable {
  /// Every rank holds all of it; gradients are all-reduced.
  case none = 0
  /// Optimizer state and master weights: gradients are reduce-scattered, and updated weights all-gathered, once per step.
  case optimizer = 1
  /// Gradients too: they are reduce-scattered in every micro-batch's backward pass.
  case gradients = 2
  /// Weights too (FSDP): they are all-gathered before each forward and each backward pass.
  case weights = 3

  package static func < (a: ZeROStage, b: ZeROStage) -> Bool { a.rawValue < b.rawValue }

  /// The stages that a strategy leaves to the weights of an operator.
  ///
  /// A weight that several operators read stays whole: its gradient has contributions from all of them.
  package static func possible(_ op: OperatorID, _ strategy: Strategy, in graph: Graph, mesh: [Int], needsGradient: [Bool]) -> [ZeROStage] {
    var canShare = false
    for (position, tensor) in graph.operators[op].operands.enumerated() where graph.tensors[tensor].isParameter && needsGradient[tensor] {
      if graph.consumers[tensor].count > 1 { return [.none] }
      if strategy.operands[position].sharingSet(mesh: mesh) != 0 { canShare = true }
    }
    return canShare ? ZeROStage.allCases : [.none]
  }
}

extension Strategy.Use {
  /// The mesh axes over which the state of a weight that is used so can be shared out: ranks along them hold the same weight, and see different
  /// data.
  package func sharingAxes(mesh: [Int]) -> [Int] { gradient.partialAxes.filter { mesh[$0] > 1 } }

  /// The same as a set: bit a is axis a.
  package func sharingSet(mesh: [Int]) -> Int { mesh.indices.reduce(0) { mesh[$1] > 1 && gradient.isPartial(on: $1) ? $0 | 1 << $1 : $0 } }
}
