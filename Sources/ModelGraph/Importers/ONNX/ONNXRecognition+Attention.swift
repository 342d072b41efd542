// SPDX-License-Identifier: GPL-3.0-or-later

/// Attention, as ONNX's operator or as a softmax between two products.
extension ONNXRecognition {
  /// What the softmax of scores goes through before it, from the last step to the first.
  private struct Scores {
    /// Known numbers that scores are added to, or which say where scores count.
    var masks: [AttentionMask] = []
    var factor = 1.0
    /// The product of queries and keys.
    var product = 0
  }

  /// MatMul of probabilities and values, where probabilities are the softmax of scaled and masked products of queries and keys.
  mutating func attentionInSteps(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count == 2, let probabilities = value.operands[0].data, value.operands[1].data != nil,
      let softmax = softmax(probabilities), let scores = try scores(softmax)
    else { return nil }
    let product = self.node(scores.product)
    guard let q = try placed(product.operands[0]), var k = try placed(product.operands[1]), let v = try placed(value.operands[1]), k.axes.count >= 2
    else {
      return nil
    }
    k.axes.swapAt(k.axes.count - 1, k.axes.count - 2)
    return try attend(q, k, v, factor: scores.factor, masks: scores.masks, scores: product.shape, node)
  }

  /// ONNX's Attention.
  mutating func attention(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count >= 3, var q = try placed(value.operands[0]), var k = try placed(value.operands[1]),
      var v = try placed(value.operands[2])
    else { return nil }
    guard value.operands.dropFirst(4).allSatisfy(\.isAbsent), node.float("softcap") ?? 0 == 0 else {
      throw node.refusal("attention with a cache or a softcap", expected: "neither")
    }
    let hasHeadsInside = q.axes.count == 3
    if hasHeadsInside {
      let (heads, groups) = (node.int("q_num_heads", default: 1), node.int("kv_num_heads", default: 1))
      for (number, count) in [heads, groups, groups].enumerated() {
        var x = [q, k, v][number]
        let extent = axes.product(x.axes[2])
        guard count > 0, extent % count == 0, let parts = axes.regroup([x.axes[2]], to: [count, extent / count]) else { return nil }
        x.axes = [x.axes[0], parts[0], x.axes[1], parts[1]]
        if number == 0 { q = x } else if number == 1 { k = x } else { v = x }
      }
    }
    let size = axes.product(q.axes[3])
    var masks: [AttentionMask] = []
    if value.operands.count > 3, !value.operands[3].isAbsent {
      guard let mask = evaluation.literal(value.operands[3]) else {
        throw node.refusal("a mask that is data", expected: "one computed of attention_mask")
      }
      if case .integers = mask.elements { masks.append(.kept(mask)) } else { masks.append(.added(mask)) }
    }
    if node.int("is_causal", default: 0) != 0 { masks.append(.causal) }
    let shape = q.axes.dropLast().map(axes.product) + [axes.product(k.axes[2])]
    let factor = node.float("scale") ?? 1 / Double(size).squareRoot()
    var result = try attend(q, k, v, factor: factor, masks: masks, scores: shape, node)
    if hasHeadsInside { result.axes = [result.axes[0], result.axes[2], result.axes[1] + result.axes[3]] }
    return result
  }

  /// The softmax over the last axis that probabilities are, perhaps with 0 in place of what is no number.
  private func softmax(_ index: Int) -> Int? {
    let value = node(index)
    if value.op == "Where", value.operands.count == 3, let condition = value.operands[0].data, node(condition).op == "IsNaN",
      evaluation.literal(value.operands[1])?.scalar == 0, let same = value.operands[2].data, node(condition).operands.first?.data == same
    {
      return softmax(same)
    }
    guard value.op == "Softmax", let node = value.node else { return nil }
    let axis = node.int("axis", default: node.opset < 13 ? 1 : -1)
    return axis == -1 || axis == value.shape.count - 1 ? index : nil
  }

