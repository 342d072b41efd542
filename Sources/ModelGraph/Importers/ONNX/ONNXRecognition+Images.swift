// SPDX-License-Identifier: GPL-3.0-or-later

/// The parts of models that read images.
extension ONNXRecognition {
  /// The axes of an input.
  mutating func inputAxes(_ kind: InputKind) -> [AxisTable.Class] {
    guard kind == .pixelValues else { return [batch, sequence] }
    if let image { return image }
    let shape = evaluation.data.first { $0.input == kind }?.shape ?? [1, 1, 1, 1]
    let own = [axes.add(shape[1], .whole, "channels"), axes.add(shape[2], .whole, "height"), axes.add(shape[3], .whole, "width")]
    image = [batch] + own
    return [batch] + own
  }

  /// A convolution of patches that do not overlap: a linear layer of each patch.
  mutating func patches(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count >= 2, let pixels = value.operands[0].data, self.node(pixels).input == .pixelValues,
      let kernel = value.operands[1].weight, kernel.view == StridedView(whole: kernel.view.shape)
    else { return nil }
    let (shape, size) = (kernel.view.shape, kernel.view.shape[2])
    _ = inputAxes(.pixelValues)
    let patches = axes.add(value.shape[2] * value.shape[3], .whole, "patches")
    let patch = axes.add(shape[1] * size * size, .whole, "patch")
    let hidden = axes.add(shape[0], .feature, "hidden")
    let path = modulePath(of: kernel.tensor)
    let cut = emit(.patches(size: size), [.input(.pixelValues)], [batch, patches, patch], node, path: path, suffix: "patches")
    let weight = ONNXParameter(
      tensor: kernel.tensor, offset: 0, dimensions: [.init(axis: hidden, stride: shape[1] * size * size), .init(axis: patch, stride: 1)])
    var op = emit(.linear, [.result(cut), .parameter(weight)], [batch, patches, hidden], node, path: path, suffix: "")
    if value.operands.count > 2, !value.operands[2].isAbsent {
      guard let bias = value.operands[2].weight, bias.view.shape == [shape[0]] else { throw node.refusal("a sum with data", expected: "a bias") }
      let parameter = ONNXParameter(tensor: bias.tensor, offset: bias.view.offset, dimensions: [.init(axis: hidden, stride: bias.view.strides[0])])
      op = emit(.bias, [.result(op), .parameter(parameter)], [batch, patches, hidden], node, path: path, suffix: "bias")
    }
    guard let sides = axes.regroup([[patches]], to: [value.shape[2], value.shape[3]]) else { return nil }
    return ONNXPlaced(op: op, axes: [[batch], [hidden]] + sides)
  }

  /// A learned token before the positions of every sample.
  mutating func prependToken(_ index: Int) throws -> ONNXPlaced? {
    let value = node(index)
    guard let node = value.node, value.operands.count == 2, value.shape.count == 3, let token = value.operands[0].weight,
      let x = try placed(value.operands[1]),
      try node.axis(node.int("axis", default: 0), of: 3) == 1, token.view.shape[1] == 1, token.view.strides[0] == 0 || token.view.shape[0] == 1,
      leaves(x) == dimensions(x.op)
    else { return nil }
    let features = axes.leaves(x.axes[2])
    guard features.count == 1 else { return nil }
    let positions = axes.add(value.shape[1], .sequence, "seq")
    let parameter = ONNXParameter(
      tensor: token.tensor, offset: token.view.offset, dimensions: [.init(axis: features[0], stride: token.view.strides[2])])
    let result = axes.leaves(x.axes[0]) + [positions] + features
    let op = emit(.prependToken, [.result(x.op), .parameter(parameter)], result, node, path: stored[token.tensor].name, suffix: "")
    return ONNXPlaced(op: op, axes: [x.axes[0], [positions], features])
  }
}
