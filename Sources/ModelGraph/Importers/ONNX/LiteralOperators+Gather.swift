// SPDX-License-Identifier: GPL-3.0-or-later

/// Known arrays at known indices.
extension LiteralOperators {
  /// An array of known numbers at the indices of others: Gather.
  static func gather(_ node: ONNXNode, _ value: Literal, _ indices: Literal) throws -> Literal {
    let axis = try node.axis(node.int("axis", default: 0), of: value.shape.count)
    let (extent, inner) = (value.shape[axis], value.shape[(axis + 1)...].reduce(1, *))
    let outer = value.shape[..<axis].reduce(1, *)
    let shape = try checked(node, Array(value.shape[..<axis]) + indices.shape + Array(value.shape[(axis + 1)...]))
    var picked: [Int] = []
    for start in 0..<outer {
      for index in indices.integers {
        guard -extent..<extent ~= index else { throw node.refusal("index \(index) of an axis of \(extent)", expected: "an index in it") }
        let place = (start * extent + (index < 0 ? index + extent : index)) * inner
        picked += place..<place + inner
      }
    }
    var result = value.picking(picked, shape)
    result.inputs.formUnion(indices.inputs)
    return result
  }

  /// For each index the element that has it along one axis, and its own place along all others: GatherElements.
  static func gatherElements(_ node: ONNXNode, _ value: Literal, _ indices: Literal, _ inputs: Set<InputKind>) throws -> Literal {
    let axis = try node.axis(node.int("axis", default: 0), of: value.shape.count)
    let shape = indices.shape
    guard shape.count == value.shape.count, shape.indices.allSatisfy({ $0 == axis || shape[$0] <= value.shape[$0] }) else {
      throw node.refusal("indices of shape \(shape) into \(value.shape)", expected: "as many axes, and no longer ones")
    }
    let (strides, extent) = (rowMajorStrides(value.shape), value.shape[axis])
    var others = StridedView(offset: 0, shape: shape, strides: strides)
    others.strides[axis] = 0
    let places = try zip(indices.count == 0 ? [] : others.indices, indices.integers).map { start, index in
      guard -extent..<extent ~= index else { throw node.refusal("index \(index) of an axis of \(extent)", expected: "an index in it") }
      return start + (index < 0 ? index + extent : index) * strides[axis]
    }
    var result = value.picking(places, shape)
    result.inputs = inputs
    return result
  }

  /// An array so many times along each axis: Tile.
  static func tiled(_ node: ONNXNode, _ value: Literal, _ repeats: [Int]) throws -> Literal {
    guard repeats.count == value.shape.count, repeats.allSatisfy({ 0...Literal.mostElements ~= $0 }) else {
      throw node.refusal("repeats of \(repeats) of an array of shape \(value.shape)", expected: "a number for each axis")
    }
    let shape = try checked(node, zip(value.shape, repeats).map { $0 * $1 })
    // Each axis as two, of which the outer one repeats.
    let split = zip(value.shape, zip(rowMajorStrides(value.shape), repeats))
    let view = StridedView(offset: 0, shape: split.flatMap { [$1.1, $0] }, strides: split.flatMap { [0, $1.0] })
    return value.picking(view.count == 0 ? [] : view.indices, shape)
  }

  /// The elements, or parts, at places that lists of indices along the last axis say: GatherND.
  static func gatherND(_ node: ONNXNode, _ value: Literal, _ indices: Literal, _ inputs: Set<InputKind>) throws -> Literal {
    guard node.int("batch_dims", default: 0) == 0, let depth = indices.shape.last, depth <= value.shape.count, depth > 0 else {
      throw node.refusal("indices of shape \(indices.shape) into \(value.shape)", expected: "no batch_dims, and at most one index for each axis")
    }
    let shape = try checked(node, Array(indices.shape.dropLast()) + Array(value.shape[depth...]))
    let (strides, inner, all) = (rowMajorStrides(value.shape), value.shape[depth...].reduce(1, *), indices.integers)
    var picked: [Int] = []
    picked.reserveCapacity(shape.reduce(1, *))
    for row in 0..<all.count / depth {
      var place = 0
      for axis in 0..<depth {
        let (index, extent) = (all[row * depth + axis], value.shape[axis])
        guard -extent..<extent ~= index else { throw node.refusal("index \(index) of an axis of \(extent)", expected: "an index in it") }
        place += (index < 0 ? index + extent : index) * strides[axis]
      }
      picked += place..<place + inner
    }
    var result = value.picking(picked, shape)
    result.inputs = inputs
    return result
  }
}
