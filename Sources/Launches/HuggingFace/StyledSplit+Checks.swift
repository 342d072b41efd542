// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// What styles cannot do with a model's weights and heads, and what a layer must hand on.
extension StyledSplit {
  mutating func checkHeads(_ op: OperatorID, _ axis: AxisID) {
    let extent = graph.axes[axis].extent
    if graph.axes[axis].role == .heads, extent % degree != 0 {
      refuse(op, "has \(counted(extent, "key-value head")), which \(counted(degree, "device")) cannot share out; choose a divisor of \(extent)")
    } else if extent < degree {
      refuse(op, "has \(extent) of \(graph.axes[axis].name), fewer than the \(counted(degree, "device")) that share them out")
    }
  }

  /// The cut of a weight that is stored with others must be a cut of the whole: transformers cuts what is stored.
  mutating func checkStorage(_ op: OperatorID, _ weight: TensorID, _ axis: AxisID, blocks: Int) {
    // DeepSpeed cuts what is stored together part by part.
    guard matching == .names, let source = graph.tensors[weight].parameter, let dimension = graph.tensors[weight].dimensions.firstIndex(of: axis)
    else { return }
    let span = source.strides[dimension] * graph.axes[axis].extent
    let all = source.checkpointShape.reduce(1, *)
    // Experts' gate and up are stored together since version 5 of transformers.
    if blocks == 2, source.isStacked || span == all { return }
    if span * blocks != all, span != source.checkpointShape.last {
      refuse(
        op,
        "is stored with others as \(source.checkpointName), which \(blocks == 1 ? "colwise cuts" : "packed_colwise cuts in two blocks") without regard to "
          + "where one ends; use colwise_gather_output")
    }
  }

  /// Styles cut weights of `torch.nn.Linear`, which stand output first.
  mutating func checkOrder(_ op: OperatorID, _ weight: TensorID, _ contracted: [AxisID]) {
    guard matching == .names, let source = graph.tensors[weight].parameter, !source.isStacked, graph.consumers[weight].count == 1,
      let first = graph.tensors[weight].dimensions.first, contracted.contains(first), source.checkpointShape.count > 1
    else { return }
    refuse(op, "is a Conv1D, whose weight stands input first: transformers' styles cut those of torch.nn.Linear")
  }

  /// What a block hands on must be whole.
  mutating func checkBoundaries() {
    for segment in graph.segments {
      for exit in segment.exits {
        if let axis = split[exit], let op = graph.producer[exit] {
          refuse(op, "leaves the layer's result split along \(graph.axes[axis].name), and the next layer takes it whole")
        }
      }
    }
  }

  /// A weight that two modules read is stored once.
  mutating func checkTies() {
    for tensor in graph.tensors.indices where graph.tensors[tensor].isParameter && graph.consumers[tensor].count > 1 {
      let cuts = graph.consumers[tensor].map { site in
        axes[site.op].flatMap { axis in rules[site.op].operands[site.operand].firstIndex(of: axis) }
      }
      if let other = cuts.indices.first(where: { cuts[$0] != cuts[0] }) {
        let (first, second) = (graph.consumers[tensor][0].op, graph.consumers[tensor][other].op)
        refuse(second, "has the weight of \(graph.moduleNames(first)[0]), which is cut otherwise there; give both styles that cut it alike")
      }
    }
  }
}
