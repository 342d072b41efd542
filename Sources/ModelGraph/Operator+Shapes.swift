// SPDX-License-Identifier: GPL-3.0-or-later

extension Operator {
  /// Checks that the operands and the result have the dimensions that `OperatorKind` documents.
  ///
  /// - Throws: `ModelError.inconsistent` that names the operator and what does not agree.
  func checkShapes(axes: [Axis], tensors: [Tensor]) throws {
    func dims(_ operand: Int) -> [AxisID] { tensors[operands[operand]].dimensions }
    func fail(_ problem: String) -> ModelError { ModelError.inconsistent(where: name, problem: problem) }
    func expect(_ condition: Bool, _ problem: @autoclosure () -> String) throws { if !condition { throw fail(problem()) } }
    func text(_ dimensions: [AxisID]) -> String { "[" + dimensions.map { axes[$0].name }.joined(separator: ", ") + "]" }
    let out = tensors[result].dimensions
    let expected = kind.operandCounts
    try expect(expected.contains(operands.count), "has \(operands.count) operands; expected \(expected.lowerBound) to \(expected.upperBound)")

    for (position, operand) in operands.enumerated() {
      let holdsWholeNumbers = tensors[operand].holdsWholeNumbers
      try expect(
        holdsWholeNumbers == kind.takesWholeNumbers(at: position),
        "operand \(position), \(tensors[operand].name), is \(holdsWholeNumbers ? "" : "not ")an input of whole numbers")
    }

    switch kind {
    case .embedding:
      try expect(dims(1).count == 2 && out == dims(0) + [dims(1)[1]], "looks up \(text(dims(0))) in \(text(dims(1))), but gives \(text(out))")
    case .positionEmbedding(let offset):
      try expect(dims(0).count == 2 && out.count == 2 && out[1] == dims(0)[1], "reads rows of \(text(dims(0))), but gives \(text(out))")
      try expect(
        offset + axes[out[0]].extent <= axes[dims(0)[0]].extent,
        "needs \(offset + axes[out[0]].extent) positions; the table has \(axes[dims(0)[0]].extent)")
    case .linear:
      let (x, weight) = (dims(0), dims(1))
      let contracted = weight.filter { x.contains($0) }
      let produced = weight.filter { !x.contains($0) }
      try expect(!contracted.isEmpty && !produced.isEmpty, "the weight \(text(weight)) must share an axis with x \(text(x)) and add one")
      try expect(
        weight == contracted + produced || weight == produced + contracted,
        "the weight \(text(weight)) must hold all inputs before all outputs or the reverse")
      try expect(
        Array(x.suffix(contracted.count)) == contracted && out == x.dropLast(contracted.count) + produced,
        "\(text(x)) × \(text(weight)) cannot give \(text(out))")
    case .bias: try expect(out == dims(0) && Array(out.suffix(dims(1).count)) == dims(1), "adds \(text(dims(1))) to \(text(dims(0)))")
    case .attention:
      let (q, k, v) = (dims(0), dims(1), dims(2))
      try expect(
        q.count == 5 && k.count == 4 && v == k && out == q,
        "expected q [b, s, g, r, d], k and v [b, t, g, d]; found \(text(q)), \(text(k)), \(text(v))")
      try expect(q[0] == k[0] && q[2] == k[2] && q[4] == k[3], "q \(text(q)) and k \(text(k)) differ in batch, groups or head size")
      if operands.count == 4 { try expect(dims(3) == [k[0], k[1]], "the mask is \(text(dims(3))), expected \(text([k[0], k[1]]))") }
    case .rotary(let parameters):
      try expect(out == dims(0) && out.count >= 3, "rotates \(text(dims(0))), but gives \(text(out))")
      let size = axes[out[out.count - 1]].extent
      let rotated = parameters.rotated ?? size
      try expect(rotated >= 2 && rotated % 2 == 0 && rotated <= size, "rotates \(rotated) of \(size) features: an even number of them is needed")
    case .layerNorm, .rmsNorm:
      try expect(out == dims(0) && !out.isEmpty, "must keep the shape \(text(dims(0)))")
      for operand in 1..<operands.count { try expect(dims(operand) == [out[out.count - 1]], "scale and bias must be \(text([out[out.count - 1]]))") }
    case .activation, .dropout, .scale, .pass, .unitNorm: try expect(out == dims(0), "must keep the shape \(text(dims(0)))")
    case .add: try expect(out == dims(0) && Array(out.suffix(dims(1).count)) == dims(1), "adds \(text(dims(1))) to \(text(dims(0)))")
    case .multiply: try expect(out == dims(0) && dims(1) == out, "multiplies \(text(dims(0))) by \(text(dims(1)))")
    case .patches(let size):
      let x = dims(0).map { axes[$0].extent }
      let y = out.map { axes[$0].extent }
      try expect(x.count == 4 && y.count == 3 && size > 0, "expected [b, c, H, W] → [b, n, c·p·p]")
      try expect(
        x[2] % size == 0 && x[3] % size == 0 && y[1] == (x[2] / size) * (x[3] / size) && y[2] == x[1] * size * size,
        "patches of \(size) of an image \(x) cannot give \(y)")
    case .prependToken:
      let x = dims(0)
      try expect(
        x.count == 3 && out.count == 3 && out[0] == x[0] && out[2] == x[2] && dims(1) == [x[2]] && axes[out[1]].extent == axes[x[1]].extent + 1,
        "a token before \(text(x)) cannot give \(text(out))")
    case .selectToken(let position):
      let x = dims(0)
      try expect(x.count == 3 && out == [x[0], x[2]] && position < axes[x[1]].extent, "position \(position) of \(text(x)) cannot give \(text(out))")
    case .convolution, .batchNorm, .maxPool, .averagePool: try checkImageShapes(axes: axes, tensors: tensors)
    case .route, .dispatch, .expertLinear, .combine: try checkExpertShapes(axes: axes, tensors: tensors)
    case .sigmoidGate:
      try expect(
        !out.isEmpty && out == dims(0) && dims(1).count == out.count && dims(1).dropLast() == out.dropLast()
          && dims(1).last.map { axes[$0].extent } == 1,
        "a gate \(text(dims(1))) for \(text(dims(0)))")
    case .selectMarkedToken:
      let x = dims(0)
      try expect(
        x.count == 3 && dims(1) == Array(x.prefix(2)) && out == [x[0], x[2]], "positions \(text(dims(1))) of \(text(x)) cannot give \(text(out))")
    case .similarity:
      let x = dims(0)
      try expect(
        x.count == 2 && dims(1) == x && out.count == 2 && out[0] == x[0] && axes[out[1]].role == .candidates
          && axes[out[1]].extent == axes[x[0]].extent,
        "pairs of \(text(x)) and \(text(dims(1))) cannot give \(text(out)); expected a second axis of the role candidates, as long as the batch")
    case .broadcast:
      try expect(out.count == 3 && dims(0) == Array(out.suffix(2)), "a table \(text(dims(0))) for every sample cannot give \(text(out))")
    case .concatenate:
      let (x, y) = (dims(0), dims(1))
      try expect(
        x.count == 3 && y.count == 3 && out.count == 3 && x[0] == y[0] && x[2] == y[2] && out[0] == x[0] && out[2] == x[2]
          && axes[out[1]].extent == axes[x[1]].extent + axes[y[1]].extent, "\(text(x)) and then \(text(y)) cannot give \(text(out))")
    case .learnedScale:
      try expect(out == dims(0) && dims(1).count == 1 && axes[dims(1)[0]].extent == 1, "must keep the shape \(text(dims(0))) and take one number")
    case .contrastiveLoss:
      let x = dims(0)
      try expect(
        x.count == 2 && out.isEmpty && axes[x[1]].role == .candidates && axes[x[1]].extent == axes[x[0]].extent,
        "expected [batch, candidates] of equal extents, not \(text(x))")
    case .crossEntropy:
      try expect(
        !dims(0).isEmpty && out.isEmpty && dims(1) == Array(dims(0).dropLast()),
        "labels are \(text(dims(1))) for logits \(text(dims(0)))")
    }
  }
}

extension OperatorKind {
  /// How many operands an operator of this kind takes.
  var operandCounts: ClosedRange<Int> {
    switch self {
    case .positionEmbedding, .rotary, .activation, .dropout, .scale, .pass, .patches, .selectToken, .route, .maxPool, .averagePool,
      .unitNorm, .contrastiveLoss, .broadcast:
      1...1
    case .embedding, .linear, .bias, .rmsNorm, .add, .multiply, .prependToken, .crossEntropy: 2...2
    case .dispatch, .expertLinear, .combine, .sigmoidGate, .convolution, .selectMarkedToken, .similarity, .learnedScale, .concatenate: 2...2
    case .layerNorm, .batchNorm: 3...3
    case .attention: 3...4
    }
  }

  /// Whether an operand is an input of whole numbers: token and type identifiers, masks, labels. All others are floating-point.
  func takesWholeNumbers(at operand: Int) -> Bool {
    switch self {
    case .embedding: operand == 0
    case .attention: operand == 3
    case .crossEntropy, .selectMarkedToken: operand == 1
    default: false
    }
  }
}

extension Tensor {
  fileprivate var holdsWholeNumbers: Bool {
    if case .input(let kind) = kind { kind.isInteger } else { false }
  }
}