  /// What stands between the softmax and the product of queries and keys; nil where there is no such product.
  ///
  /// - Throws: `ModelError.unmapped` for a step that is neither a scale nor a mask.
  private func scores(_ softmax: Int) throws -> Scores? {
    var scores = Scores()
    guard var next = node(softmax).operands.first?.data else { return nil }
    while let node = node(next).node {
      let value = self.node(next)
      let known = value.operands.map(evaluation.literal)
      func refusal() -> ModelError {
        node.refusal(
          "it stands between scores and their softmax", expected: "a mask that is added, a Where with a mask, or a product with one number")
      }
      switch value.op {
      case "MatMul":
        guard value.operands.count == 2, value.operands.allSatisfy({ $0.data != nil }) else { return nil }
        scores.product = next
        return scores
      case "Add", "Mul", "Div":
        guard value.operands.count == 2, let data = value.operands.firstIndex(where: { $0.data != nil }), let other = known[1 - data],
          let operand = value.operands[data].data
        else { throw refusal() }
        if value.op == "Add" {
          scores.masks.append(.added(other))
        } else {
          guard let factor = other.scalar, value.op == "Mul" || data == 0 else { throw refusal() }
          scores.factor *= value.op == "Mul" ? factor : 1 / factor
        }
        next = operand
      case "Where":
        guard value.operands.count == 3, let condition = known[0], let data = [1, 2].first(where: { value.operands[$0].data != nil }),
          let other = known[3 - data]?.scalar, other <= AttentionMask.least, let operand = value.operands[data].data
        else { throw refusal() }
        scores.masks.append(data == 1 ? .kept(condition) : .dropped(condition))
        next = operand
      default: throw refusal()
      }
    }
    return nil
  }

  /// Attention of q, k and v, each `[batch, heads, positions, features]`, where batch and heads may be one axis.
  private mutating func attend(
    _ q: ONNXPlaced, _ k: ONNXPlaced, _ v: ONNXPlaced, factor: Double, masks: [AttentionMask], scores: [Int], _ node: ONNXNode
  ) throws -> ONNXPlaced {
    var (q, k, v, factor) = (q, k, v, factor)
    absorbScale(&q, &factor)
    absorbScale(&k, &factor)
    for x in [q, k, v] where x.axes.count < 3 || x.axes.count > 4 { throw node.refusal("attention of \(x.axes.count) axes", expected: "3 or 4") }
    let keys = try heads(&k, node)
    let values = try heads(&v, node)
    let queries = try queryHeads(&q, groups: axes.extent(keys.groups), node)
    let unified =
      axes.unify([queries.groups], [keys.groups]) && axes.unify([keys.groups], [values.groups]) && axes.unify([queries.features], [keys.features])
      && axes.unify([keys.features], [values.features]) && axes.unify([keys.positions], [values.positions])
    guard unified else { throw node.refusal("queries, keys and values of different sizes", expected: "heads of one size") }
    apart += [queries.groups, queries.queries, queries.features]
    axes.describe(queries.groups, .heads, "kv_heads")
    axes.describe(queries.queries, .queries, "queries")
    axes.describe(queries.features, .whole, "head_dim")
    if axes.name(queries.positions) == "patches" { axes.redescribe(queries.positions, .sequence, "seq") }

    let (isCausal, readsMask) = try AttentionMask.kind(
      masks, scores: scores, heads: axes.extent(queries.groups) * axes.extent(queries.queries), padding: evaluation.inputs[.attentionMask], node)
    for (placed, part) in [(q, "q"), (k, "k"), (v, "v")] { nameParts(placed.op, part) }
    let root = Double(axes.extent(queries.features)).squareRoot()
    if abs(factor * root - 1) > 1e-5 { q = scaled(q, by: factor * root, node) }
    var operands: [ONNXOperator.Operand] = [.result(q.op), .result(k.op), .result(v.op)]
    if readsMask { operands.append(.input(.attentionMask)) }
    let result = [axes.leaves(q.axes[0])[0], queries.positions, queries.groups, queries.queries, queries.features]
    let op = emit(.attention(causal: isCausal), operands, result, node, suffix: "core")
    return ONNXPlaced(op: op, axes: q.axes.dropLast() + [[queries.features]])
  }

