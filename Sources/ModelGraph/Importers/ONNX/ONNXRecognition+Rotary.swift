// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Rotary position embedding: x · cos + rotate(x) · sin, where rotate gives the second half of the features, negated, and then the first.
extension ONNXRecognition {
  /// What the steps of one rotation read.
  private struct Rotation {
    /// The value that is rotated.
    let source: Int
    let cosines: Literal
    let sines: Literal
    let width: Int
  }

  /// All features of every head.
  mutating func rotary(_ index: Int) throws -> ONNXPlaced? {
    guard let rotation = rotation(index), let node = node(index).node, let x = try placed(.data(rotation.source)) else { return nil }
    return try rotated(x, rotation, node)
  }

  /// The first features of every head; the others follow as they are.
  mutating func partialRotary(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, node.op == "Concat", value.operands.count == 2, let sum = value.operands[0].data, let rest = value.operands[1].data,
      let rotation = rotation(sum), let first = lastAxisPart(rotation.source), let second = lastAxisPart(rest), first.source == second.source,
      first.range == 0..<rotation.width, second.range.lowerBound == rotation.width,
      value.shape == self.node(first.source).shape, let x = try placed(.data(first.source))
    else { return nil }
    return try rotated(x, rotation, node)
  }

  private mutating func rotated(_ x: ONNXPlaced, _ rotation: Rotation, _ node: ONNXNode) throws -> ONNXPlaced? {
    let dimensions = self.dimensions(x.op)
    guard let features = x.axes.last.map(axes.leaves), features.count == 1, dimensions.count >= 3, dimensions.last == features[0],
      let positions = x.axes.firstIndex(where: { axes.leaves($0) == [dimensions[1]] })
    else {
      throw node.refusal("a rotation of \(x.axes.map(axes.product))", expected: "the features of heads, with positions on an axis of their own")
    }
    let base = try base(rotation, axis: x.axes.count - positions, node)
    let size = axes.extent(features[0])
    let parameters = RotaryParameters(base: base, rotated: rotation.width == size ? nil : rotation.width)
    let op = emit(.rotary(parameters), [.result(x.op)], operators[x.op].dimensions, node, suffix: "rotary")
    return ONNXPlaced(op: op, axes: x.axes)
  }

  /// The rotation that a sum is; nil where it is none.
  private func rotation(_ index: Int) -> Rotation? {
    let sum = node(index)
    guard sum.op == "Add", sum.operands.count == 2 else { return nil }
    for (plain, turned) in [(0, 1), (1, 0)] {
      guard let a = product(sum.operands[plain]), let b = product(sum.operands[turned]), let width = sum.shape.last, width % 2 == 0,
        node(b.data).op == "Concat", node(b.data).operands.count == 2, node(b.data).shape.last == width,
        let negated = node(b.data).operands[0].data, node(negated).op == "Neg", let second = node(negated).operands.first?.data.flatMap(lastAxisPart),
        let first = node(b.data).operands[1].data.flatMap(lastAxisPart), first.source == a.data, second.source == a.data,
        first.range == 0..<width / 2, second.range == width / 2..<width
      else { continue }
      return Rotation(source: a.data, cosines: a.factor, sines: b.factor, width: width)
    }
    return nil
  }

  /// A product of data and numbers that depend on positions alone.
  private func product(_ value: ONNXValue) -> (data: Int, factor: Literal)? {
    guard let index = value.data, node(index).op == "Mul", node(index).operands.count == 2 else { return nil }
    for (data, other) in [(0, 1), (1, 0)] {
      let operands = node(index).operands
      if let x = operands[data].data, let factor = evaluation.literal(operands[other]), factor.inputs.isEmpty { return (x, factor) }
    }
    return nil
  }

  /// The part of a value's last axis that another is.
  private func lastAxisPart(_ index: Int) -> (source: Int, range: Range<Int>)? {
    let value = node(index)
    guard let node = value.node, let source = value.operands.first?.data else { return nil }
    let shape = self.node(source).shape
    if node.op == "Slice", let slices = try? ViewOperators.slices(node, shape, otherOperands(value)), slices.count == 1,
      slices[0].axis == shape.count - 1,
      slices[0].step == 1
    {
      return (source, slices[0].start..<slices[0].start + slices[0].count)
    }
    if node.op == "Split", let parts = try? ViewOperators.parts(node, shape, otherOperands(value)), parts.axis == shape.count - 1 {
      let start = parts.sizes.prefix(value.output).reduce(0, +)
      return (source, start..<start + parts.sizes[value.output])
    }
    return nil
  }

  /// The base of which the tables are cos and sin of position · base^(−2i/d).
  ///
  /// - Parameter axis: which axis of the tables has the positions, from the last, which is 1.
  /// - Throws: `ModelError.unmapped` for tables of other angles.
  private func base(_ rotation: Rotation, axis: Int, _ node: ONNXNode) throws -> Double {
    let (shape, half) = (rotation.cosines.shape, rotation.width / 2)
    let refusal = node.refusal(
      "a rotation by other angles", expected: "position · base^(−2i/d) for feature i of d, without scaled frequencies")
    guard rotation.sines.shape == shape, shape.last == rotation.width, axis >= 2, axis <= shape.count else { throw refusal }
    let place = shape.count - axis
    let stride = rowMajorStrides(shape)[place]
    let (cosines, sines, positions) = (rotation.cosines.reals, rotation.sines.reals, shape[place])
    guard positions > 1 else { throw refusal }
    // The lowest frequency tells the base best; the first is 1 for every base.
    let angle = atan2(sines[stride + half - 1], cosines[stride + half - 1])
    var base = 10000.0
    if half > 1 {
      let exact = pow(angle, -Double(half) / Double(half - 1))
      guard angle > 0, exact.isFinite, exact >= 1 else { throw refusal }
      let unit = pow(10, (log10(exact)).rounded(.down) - 3)
      base = (exact / unit).rounded() * unit
    }
    for index in cosines.indices {
      let (position, feature) = (index / stride % positions, index % rotation.width % half)
      let angle = Double(position) * pow(base, -Double(feature) / Double(half))
      // Tables of 32 bits have angles that are off by what a position times the last bit of a frequency is.
      let tolerance = 1e-5 + Double(position) * 1e-6
      guard abs(cos(angle) - cosines[index]) < tolerance, abs(sin(angle) - sines[index]) < tolerance else { throw refusal }
    }
    return base
  }
}
