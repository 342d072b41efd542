// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// The split that Megatron-LM's flags mean: data parallelism on one mesh axis, tensor parallelism on another.
///
/// With expert parallelism the data replicas form groups, each of which spreads a layer's experts over its members, on a mesh axis of
/// its own: experts are split on it, everything else along the data as before, so that tokens go to their experts in an all-to-all
/// inside the group. A group's members are neighbours.
///
/// With context parallelism one more mesh axis splits the sequence of everything; attention there goes one of several ways (`ContextWay`).
///
/// On the tensor axis, what carries the residual stream is never cut: products, attention, embedding, head and loss split heads, the inner
/// features of the MLP, or the vocabulary, so that each pair of products becomes column- then row-parallel (Shoeybi et al. 2019). With sequence
/// parallelism the operators between them split the sequence (Korthikanti et al. 2022, §4.2.2); without, they are replicated.
package struct MegatronForm: Hashable, Sendable {
  /// Mesh axes that split the batch, outermost first.
  package var dataAxes: [Int]
  /// The one of them on which the experts' operators split the experts instead.
  package var expertAxis: Int?
  /// The mesh axis that splits the sequence of every operator, and how attention may do so; all ways where nil.
  package var contextAxis: Int?
  package var contextWay: ContextWay?
  /// One mesh axis, or two where the degree exceeds the key-value heads: the first splits the heads, the second the queries of each.
  package var tensorAxes: [Int]
  package var isSequenceParallel: Bool

  package init(
    dataAxes: [Int], expertAxis: Int? = nil, contextAxis: Int? = nil, contextWay: ContextWay? = nil, tensorAxes: [Int], isSequenceParallel: Bool
  ) {
    self.dataAxes = dataAxes
    self.expertAxis = expertAxis
    self.contextAxis = contextAxis
    self.contextWay = contextWay
    self.tensorAxes = tensorAxes
    self.isSequenceParallel = isSequenceParallel
  }

  /// The mesh of some degrees for a model: `[data / expert, expert, context, tensor]`, without axes of one device.
  package static func mesh(
    _ graph: Graph, data: Int, expert: Int = 1, context: Int = 1, contextWay: ContextWay? = nil, tensor: Int, isSequenceParallel: Bool
  ) -> (mesh: [Int], form: MegatronForm) {
    let heads = keyValueHeads(graph) ?? tensor
    let factors = tensor > heads && tensor % heads == 0 ? [heads, tensor / heads].filter { $0 > 1 } : [tensor].filter { $0 > 1 }
    let replicas = [data / expert, expert].filter { $0 > 1 }
    let mesh = replicas + [context].filter { $0 > 1 } + factors
    let form = MegatronForm(
      dataAxes: Array(replicas.indices), expertAxis: expert > 1 ? replicas.count - 1 : nil, contextAxis: context > 1 ? replicas.count : nil,
      contextWay: contextWay, tensorAxes: Array(mesh.indices.suffix(factors.count)), isSequenceParallel: isSequenceParallel)
    return (mesh.isEmpty ? [1] : mesh, form)
  }

  /// The fewest key-value heads of any attention; nil without one.
  static func keyValueHeads(_ graph: Graph) -> Int? { graph.axes.filter { $0.role == .heads }.map(\.extent).min() }

  /// The names of the axes that a block hands on to the next: batch, sequence, hidden.
  static func carried(_ graph: Graph) -> Set<String> {
    var names = Set<String>()
    for segment in graph.segments { for entry in segment.entries { names.formUnion(graph.tensors[entry].dimensions.map { graph.axes[$0].name }) } }
    return names
  }

  func allows(_ strategy: Strategy, rule: OperatorRule, carried: Set<String>, mesh: [Int]) -> Bool {
    let batch = rule.iteration.firstIndex { $0.role == .batch && $0.isSplittable }
    // What stands between dispatch and combine.
    let experts = rule.worksOnSlots ? rule.iteration.firstIndex { $0.role == .experts } : nil
    // Of stages with several meshes, one may have fewer devices on an axis, or one.
    for axis in dataAxes where mesh[axis] > 1 && strategy.assignment[axis] != (axis == expertAxis ? experts ?? batch : batch) { return false }
    if let contextAxis, !allowsContext(strategy.assignment[contextAxis], rule) { return false }
    let inner = rule.iteration.indices.filter { axis in
      let iteration = rule.iteration[axis]
      return iteration.isSplittable && !carried.contains(iteration.name) && iteration.extent > 1
        && !iteration.role.isPosition && ![.batch, .experts, .slots].contains(iteration.role)
    }
    let sequence = rule.iteration.firstIndex { $0.role.isPosition && $0.isSplittable }
    func parts(of iteration: Int) -> Int {
      strategy.assignment.enumerated().reduce(1) { $1.element == iteration ? $0 * mesh[$1.offset] : $0 }
    }
    return tensorAxes.filter { mesh[$0] > 1 }.allSatisfy { axis in
      func hasRoom(_ iteration: Int) -> Bool { rule.iteration[iteration].extent >= parts(of: iteration) * mesh[axis] }
      if let assigned = strategy.assignment[axis] {
        return inner.contains(assigned) || (isSequenceParallel && inner.isEmpty && assigned == sequence)
      }
      // Replicated: only where nothing inner is left to split, and under sequence parallelism no sequence either.
      if inner.contains(where: hasRoom) { return false }
      return !(isSequenceParallel && inner.isEmpty && (sequence.map(hasRoom) ?? false))
    }
  }

  /// Whether the context axis may go to an iteration axis: to positions, or to the places of tokens at experts; of attention, as its way says.
  private func allowsContext(_ assigned: Int?, _ rule: OperatorRule) -> Bool {
    if case .attention = rule.work, rule.iteration.contains(where: { $0.role.isPosition && $0.isSplittable }) {
      return ContextWay.allCases.contains { (contextWay ?? $0) == $0 && $0.isMeant(assigned, rule) }
    }
    return assigned == rule.iteration.firstIndex { ($0.role.isPosition || $0.role == .slots) && $0.isSplittable }
  }
}

extension OperatorRule {
  /// What a mesh axis that shares out sequences may go to; of attention, as its way says (nil: any).
  func axesOfContext(_ way: ContextWay?) -> [IterationAxis] {
    if case .attention = work, iteration.contains(where: { $0.role.isPosition && $0.isSplittable }) {
      return iteration.indices.filter { axis in ContextWay.allCases.contains { (way ?? $0) == $0 && $0.isMeant(axis, self) } }.map { iteration[$0] }
    }
    return iteration.filter { ($0.role.isPosition || $0.role == .slots) && $0.isSplittable }.prefix(1).map { $0 }
  }
}
