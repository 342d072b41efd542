// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner

extension LaunchFormat {
  /// Whether the format's program would start with some degrees: a change that it refuses is none.
  func allows(_ degrees: MegatronDegrees, _ request: SearchRequest) -> Bool {
    guard self == .megatron else { return true }
    let axes = request.graph.axes
    func extent(_ role: Axis.Role) -> Int? { axes.first { $0.role == role }?.extent }
    let tensor = degrees.tensor
    if let groups = extent(.heads) {
      if groups * (extent(.queries) ?? 1) % tensor != 0 { return false }
      if groups % tensor != 0, tensor % groups != 0 { return false }
    }
    if let sequence = request.sequence {
      if degrees.context > 1, sequence % (2 * degrees.context) != 0 { return false }
      if degrees.isSequenceParallel, sequence % (tensor * degrees.context) != 0 { return false }
    }
    // Tokens that are routed are split by sequence, or not at all (megatron/core/transformer/moe/moe_layer.py).
    if extent(.experts) != nil, tensor > 1, !degrees.isSequenceParallel { return false }
    return true
  }
}
