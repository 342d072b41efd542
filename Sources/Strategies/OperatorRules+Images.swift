// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// The rows of operators on images. Height and width are never split: neighbours would have to exchange the rims of their windows.
extension OperatorRules {
  static func images(_ op: Operator, _ graph: Graph) -> OperatorRule {
    func dims(_ operand: Int) -> [AxisID] { graph.tensors[op.operands[operand]].dimensions }
    let (x, out) = (dims(0), graph.tensors[op.result].dimensions)
    var rule = RuleBuilder(graph: graph)

    switch op.kind {
    case .convolution:
      // b i |H |W, o i |kH |kW -> b o |H' |W'   (i: row-parallel, o: column-parallel)
      let weight = dims(1)
      rule.add([x[0], x[1], weight[0]])
      rule.name(x[1], ["row"])
      rule.name(weight[0], ["column"])
      rule.add(x[2...] + weight[2...] + out[2...], splittable: false)
      return rule.finish(
        operands: [x, weight], result: out, keeps: [0, 1],
        work: .product(m: rule.indices([out[0], out[2], out[3]]), n: rule.indices([weight[0]]), k: rule.indices(Array(weight[1...]))))

    case .batchNorm:
      // b c |H |W, c, c -> b c |H |W   (b: sums over all ranks' samples, of values and of squares, and of two gradients)
      rule.add(x[..<2])
      rule.add(x[2...], splittable: false)
      let channels = rule.indices([x[1]])
      return rule.finish(
        operands: [x, dims(1), dims(2)], result: out, keeps: [0, 1], extra: [(channels, 4), (channels, 4)],
        interior: [.init(axis: rule.indices([x[0]])[0], spans: channels, count: 2, backwardCount: 2)], work: .stream(readings: 2))

    case .maxPool:
      // b c |H |W -> b c |H' |W'   (backward looks for the largest value again)
      rule.add(x[..<2])
      rule.add(x[2...] + out[2...], splittable: false)
      return rule.finish(operands: [x], result: out, keeps: [0], work: .stream())

    case .averagePool:
      // b c |H |W -> b c
      rule.add(x[..<2])
      rule.add(x[2...], splittable: false)
      return rule.finish(operands: [x], result: out, keeps: [], work: .stream())

    default: preconditionFailure("\(op.name) is no operator on images")
    }
  }
}
