// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// The order in which the positions of a sequence stand along an axis of the model.
///
/// Under a causal mask later positions see more keys, so that contiguous parts are unequal work: the last of p has almost twice the mean. Zig-zag,
/// the sequence is 2p chunks, and part r holds chunks r and 2p − 1 − r (Llama Team 2024, "The Llama 3 Herd of Models", §3.3.2; Megatron-LM's
/// context parallelism): each part has the same work, and each part of keys has half of its scores left for each part of queries.
///
/// The order belongs to the axis, so that everything that runs along it shares it: tokens, labels, positions, masks and every tensor. A layout cuts
/// the axis in that order, and there is no conversion to another one. Parts nest: an order of p pairs of chunks serves every number of parts that
/// divides p.
package struct SequenceOrder: Hashable, Sendable {
  /// How many pairs of chunks there are; 1 is the natural order.
  package let pairs: Int

  package init(pairs: Int) { self.pairs = pairs }

  package static let natural = SequenceOrder(pairs: 1)
  package var isNatural: Bool { pairs == 1 }

  /// Whether positions of this number can stand in the order: chunks are equal.
  package func fits(_ extent: Int) -> Bool { isNatural || extent % (2 * pairs) == 0 }

  /// Whether so many parts have equal work under a causal mask.
  package func balances(parts: Int) -> Bool { parts == 1 || (!isNatural && pairs % parts == 0) }

  /// Indices that stand for successive positions.
  package struct Run: Hashable, Sendable {
    package let indices: Range<Int>
    package let positions: Range<Int>

    package init(indices: Range<Int>, positions: Range<Int>) {
      precondition(indices.count == positions.count)
      (self.indices, self.positions) = (indices, positions)
    }
  }

  /// The positions that stand at some indices along an axis, in runs as long as they can be.
  package func runs(_ indices: Range<Int>, extent: Int) -> [Run] {
    if isNatural { return indices.isEmpty ? [] : [Run(indices: indices, positions: indices)] }
    precondition(fits(extent), "\(extent) positions are no \(2 * pairs) equal chunks")
    let length = extent / (2 * pairs)
    var runs: [Run] = []
    var index = indices.lowerBound
    while index < indices.upperBound {
      let place = index / length
      let chunk = place % 2 == 0 ? place / 2 : 2 * pairs - 1 - place / 2
      let end = min(indices.upperBound, (place + 1) * length)
      let start = chunk * length + index - place * length
      let positions = start..<start + end - index
      if let last = runs.last, last.positions.upperBound == positions.lowerBound {
        runs[runs.count - 1] = Run(indices: last.indices.lowerBound..<end, positions: last.positions.lowerBound..<positions.upperBound)
      } else {
        runs.append(Run(indices: index..<end, positions: positions))
      }
      index = end
    }
    return runs
  }
}

extension SequenceOrder {
  /// The axes of a model along which positions may stand in any order: a causal attention runs along them, no parameter does, and every operator
  /// works on each position by itself or knows where it is.
  package static func reorderable(in graph: Graph) -> [Bool] {
    var result = graph.axes.map { $0.role == .sequence }
    var isCausal = graph.axes.map { _ in false }
    func exclude(_ axes: [AxisID]) { for axis in axes { result[axis] = false } }
    for tensor in graph.tensors where tensor.parameter != nil { exclude(tensor.dimensions) }
    for axis in graph.axes { if let slots = axis.slots { exclude([slots.positions]) } }
    for op in graph.operators {
      let dimensions = (op.operands + [op.result]).map { graph.tensors[$0].dimensions }
      if !OperatorRules.takesAnyOrder(op.kind) { exclude(dimensions.flatMap { $0 }) }
      if case .attention(causal: true, _) = op.kind {
        let (queries, keys) = (dimensions[0][1], dimensions[1][1])
        if queries == keys { isCausal[queries] = true } else { exclude([queries, keys]) }
      }
    }
    // What a copy hands on to the next has the axes by which its readers know it.
    for (index, segment) in graph.segments.enumerated() {
      let sources = (index > 0 ? [graph.segments[index - 1].exits] : []) + (segment.repeats > 1 ? [segment.exits] : [])
      for exits in sources {
        for (exit, entry) in zip(exits, segment.entries) where graph.tensors[exit].dimensions != graph.tensors[entry].dimensions {
          exclude(graph.tensors[exit].dimensions + graph.tensors[entry].dimensions)
        }
      }
    }
    return zip(result, isCausal).map { $0 && $1 }
  }

  /// The zig-zag order that serves the most splits of so many positions over axes of a mesh.
  package static func zigzag(_ extent: Int, mesh: [Int]) -> SequenceOrder {
    let subsets = (0..<1 << mesh.count).map { set in mesh.indices.reduce(1) { set >> $1 & 1 == 1 ? $0 * mesh[$1] : $0 } }
    return SequenceOrder(pairs: subsets.filter { SequenceOrder(pairs: $0).fits(extent) }.max() ?? 1)
  }
}

extension OperatorRules {
  /// Whether an operator gives the same result for each position whatever the order in which they stand: it works on each by itself, or is told
  /// where each of them is.
  static func takesAnyOrder(_ kind: OperatorKind) -> Bool {
    switch kind {
    case .embedding, .positionEmbedding, .linear, .bias, .attention, .rotary, .layerNorm, .rmsNorm, .activation, .dropout, .scale, .pass, .add,
      .multiply, .sigmoidGate, .crossEntropy:
      true
    case .patches, .prependToken, .selectToken, .convolution, .batchNorm, .maxPool, .averagePool, .route, .dispatch, .expertLinear, .combine,
      .selectMarkedToken, .unitNorm, .similarity, .learnedScale, .broadcast, .concatenate, .contrastiveLoss:
      false
    }
  }
}
