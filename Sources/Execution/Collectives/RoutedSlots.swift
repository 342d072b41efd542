// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering
import ModelGraph

/// The buffers of a program whose rows are experts' slots, and whose all-to-alls send only those that hold tokens.
///
/// Which rows these are is marked beside the values, from the routes on, and not found from rows of zeros: a token's row may be zero itself (its
/// gradient is where its label does not count), and what is sent must be what the router chose, so that it can be counted from its choices.
struct RoutedSlots {
  /// For each buffer how many rows are marked; 0 where none are.
  private(set) var rows: [Int]
  /// For each tensor the `dispatch` that fills its rows; nil where all-to-alls send all of it, or there are none.
  let dispatch: [OperatorID?]

  init(_ program: Program) {
    let graph = program.graph
    let possible = graph.dispatchOfSlots
    // Marks are for the sake of all-to-alls.
    var isExchanged = [Bool](repeating: false, count: graph.operators.count)
    for case .reshard(let step, let source, _) in program.instructions where step.collective == .allToAll {
      guard let dispatch = possible[program.buffers[source].tensor], program.group(over: step.axes).count > 1 else { continue }
      isExchanged[dispatch] = true
    }
    let dispatch = possible.map { $0.flatMap { isExchanged[$0] ? $0 : nil } }
    self.dispatch = dispatch
    rows = program.buffers.map { buffer in
      guard dispatch[buffer.tensor] != nil, buffer.count == buffer.region.elementCount else { return 0 }
      switch buffer.role {
      case .activation, .gradient: return buffer.region.rows.elementCount
      default: return 0
      }
    }
  }

  /// The operator that chose the routes by which a tensor's rows are filled.
  func route(of tensor: TensorID, in graph: Graph) -> OperatorID? {
    dispatch[tensor].flatMap { graph.producer[graph.operators[$0].operands[1]] }
  }
}

extension [Range<Int>] {
  /// The part of a region of [experts, batch, slots, features…] that numbers rows.
  var rows: [Range<Int>] { Array(prefix(MarkedRows.rowDimensions)) }
  /// The part that a row holds.
  var rowElements: [Range<Int>] { Array(dropFirst(MarkedRows.rowDimensions)) }
}
