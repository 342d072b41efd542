// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner
import Quantities
import Strategies

extension Launch {
  /// The request in which everything is fixed that the launch says, and what is wrong with its styles for the request's model.
  ///
  /// Where findings are illegal, the request may leave operators without a split.
  /// - Throws: `PlannerError.usage` where the degrees do not go with the batch or the model.
  package func fix(_ request: SearchRequest) throws -> (request: SearchRequest, findings: [Finding]) {
    var fixed = try degrees.fix(request)
    guard let styles else { return (fixed, []) }
    if degrees.context > 1 { throw PlannerError.usage("styles of modules are those of tensor parallelism; with context parallelism they are not read") }
    let split = StyledSplit(request.graph, styles, degree: degrees.tensor, matching: matching)
    let mesh = [degrees.data, degrees.tensor].filter { $0 > 1 }
    fixed.mesh = mesh.isEmpty ? [1] : mesh
    fixed.form = nil
    if !mesh.isEmpty {
      fixed.constraints += request.graph.operators.indices.map { op in
        let rule = OperatorRules.rule(for: op, in: request.graph)
        let batch = rule.iteration.firstIndex { $0.role == .batch && $0.isSplittable }
        let assignment = (degrees.data > 1 ? [batch] : []) + (degrees.tensor > 1 ? [split.axes[op]] : [])
        return StrategyConstraint(operator: request.graph.operators[op].name, strategy: Strategy(assignment: assignment, rule: rule), rule: rule)
      }
    }
    return (fixed, degrees.tensor > 1 ? split.findings : [])
  }

  var matching: PatternMatching { format == .deepspeed ? .globs : .names }
}
