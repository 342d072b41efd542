// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph

/// The table: one rule per kind of operator, in the manner of an einsum.
///
/// The subscripts in the comments are iteration axes; `|` marks axes that are never split, and an axis on the left only is a reduction.
package enum OperatorRules {
  /// The rule of operator `id` of `graph`.
  package static func rule(for id: OperatorID, in graph: Graph) -> OperatorRule {
    let op = graph.operators[id]
    func dims(_ operand: Int) -> [AxisID] { graph.tensors[op.operands[operand]].dimensions }
    let out = graph.tensors[op.result].dimensions
    var rule = RuleBuilder(graph: graph)

    switch op.kind {
    case .embedding:
      // b s, v h -> b s h   (v: rows that another rank holds count as zero, so the result is a partial sum)
      rule.add(dims(0))
      rule.add(dims(1))
      rule.name(dims(1)[0], ["vocab", "row"])
      return rule.finish(operands: [dims(0), dims(1)], result: out, keeps: [0], work: .gather)

    case .positionEmbedding:
      // |p h -> s h
      rule.add(out)
      rule.add([dims(0)[0]], splittable: false)
      return rule.finish(operands: [dims(0)], result: out, keeps: [], work: .gather)

    case .linear:
      // … i, i o -> … o   (i: row-parallel, o: column-parallel)
      let contracted = dims(1).filter { dims(0).contains($0) }
      let produced = dims(1).filter { !dims(0).contains($0) }
      rule.add(dims(0))
      rule.add(produced)
      // A feature that is summed over is never meant by `column`.
      for axis in contracted { rule.name(axis, ["row"] + RuleBuilder.words(for: graph.axes[axis].role).filter { $0 != "column" }) }
      for axis in produced {
        rule.name(axis, graph.axes[axis].role == .vocabulary ? ["vocab", "column"] : ["column"] + RuleBuilder.words(for: graph.axes[axis].role))
      }
      let rows = dims(0).filter { !contracted.contains($0) }
      return rule.finish(
        operands: [dims(0), dims(1)], result: out, keeps: [0, 1],
        work: .product(m: rule.indices(rows), n: rule.indices(produced), k: rule.indices(contracted)))

    case .attention(let causal, let dropout):
      // b s g r |d, b |t g |d, b |t g |d, b |t -> b s g r |d   (s and t together: a ring)
      let (q, k) = (dims(0), dims(1))
      rule.add(q)
      rule.forbid(q[4])
      rule.name(q[1], ["context", "sequence"])
      // Keys share the queries' axis in self-attention, but are gathered whole: another iteration axis. The key mask is small, and whole always.
      let keys = rule.addAlias(of: k[1], splittable: false)
      let qIndices = rule.indices(q)
      let kIndices = [qIndices[0], keys, qIndices[2], qIndices[4]]
      let mask = op.operands.count == 4 ? [[qIndices[0], rule.addAlias(of: k[1], splittable: false)]] : []
      // The other way to split the positions: keys and values stay split as queries are, and travel around.
      let ring = rule.addJoint(of: qIndices[1], and: keys, name: "\(graph.axes[q[1]].name) ring", words: ["ring", "sequence"])
      return rule.finish(
        operandIndices: [qIndices, kIndices, kIndices] + mask, resultIndices: rule.indices(out),
        keeps: Array(op.operands.indices), keepsResult: true, extra: [(Array(qIndices[0..<4]), 4)],
        ring: ring.map { OperatorRule.Ring(axis: $0, operands: [1, 2]) },
        work: .attention(
          .init(
            isCausal: causal, drops: dropout > 0, samples: [qIndices[0], qIndices[2], qIndices[3]], queries: qIndices[1], keys: keys,
            depth: qIndices[4])))

    case .layerNorm, .rmsNorm:
      // … |h, |h, |h -> … |h
      rule.add(out)
      rule.forbid(out[out.count - 1])
      let rows = rule.indices(Array(out.dropLast()))
      let statistics = op.operands.count == 3 ? 2 : 1
      return rule.finish(
        operands: op.operands.indices.map(dims), result: out, keeps: Array(op.operands.indices.prefix(2)),
        extra: Array(repeating: (rows, 4), count: statistics), work: .stream())

    case .rotary:
      // … |d -> … |d
      rule.add(out)
      rule.forbid(out[out.count - 1])
      return rule.finish(operands: [dims(0)], result: out, keeps: [], work: .stream())

    case .bias, .add:
      // … o, o -> … o
      rule.add(out)
      return rule.finish(operands: [dims(0), dims(1)], result: out, keeps: [], work: .stream())

    case .scale:
      rule.add(out)
      return rule.finish(operands: [dims(0)], result: out, keeps: [], work: .stream())

    case .pass:
      rule.add(out)
      return rule.finish(operands: [dims(0)], result: out, keeps: [], work: .free)

    case .multiply:
      rule.add(out)
      return rule.finish(operands: [dims(0), dims(1)], result: out, keeps: [0, 1], work: .stream())

    case .activation(let function):
      rule.add(out)
      return rule.finish(operands: [dims(0)], result: out, keeps: function == .tanh ? [] : [0], keepsResult: function == .tanh, work: .stream())

    case .dropout:
      rule.add(out)
      return rule.finish(operands: [dims(0)], result: out, keeps: [], extra: [(rule.indices(out), 1)], work: .stream())

    case .patches:
      // b |c |H |W -> b |n |(c p p)
      rule.add([out[0]])
      rule.add(Array(out.dropFirst()) + dims(0).dropFirst(), splittable: false)
      return rule.finish(operands: [dims(0)], result: out, keeps: [], work: .stream())

    case .prependToken:
      // b |n h, h -> b |m h
      rule.add([out[0], out[2]])
      rule.add([out[1], dims(0)[1]], splittable: false)
      return rule.finish(operands: [dims(0), dims(1)], result: out, keeps: [], work: .stream())

    case .selectToken:
      // b |s h -> b h
      rule.add(out)
      rule.add([dims(0)[1]], splittable: false)
      return rule.finish(operands: [dims(0)], result: out, keeps: [], work: .free)

    case .convolution, .batchNorm, .maxPool, .averagePool: return images(op, graph)

    case .route:
      // b s |e -> b s |(2k)   (the k best of all experts: every rank sees all logits of its tokens)
      rule.add(Array(out.dropLast()))
      rule.add([dims(0)[2], out[2]], splittable: false)
      guard case .route(_, let renormalises) = op.kind else { preconditionFailure("not a route") }
      // Renormalised weights are a softmax of their own, whose gradient needs no other logit.
      return rule.finish(operands: [dims(0)], result: out, keeps: renormalises ? [] : [0], keepsResult: true, work: .stream())

    case .dispatch:
      // b s h, b s |(2k) -> e b s h   (s: positions and their slots; e: each rank keeps what goes to its own experts)
      let (x, experts) = (dims(0), out[0])
      rule.add(x + [experts])
      rule.add([dims(1)[2]], splittable: false)
      rule.limit(x[1], to: graph.axes[out[2]].extent)
      return rule.finish(
        operandIndices: [rule.indices(x), rule.indices(dims(1))], resultIndices: rule.indices([experts] + x), keeps: [1], work: .stream())

    case .expertLinear:
      // e b c i, e i o -> e b c o   (e: expert-parallel; no expert reads another's tokens or weights)
      let (x, weight) = (dims(0), dims(1))
      let contracted = weight.dropFirst().filter { x.contains($0) }
      let produced = weight.filter { !x.contains($0) }
      rule.add(x + produced)
      for axis in contracted { rule.name(axis, ["row"]) }
      for axis in produced { rule.name(axis, ["column"]) }
      return rule.finish(
        operands: [x, weight], result: out, keeps: [0, 1],
        work: .product(
          batch: rule.indices([x[0]]), m: rule.indices(x.dropFirst().filter { !contracted.contains($0) }), n: rule.indices(produced),
          k: rule.indices(contracted)))

    case .combine:
      // e b s h, b s |(2k) -> b s h   (e: the sum over a token's experts is partial)
      let (y, experts) = (dims(0), dims(0)[0])
      rule.add(out + [experts])
      rule.add([dims(1)[2]], splittable: false)
      rule.limit(out[1], to: graph.axes[y[2]].extent)
      return rule.finish(
        operandIndices: [rule.indices([experts] + out), rule.indices(dims(1))], resultIndices: rule.indices(out), keeps: [0, 1], work: .stream())

    case .sigmoidGate:
      // … h, … |1 -> … h
      rule.add(out)
      rule.add(dims(1).suffix(1), splittable: false)
      return rule.finish(operands: [dims(0), dims(1)], result: out, keeps: [0, 1], work: .stream())

    case .selectMarkedToken, .unitNorm, .similarity, .learnedScale, .contrastiveLoss:
      return pairing(op, graph)

    case .broadcast, .concatenate:
      return resampling(op, graph)

    case .crossEntropy:
      // … v, … -> ()   (v: maximum, sum of exponentials and target logit are reduced inside)
      let classes = dims(0)[dims(0).count - 1]
      rule.add(dims(0))
      rule.completeInside(classes)
      let rows = rule.indices(Array(dims(0).dropLast()))
      return rule.finish(
        operands: [dims(0), dims(1)], result: [], keeps: [0, 1], extra: [(rows, 4), (rows, 4)],
        interior: [.init(axis: rule.indices([classes])[0], spans: rows, count: 3)], work: .crossEntropy)
    }
  }
}

