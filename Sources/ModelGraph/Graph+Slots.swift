// SPDX-License-Identifier: GPL-3.0-or-later

extension OperatorKind {
  /// Whether the result's rows are zero where all operands' rows are, and so are the gradients' where the result's is.
  fileprivate var keepsEmptyRows: Bool {
    switch self {
    case .expertLinear, .activation, .multiply, .scale, .add, .dropout, .pass: true
    default: false
    }
  }
}

extension Graph {
  /// For each tensor the `dispatch` whose places for tokens are its rows; nil where rows mean something else.
  ///
  /// A row is then a place `[e, b, c]`. It holds a token where one of the dispatch's routes fills it. Other rows are zero, and nobody reads them: all
  /// that reads the tensor works row by row, up to the `combine` by the same routes. The same is true of the tensor's gradient.
  package var dispatchOfSlots: [OperatorID?] {
    var dispatch = [OperatorID?](repeating: nil, count: tensors.count)
    for op in segments.flatMap(\.operators) {
      let (kind, operands) = (operators[op].kind, operators[op].operands)
      if kind == .dispatch {
        if let route = producer[operands[1]], case .route = operators[route].kind { dispatch[operators[op].result] = op }
      } else if kind.keepsEmptyRows, let first = operands.first, let source = dispatch[first],
        operands.dropFirst().allSatisfy({ dispatch[$0] == source || tensors[$0].isParameter && kind != .add }),
        tensors[operators[op].result].dimensions.prefix(3) == tensors[first].dimensions.prefix(3)
      {
        dispatch[operators[op].result] = source
      }
    }
    func isReadByRoutes(_ tensor: TensorID, _ source: OperatorID) -> Bool {
      if segments.contains(where: { $0.exits.contains(tensor) }) { return false }
      return consumers[tensor].allSatisfy { site in
        let reader = operators[site.op]
        return dispatch[reader.result] == source
          || reader.kind == .combine && site.operand == 0 && reader.operands[1] == operators[source].operands[1]
      }
    }
    var isOpen = [Bool](repeating: false, count: operators.count)
    for (tensor, source) in dispatch.enumerated() {
      if let source, !isReadByRoutes(tensor, source) { isOpen[source] = true }
    }
    return dispatch.map { $0.flatMap { isOpen[$0] ? nil : $0 } }
  }
}
