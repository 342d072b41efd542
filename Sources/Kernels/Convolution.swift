// SPDX-License-Identifier: GPL-3.0-or-later

/// A convolution of one group as a matrix product of each sample: the windows of the image are laid out as columns first (im2col; Chellapilla,
/// Puri, Simard 2006).
///
/// Per sample x is [inputs, height, width], y [outputs, rows, columns]; the weight is [outputs, inputs, kernelHeight, kernelWidth].
package struct Convolution: Sendable {
  package let inputs: Int
  package let height: Int
  package let width: Int
  package let outputs: Int
  package let kernelHeight: Int
  package let kernelWidth: Int
  package let stride: Int
  package let padding: Int
  package let rows: Int
  package let columns: Int

  package init(inputs: Int, height: Int, width: Int, outputs: Int, kernelHeight: Int, kernelWidth: Int, stride: Int, padding: Int) {
    self.inputs = inputs
    self.height = height
    self.width = width
    self.outputs = outputs
    self.kernelHeight = kernelHeight
    self.kernelWidth = kernelWidth
    self.stride = stride
    self.padding = padding
    rows = (height + 2 * padding - kernelHeight) / stride + 1
    columns = (width + 2 * padding - kernelWidth) / stride + 1
  }

  private var depth: Int { inputs * kernelHeight * kernelWidth }
  private var positions: Int { rows * columns }
  /// Windows of one pixel each are the image itself.
  private var isPointwise: Bool { kernelHeight == 1 && kernelWidth == 1 && stride == 1 && padding == 0 }

  /// The floats of scratch memory that `forward` and `backward` take.
  package var scratchCount: Int { isPointwise ? 0 : depth * positions }

  /// y = w * x.
  package func forward(
    _ x: UnsafePointer<Float>, weight: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, batch: Int, scratch: UnsafeMutablePointer<Float>
  ) {
    for sample in 0..<batch {
      let windows = windows(of: x + sample * inputs * height * width, in: scratch)
      BLAS.gemm(
        .no, .no, m: outputs, n: positions, k: depth, a: weight, lda: depth, b: windows, ldb: positions, c: y + sample * outputs * positions,
        ldc: positions)
    }
  }

  /// dw += Σ dy xᵀ (or = where `replaces`), over the samples.
  package func accumulateWeightGradient(
    _ x: UnsafePointer<Float>, dy: UnsafePointer<Float>, into dw: UnsafeMutablePointer<Float>, replaces: Bool, batch: Int,
    scratch: UnsafeMutablePointer<Float>
  ) {
    for sample in 0..<batch {
      let windows = windows(of: x + sample * inputs * height * width, in: scratch)
      BLAS.gemm(
        .no, .yes, m: outputs, n: depth, k: positions, a: dy + sample * outputs * positions, lda: positions, b: windows, ldb: positions,
        beta: replaces && sample == 0 ? 0 : 1, c: dw, ldc: depth)
    }
  }

  /// dx = wᵀ * dy, overwritten.
  package func inputGradient(
    dy: UnsafePointer<Float>, weight: UnsafePointer<Float>, into dx: UnsafeMutablePointer<Float>, batch: Int, scratch: UnsafeMutablePointer<Float>
  ) {
    for sample in 0..<batch {
      let image = dx + sample * inputs * height * width
      BLAS.gemm(
        .yes, .no, m: depth, n: positions, k: outputs, a: weight, lda: depth, b: dy + sample * outputs * positions, ldb: positions,
        c: isPointwise ? image : scratch, ldc: positions)
      if !isPointwise { addWindows(scratch, to: image) }
    }
  }

  /// Each pixel's values in all windows, [inputs · kernelHeight · kernelWidth, rows · columns]; zeros outside the image.
  private func windows(of image: UnsafePointer<Float>, in scratch: UnsafeMutablePointer<Float>) -> UnsafePointer<Float> {
    if isPointwise { return image }
    forEachLine { line, source, inside in
      let target = scratch + line * columns
      for column in 0..<columns where !inside.contains(column) { target[column] = 0 }
      guard let source else { return }
      for column in inside { target[column] = image[source + column * stride] }
    }
    return UnsafePointer(scratch)
  }

  /// The reverse: adds the windows' values up in the image.
  private func addWindows(_ windows: UnsafePointer<Float>, to image: UnsafeMutablePointer<Float>) {
    image.update(repeating: 0, count: inputs * height * width)
    forEachLine { line, source, inside in
      guard let source else { return }
      let values = windows + line * columns
      for column in inside { image[source + column * stride] += values[column] }
    }
  }

  /// For each line of `columns` windows' values: its number, where in the image that of column 0 would be, and the columns that lie inside; nil
  /// and none where the line lies outside.
  @inline(__always)
  private func forEachLine(_ body: (_ line: Int, _ source: Int?, _ inside: Range<Int>) -> Void) {
    var line = 0
    for input in 0..<inputs {
      for y in 0..<kernelHeight {
        for x in 0..<kernelWidth {
          // stride · column + x − padding lies in 0 ..< width.
          let first = min(columns, max(0, (padding - x + stride - 1) / stride))
          let end = max(first, min(columns, (width - 1 + padding - x + stride) / stride))
          for row in 0..<rows {
            let position = row * stride + y - padding
            if position >= 0 && position < height {
              body(line, (input * height + position) * width + x - padding, first..<end)
            } else {
              body(line, nil, 0..<0)
            }
            line += 1
          }
        }
      }
    }
  }
}
