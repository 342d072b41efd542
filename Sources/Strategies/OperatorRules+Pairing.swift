// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// The rows of the table for models that pair samples with samples: two towers and a contrastive loss.
extension OperatorRules {
  static func pairing(_ op: Operator, _ graph: Graph) -> OperatorRule {
    func dims(_ operand: Int) -> [AxisID] { graph.tensors[op.operands[operand]].dimensions }
    let out = graph.tensors[op.result].dimensions
    var rule = RuleBuilder(graph: graph)
    switch op.kind {
    case .selectMarkedToken:
      // b |s h, b |s -> b h
      rule.add(out)
      rule.add([dims(0)[1]], splittable: false)
      return rule.finish(operands: [dims(0), dims(1)], result: out, keeps: [1], work: .free)

    case .unitNorm:
      // … |h -> … |h
      rule.add(out)
      rule.forbid(out[out.count - 1])
      let rows = rule.indices(Array(out.dropLast()))
      return rule.finish(operands: [dims(0)], result: out, keeps: [0], extra: [(rows, 4)], work: .stream())

    case .similarity:
      // b h, |c h -> b |c   (|c: the samples once more; where b is split, the other side is whole: a gather forward, partial gradients back)
      let (b, h, c) = (dims(0)[0], dims(0)[1], out[1])
      rule.add([b, c, h])
      rule.name(h, ["row"])
      let (rows, columns, depth) = (rule.indices([b]), rule.indices([c]), rule.indices([h]))
      return rule.finish(
        operandIndices: [rows + depth, columns + depth], result: out, keeps: [0, 1], work: .product(m: rows, n: columns, k: depth))

    case .learnedScale:
      // …, |1 -> …
      rule.add(out)
      rule.add(dims(1), splittable: false)
      return rule.finish(operands: [dims(0), dims(1)], result: out, keeps: [0, 1], work: .stream())

    case .contrastiveLoss:
      // b |c -> ()   (b: maximum and sum of exponentials of every column are reduced inside)
      rule.add(dims(0))
      let (rows, columns) = (rule.indices([dims(0)[0]]), rule.indices([dims(0)[1]]))
      return rule.finish(
        operands: [dims(0)], result: [], keeps: [0], extra: [(rows, 4), (rows, 4), (columns, 4), (columns, 4)],
        interior: [.init(axis: rows[0], spans: columns, count: 2)], work: .stream())

    default: preconditionFailure("\(op.name) has its row elsewhere")
    }
  }
}