  /// A factor that queries or keys were multiplied by before.
  private func absorbScale(_ x: inout ONNXPlaced, _ factor: inout Double) {
    while case .scale(let own) = operators[x.op].kind, let source = operators[x.op].results.first {
      x = ONNXPlaced(op: source, axes: x.axes)
      factor *= own
    }
  }

  /// The axes of keys or values `[b, t, g, d]`. Heads that are repeated for their queries are left out.
  private mutating func heads(
    _ x: inout ONNXPlaced, _ node: ONNXNode
  ) throws -> (positions: AxisTable.Class, groups: AxisTable.Class, features: AxisTable.Class) {
    let rank = x.axes.count
    var dimensions = self.dimensions(x.op)
    if dimensions.count == 3, axes.leaves(x.axes[rank - 1]) == [dimensions[2]] { _ = axes.split(dimensions[2], [1, axes.extent(dimensions[2])]) }
    dimensions = self.dimensions(x.op)
    let own = axes.leaves(x.axes.dropLast(2).flatMap { $0 }).filter(dimensions.contains)
    guard dimensions.count == 4, own == [dimensions[0], dimensions[2]] || own == [dimensions[0]], axes.leaves(x.axes[rank - 2]) == [dimensions[1]],
      axes.leaves(x.axes[rank - 1]).last == dimensions[3]
    else { throw node.refusal("keys or values whose axes stand in another order", expected: "[batch, positions, heads · features], cut in heads") }
    return (dimensions[1], dimensions[2], dimensions[3])
  }

  /// The axes of queries `[b, s, g, r, d]`, whose heads are cut in groups that share keys and values.
  private mutating func queryHeads(
    _ x: inout ONNXPlaced, groups: Int, _ node: ONNXNode
  ) throws -> (positions: AxisTable.Class, groups: AxisTable.Class, queries: AxisTable.Class, features: AxisTable.Class) {
    let rank = x.axes.count
    let before = dimensions(x.op)
    if before.count == 3, axes.leaves(x.axes[rank - 1]) == [before[2]] {
      _ = axes.split(before[2], [1, 1, axes.extent(before[2])])
    } else if before.count == 4 {
      let heads = axes.extent(before[2])
      guard heads % groups == 0 else { throw node.refusal("\(heads) query heads and \(groups) key heads", expected: "a multiple") }
      _ = axes.split(before[2], [groups, heads / groups])
    }
    let dimensions = self.dimensions(x.op)
    let leading = axes.leaves(x.axes.dropLast(2).flatMap { $0 })
    guard dimensions.count == 5, axes.extent(dimensions[2]) == groups,
      leading == [dimensions[0], dimensions[2], dimensions[3]] || leading == [dimensions[0]],
      axes.leaves(x.axes[rank - 2]) == [dimensions[1]], axes.leaves(x.axes[rank - 1]).last == dimensions[4]
    else { throw node.refusal("queries whose axes stand in another order", expected: "[batch, positions, heads · features], cut in heads") }
    return (dimensions[1], dimensions[2], dimensions[3], dimensions[4])
  }

  /// Names the parts of one layer that gives queries, keys and values.
  private mutating func nameParts(_ op: Int, _ part: String) {
    let made = Set(parts.values.map(\.op))
    var next: Int? = op
    // A rotation, a norm or a scale of a part may lie between.
    while let current = next, !made.contains(current), case .result(let source)? = operators[current].operands.first {
      switch operators[current].kind {
      case .rotary, .rmsNorm, .layerNorm, .scale: next = source
      default: return
      }
    }
    while let current = next, made.contains(current) {
      if !operators[current].path.isEmpty { operators[current].path += "." + part }
      next = operators[current].results.first
    }
  }
}

/// Known numbers that say which keys a query attends to.
enum AttentionMask {
  /// Added to scores: 0, or a number so small that nothing is left of the key.
  case added(Literal)
  /// Where scores count.
  case kept(Literal)
  /// Where they do not.
  case dropped(Literal)
  /// Those after a query are hidden, without an array that says so.
  case causal

