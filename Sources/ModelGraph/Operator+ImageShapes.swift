// SPDX-License-Identifier: GPL-3.0-or-later

extension Operator {
  /// Checks the dimensions of convolution, pooling and batch norm.
  ///
  /// - Throws: `ModelError.inconsistent` that names the operator and what does not agree.
  func checkImageShapes(axes: [Axis], tensors: [Tensor]) throws {
    func dims(_ operand: Int) -> [AxisID] { tensors[operands[operand]].dimensions }
    func extents(_ dimensions: [AxisID]) -> [Int] { dimensions.map { axes[$0].extent } }
    func text(_ dimensions: [AxisID]) -> String { "[" + dimensions.map { "\(axes[$0].name) \(axes[$0].extent)" }.joined(separator: ", ") + "]" }
    func expect(_ condition: Bool, _ problem: @autoclosure () -> String) throws {
      if !condition { throw ModelError.inconsistent(where: name, problem: problem()) }
    }
    /// Windows that begin inside the padded image, `stride` apart.
    func windows(_ extent: Int, _ size: Int, _ stride: Int, _ padding: Int) -> Int {
      extent + 2 * padding < size ? 0 : (extent + 2 * padding - size) / stride + 1
    }
    let (x, out) = (dims(0), tensors[result].dimensions)
    try expect(x.count == 4, "reads \(text(x)); expected [batch, channels, height, width]")
    let image = extents(x)

    switch kind {
    case .convolution(let stride, let padding):
      let weight = dims(1)
      try expect(weight.count == 4 && weight[1] == x[1], "the weight is \(text(weight)); expected [outputs, \(axes[x[1]].name), height, width]")
      let kernel = extents(weight)
      let size = [windows(image[2], kernel[2], stride, padding), windows(image[3], kernel[3], stride, padding)]
      try expect(
        out.count == 4 && out[0] == x[0] && out[1] == weight[0] && Array(extents(out)[2...]) == size && size.allSatisfy { $0 > 0 },
        "gives \(text(out)); a stride of \(stride) and padding of \(padding) give images of \(size)")
    case .maxPool(let window, let stride, let padding):
      let size = [windows(image[2], window, stride, padding), windows(image[3], window, stride, padding)]
      try expect(2 * padding <= window, "padding of \(padding) is more than half a window of \(window), so that some windows hold nothing")
      try expect(
        out.count == 4 && Array(out[..<2]) == Array(x[..<2]) && Array(extents(out)[2...]) == size && size.allSatisfy { $0 > 0 },
        "gives \(text(out)); windows of \(window) with a stride of \(stride) and padding of \(padding) give images of \(size)")
    case .batchNorm:
      try expect(out == x, "must keep the shape \(text(x))")
      for operand in 1...2 { try expect(dims(operand) == [x[1]], "scale and bias must be \(text([x[1]]))") }
    case .averagePool: try expect(out == Array(x[..<2]), "gives \(text(out)); expected \(text(Array(x[..<2])))")
    default: preconditionFailure("\(kind.formatName) is no operator of images")
    }
  }
}
