// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner
import Strategies

extension LaunchFormat {
  /// How patterns of styles mean modules.
  var matching: PatternMatching { self == .deepspeed ? .globs : .names }
}

extension MegatronDegrees {
  /// The request with these degrees fixed, and on the tensor axis what styles mean (nil: as Megatron-LM does).
  ///
  /// Where styles do not go with the model, operators may be left without a split: `findings` says why.
  /// - Throws: `PlannerError.usage` where the degrees do not go with the batch or the model.
  func fix(_ request: SearchRequest, _ styles: [ModuleStyle]?, _ matching: PatternMatching) throws -> SearchRequest {
    var fixed = try fix(request)
    guard let styles else { return fixed }
    if tensor > 1, context > 1 { throw PlannerError.usage("styles of modules are not read beside context parallelism") }
    // Without a tensor axis there is no style to follow.
    guard tensor > 1 else { return fixed }
    let split = StyledSplit(request.graph, styles, degree: tensor, matching: matching)
    fixed.mesh = data > 1 ? [data, tensor] : [tensor]
    fixed.form = nil
    fixed.constraints += request.graph.operators.indices.map { op in
      let rule = OperatorRules.rule(for: op, in: request.graph)
      let batch = rule.iteration.firstIndex { $0.role == .batch && $0.isSplittable }
      let strategy = Strategy(assignment: (data > 1 ? [batch] : []) + [split.axes[op]], rule: rule)
      return StrategyConstraint(operator: request.graph.operators[op].name, strategy: strategy, rule: rule)
    }
    return fixed
  }

  /// What is wrong with styles for a model.
  func findings(_ graph: Graph, _ styles: [ModuleStyle]?, _ matching: PatternMatching) -> [Finding] {
    guard let styles, tensor > 1 else { return [] }
    return StyledSplit(graph, styles, degree: tensor, matching: matching).findings
  }
}