/// Collects the iteration axes of one rule.
struct RuleBuilder {
  let graph: Graph
  private var axes: [Entry] = []

  private struct Entry {
    let id: AxisID
    var name: String
    var extent: Int
    var isAlias = false
    var splittable: Bool
    var completed = false
    var words: [String]
    /// The loops that are split where the axis is; nil for the axis itself.
    var splits: [Int]?
  }

  init(graph: Graph) { self.graph = graph }

  /// The words for an axis where the operator's kind does not give a better one.
  static func words(for role: Axis.Role) -> [String] {
    switch role {
    case .batch: ["data"]
    case .sequence, .patches: ["sequence"]
    case .heads, .queries: ["heads"]
    case .vocabulary: ["vocab"]
    case .experts: ["expert"]
    case .slots: ["sequence"]
    case .feature, .whole, .candidates: ["column"]
    }
  }

  mutating func add(_ ids: some Sequence<AxisID>, splittable: Bool = true) {
    for id in ids where !axes.contains(where: { $0.id == id && !$0.isAlias }) {
      let axis = graph.axes[id]
      axes.append(
        Entry(
          id: id, name: axis.name, extent: axis.extent, splittable: splittable && ![.whole, .candidates].contains(axis.role),
          words: Self.words(for: axis.role)))
    }
  }

