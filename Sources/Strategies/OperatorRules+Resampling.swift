// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// The rows of the table for models that bring sequences of different origin together: latents that attend to an image's features.
extension OperatorRules {
  static func resampling(_ op: Operator, _ graph: Graph) -> OperatorRule {
    func dims(_ operand: Int) -> [AxisID] { graph.tensors[op.operands[operand]].dimensions }
    let out = graph.tensors[op.result].dimensions
    var rule = RuleBuilder(graph: graph)
    switch op.kind {
    case .broadcast:
      // r h -> b r h
      rule.add(out)
      return rule.finish(operands: [dims(0)], result: out, keeps: [], work: .stream())

    case .concatenate:
      // b |n h, b |m h -> b |(n m) h
      rule.add([out[0], out[2]])
      rule.add([out[1], dims(0)[1], dims(1)[1]], splittable: false)
      return rule.finish(operands: [dims(0), dims(1)], result: out, keeps: [], work: .stream())

    default: preconditionFailure("\(op.name) has its row elsewhere")
    }
  }
}
