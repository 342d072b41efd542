// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

extension Program {
  /// The positions that stand at some indices of a dimension of a tensor.
  package func runs(_ indices: Range<Int>, of dimension: Int, in tensor: TensorID) -> [SequenceOrder.Run] {
    let axis = graph.tensors[tensor].dimensions[dimension]
    return orders[axis].runs(indices, extent: graph.axes[axis].extent)
  }

  /// A region of a tensor as the program holds it, cut where successive indices are no successive positions: each piece as it is held, and where it
  /// is in the tensor with its positions in their natural order.
  package func pieces(
    of region: [Range<Int>], in tensor: TensorID
  ) -> [(held: [Range<Int>], natural: [Range<Int>])] {
    var pieces: [(held: [Range<Int>], natural: [Range<Int>])] = [([], [])]
    for (dimension, range) in region.enumerated() {
      // Rows of the batch are counted through all micro-batches, and stand as they are.
      let isNatural = orders[graph.tensors[tensor].dimensions[dimension]].isNatural
      let runs = isNatural ? [SequenceOrder.Run(indices: range, positions: range)] : runs(range, of: dimension, in: tensor)
      pieces = pieces.flatMap { piece in runs.map { (piece.held + [$0.indices], piece.natural + [$0.positions]) } }
    }
    return pieces
  }
}