  mutating func addAlias(of id: AxisID, splittable: Bool) -> Int {
    axes.append(Entry(id: id, name: graph.axes[id].name, extent: graph.axes[id].extent, isAlias: true, splittable: splittable, words: []))
    return axes.count - 1
  }

  /// An axis that stands for splitting two loops over positions together, alike; nil where one of them cannot be split.
  mutating func addJoint(of first: Int, and second: Int, name: String, words: [String]) -> Int? {
    guard [first, second].allSatisfy({ graph.axes[axes[$0].id].role.isPosition }) else { return nil }
    axes.append(
      Entry(
        id: axes[first].id, name: name, extent: min(axes[first].extent, axes[second].extent), isAlias: true, splittable: true, words: words,
        splits: [first, second]))
    return axes.count - 1
  }

  private func index(_ id: AxisID) -> Int {
    guard let index = axes.firstIndex(where: { $0.id == id && !$0.isAlias }) else { preconditionFailure("axis \(id) is not in the rule") }
    return index
  }

  func indices(_ ids: [AxisID]) -> [Int] { ids.map(index) }
  mutating func name(_ id: AxisID, _ words: [String]) { axes[index(id)].words = words }
  mutating func forbid(_ id: AxisID) { axes[index(id)].splittable = false }
  /// An axis that is cut together with a shorter one must leave every rank a part of that, too.
  mutating func limit(_ id: AxisID, to extent: Int) { axes[index(id)].extent = min(axes[index(id)].extent, extent) }
  mutating func completeInside(_ id: AxisID) { axes[index(id)].completed = true }

  func finish(
    operands: [[AxisID]], result: [AxisID], keeps: [Int], keepsResult: Bool = false, extra: [(spans: [Int], bytesPerElement: Int)] = [],
    interior: [OperatorRule.InteriorCollective] = [], ring: OperatorRule.Ring? = nil, work: OperatorRule.Work
  ) -> OperatorRule {
    finish(
      operandIndices: operands.map(indices), result: result, keeps: keeps, keepsResult: keepsResult, extra: extra, interior: interior, ring: ring,
      work: work)
  }

  func finish(
    operandIndices: [[Int]], result: [AxisID], keeps: [Int], keepsResult: Bool = false, extra: [(spans: [Int], bytesPerElement: Int)] = [],
    interior: [OperatorRule.InteriorCollective] = [], ring: OperatorRule.Ring? = nil, work: OperatorRule.Work
  ) -> OperatorRule {
    finish(
      operandIndices: operandIndices, resultIndices: indices(result), keeps: keeps, keepsResult: keepsResult, extra: extra, interior: interior,
      ring: ring, work: work)
  }

  func finish(
    operandIndices: [[Int]], resultIndices: [Int], keeps: [Int], keepsResult: Bool = false, extra: [(spans: [Int], bytesPerElement: Int)] = [],
    interior: [OperatorRule.InteriorCollective] = [], ring: OperatorRule.Ring? = nil, work: OperatorRule.Work
  ) -> OperatorRule {
    OperatorRule(
      iteration: axes.enumerated().map { index, axis in
        OperatorRule.IterationAxis(
          name: axis.name, extent: axis.extent, role: graph.axes[axis.id].role, isSplittable: axis.splittable, splits: axis.splits ?? [index],
          isCompletedInside: axis.completed, words: axis.words)
      },
      operands: operandIndices, result: resultIndices, keepsOperand: operandIndices.indices.map { keeps.contains($0) },
      keepsResult: keepsResult, keepsExtra: extra, interior: interior, ring: ring, work: work)
  }
}
