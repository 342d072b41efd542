// SPDX-License-Identifier: GPL-3.0-or-later

/// Pooling of images [height, width], plane by plane.
package enum Pooling {
  /// y[row, column] = the largest value of a square window; pixels outside do not count.
  package static func maximum(
    _ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, planes: Int, height: Int, width: Int, rows: Int, columns: Int, size: Int,
    stride: Int, padding: Int
  ) {
    forEachMaximum(x, planes: planes, height: height, width: width, rows: rows, columns: columns, size: size, stride: stride, padding: padding) {
      y[$0] = x[$1]
    }
  }

  /// dx = dy at each window's largest value, the first of equal ones; 0 elsewhere.
  package static func maximumGradient(
    _ x: UnsafePointer<Float>, dy: UnsafePointer<Float>, into dx: UnsafeMutablePointer<Float>, planes: Int, height: Int, width: Int, rows: Int,
    columns: Int, size: Int, stride: Int, padding: Int
  ) {
    dx.update(repeating: 0, count: planes * height * width)
    forEachMaximum(x, planes: planes, height: height, width: width, rows: rows, columns: columns, size: size, stride: stride, padding: padding) {
      dx[$1] += dy[$0]
    }
  }

  @inline(__always)
  private static func forEachMaximum(
    _ x: UnsafePointer<Float>, planes: Int, height: Int, width: Int, rows: Int, columns: Int, size: Int, stride: Int, padding: Int,
    _ body: (_ window: Int, _ place: Int) -> Void
  ) {
    var window = 0
    for plane in 0..<planes {
      for row in 0..<rows {
        let (top, bottom) = (max(0, row * stride - padding), min(height, row * stride - padding + size))
        for column in 0..<columns {
          let (left, right) = (max(0, column * stride - padding), min(width, column * stride - padding + size))
          var best = (plane * height + top) * width + left
          for y in top..<bottom {
            for place in (plane * height + y) * width + left..<(plane * height + y) * width + right where x[place] > x[best] { best = place }
          }
          body(window, best)
          window += 1
        }
      }
    }
  }

  /// y[plane] = mean of x's plane.
  package static func average(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, planes: Int, positions: Int) {
    for plane in 0..<planes { y[plane] = sumLanes(x + plane * positions, count: positions) { $0 } / Float(positions) }
  }

  /// dx = dy / positions all over the plane.
  package static func averageGradient(_ dy: UnsafePointer<Float>, into dx: UnsafeMutablePointer<Float>, planes: Int, positions: Int) {
    for plane in 0..<planes { (dx + plane * positions).update(repeating: dy[plane] / Float(positions), count: positions) }
  }
}
