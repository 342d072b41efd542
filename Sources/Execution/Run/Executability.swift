// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Plans

extension Decision {
  /// Checks that there is a kernel for every operator.
  ///
  /// - Throws: `notExecutable` with the kinds of those that have none.
  package func checkExecutable() throws(ExecutionError) {
    var missing: [String] = []
    for op in graph.operators where !op.kind.hasKernel && !missing.contains(op.kind.formatName) { missing.append(op.kind.formatName) }
    if !missing.isEmpty { throw .notExecutable(operators: missing) }
  }
}

extension OperatorKind {
  /// Whether ranks can compute the operator. Tokens that are routed to experts come in uneven numbers, which programs cannot express yet.
  fileprivate var hasKernel: Bool {
    switch self {
    case .route, .dispatch, .expertLinear, .combine, .sigmoidGate: false
    default: true
    }
  }
}
