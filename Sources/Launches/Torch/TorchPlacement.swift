// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// How tensors of the model stand in the script, where features that belong to heads are one dimension: `[b, s, g, r, d]` is `[b, s, g·r·d]`.
extension Graph {
  /// The dimension from which on all are one.
  func flattened(_ tensor: TensorID) -> Int? {
    tensors[tensor].dimensions.firstIndex { [.heads, .queries].contains(axes[$0].role) }
  }

  /// The dimensions of a tensor in the script.
  func torchRank(_ tensor: TensorID) -> Int { flattened(tensor).map { $0 + 1 } ?? tensors[tensor].dimensions.count }

  /// A placement as DTensor calls it; nil where the script's tensor cannot be cut so, or it is a sum that is still due.
  func torchPlacement(_ placement: Placement, of tensor: TensorID) -> String? {
    switch placement {
    case .replicated: return "Replicate()"
    case .partial: return nil
    case .split(let dimension):
      if let first = flattened(tensor), dimension > first { return nil }
      return dimension == torchRank(tensor) - 1 && dimension > 0 ? "Shard(-1)" : "Shard(\(dimension))"
    }
  }
}
