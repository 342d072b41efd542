// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// The split that Megatron-LM's flags mean: data parallelism on one mesh axis, tensor parallelism on another.
///
/// On the tensor axis, what carries the residual stream is never cut: products, attention, embedding, head and loss split heads, the inner
/// features of the MLP, or the vocabulary, so that each pair of products becomes column- then row-parallel (Shoeybi et al. 2019). With sequence
/// parallelism the operators between them split the sequence (Korthikanti et al. 2022, §4.2.2); without, they are replicated.
package struct MegatronForm: Hashable, Sendable {
  package var dataAxis: Int?
  package var tensorAxis: Int?
  package var isSequenceParallel: Bool

  package init(dataAxis: Int?, tensorAxis: Int?, isSequenceParallel: Bool) {
    self.dataAxis = dataAxis
    self.tensorAxis = tensorAxis
    self.isSequenceParallel = isSequenceParallel
  }

  /// The names of the axes that a block hands on to the next: batch, sequence, hidden.
  static func carried(_ graph: Graph) -> Set<String> {
    var names = Set<String>()
    for segment in graph.segments { for entry in segment.entries { names.formUnion(graph.tensors[entry].dimensions.map { graph.axes[$0].name }) } }
    return names
  }

  func allows(_ strategy: Strategy, rule: OperatorRule, carried: Set<String>, degree: Int) -> Bool {
    if let dataAxis {
      let batch = rule.iteration.firstIndex { $0.role == .batch && $0.isSplittable }
      if strategy.assignment[dataAxis] != batch { return false }
    }
    guard let tensorAxis else { return true }
    let inner = rule.iteration.indices.filter { axis in
      let iteration = rule.iteration[axis]
      return iteration.isSplittable && !carried.contains(iteration.name) && iteration.role != .batch && iteration.role != .sequence
        && iteration.extent > 1
    }
    guard let assigned = strategy.assignment[tensorAxis] else {
      // Replicated: only what has nothing inner to split, and under sequence parallelism no sequence either.
      if inner.contains(where: { rule.iteration[$0].extent >= degree }) { return false }
      return !(isSequenceParallel && rule.iteration.contains { $0.role == .sequence && $0.isSplittable && $0.extent >= degree })
    }
    if inner.contains(assigned) { return true }
    return isSequenceParallel && inner.isEmpty && rule.iteration[assigned].role == .sequence
  }
}