  /// What is at most this hides a key.
  static let least = -1e4

  /// 1 where a key is seen, else 0; nil without an array.
  private func seen(_ node: ONNXNode) throws -> Literal? {
    let literal: Literal
    switch self {
    case .added(let own), .kept(let own), .dropped(let own): literal = own
    case .causal: return nil
    }
    let values = literal.reals
    var seen = [Int](repeating: 1, count: values.count)
    for (index, value) in values.enumerated() {
      switch self {
      case .added:
        guard value == 0 || value <= Self.least else {
          throw node.refusal(
            "\(value) is added to scores", expected: "0, or at most \(Self.least), which hides a key: a mask, not a bias of positions")
        }
        seen[index] = value == 0 ? 1 : 0
      case .kept: seen[index] = value != 0 ? 1 : 0
      case .dropped: seen[index] = value != 0 ? 0 : 1
      case .causal: break
      }
    }
    return Literal(literal.shape, .integers(seen), inputs: literal.inputs)
  }

  /// Which of the masks that the executor knows these are together: none, causal, the padding of `attention_mask`, or both.
  ///
  /// - Parameters:
  ///   - scores: `[batch, heads, queries, keys]`, or with the first two as one axis.
  ///   - padding: the values of `attention_mask`, `[batch, keys]`.
  /// - Throws: `ModelError.unmapped` for any other mask.
  static func kind(
    _ masks: [AttentionMask], scores: [Int], heads: Int, padding: Literal?, _ node: ONNXNode
  ) throws -> (isCausal: Bool, readsPadding: Bool) {
    let seen = try masks.compactMap { try $0.seen(node) }
    let saysCausal = masks.contains { if case .causal = $0 { true } else { false } }
    guard !seen.isEmpty else { return (saysCausal, false) }
    let inputs = seen.reduce(into: Set<InputKind>()) { $0.formUnion($1.inputs) }
    guard inputs.isSubset(of: [.attentionMask]) else {
      throw node.refusal(
        "a mask computed of \(inputs.map(\.rawValue).sorted().joined(separator: ", "))",
        expected: "one computed of attention_mask, or of positions alone")
    }
    let shape = try LiteralOperators.checked(node, LiteralOperators.commonShape(node, seen.map(\.shape)))
    let views = try seen.map { mask in
      guard let view = StridedView(whole: mask.shape).broadcast(to: shape), shape.count <= scores.count else {
        throw node.refusal("a mask of shape \(shape) for scores \(scores)", expected: "at most as many axes")
      }
      return mask.viewed(view).integers
    }
    let padded = [Int](repeating: 1, count: scores.count - shape.count) + shape
    let (rows, columns) = (padded[scores.count - 2], padded[scores.count - 1])
    let mask = inputs.isEmpty ? nil : padding
    // The sample of each leading index; nil where the mask is one for all.
    let lead = padded.dropLast(2).reduce(1, *)
    let perSample = lead == 1 ? nil : scores.count == 3 ? heads : padded[1]
    for isCausal in [false, true] {
      var agrees = !(isCausal && rows == 1 && scores[scores.count - 2] > 1)
      if columns == 1, scores[scores.count - 1] > 1 { agrees = agrees && !isCausal && mask == nil }
      if mask != nil, perSample == nil, scores[0] > (scores.count == 3 ? heads : 1) { agrees = false }
      guard agrees else { continue }
      let keys = mask?.integers ?? []
      for index in 0..<lead * rows * columns {
        let (row, column) = (index / columns % rows, index % columns)
        let sample = perSample.map { index / (rows * columns) / $0 } ?? 0
        let expected = (!isCausal || column <= row) && (mask == nil || keys[sample * columns + column] != 0)
        if views.allSatisfy({ $0[index] != 0 }) != expected {
          agrees = false
          break
        }
      }
      if agrees { return (isCausal || saysCausal, mask != nil) }
    }
    throw node.refusal(
      "a mask that hides other keys", expected: "those after a query (causal), those that attention_mask marks with 0, both, or none")
  }
}
