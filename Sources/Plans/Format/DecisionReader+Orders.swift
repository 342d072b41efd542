// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Strategies

extension DecisionReader {
  /// For each axis of the model, the order in which its positions stand; natural where nothing is given.
  func orders(_ node: Node?) throws(DocumentError) -> [SequenceOrder] {
    var orders = graph.axes.map { _ in SequenceOrder.natural }
    guard let node else { return orders }
    let reorderable = SequenceOrder.reorderable(in: graph)
    let object = try node.object()
    for axis in graph.axes.indices {
      guard let entry = object.nodeIfPresent(graph.axes[axis].name) else { continue }
      if !reorderable[axis] {
        throw entry.invalid(expected: "nothing: \"\(graph.axes[axis].name)\" is no sequence under causal attention, or an operator needs its order")
      }
      let order = SequenceOrder(pairs: try entry.int(.within(2, GraphBuilder.largestExtent)))
      if !order.fits(graph.axes[axis].extent) {
        throw entry.invalid(expected: "a number p such that 2p divides the \(graph.axes[axis].extent) positions")
      }
      orders[axis] = order
    }
    try object.finish()
    return orders
  }
}
