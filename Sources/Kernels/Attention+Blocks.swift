// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

extension Attention {
  /// The query heads of one kv head as rows (position, head) of one matrix: larger products, and one layout for any grouping.
  func pack(
    _ x: UnsafePointer<Float>, into packed: UnsafeMutablePointer<Float>, sample: Int, kvHead: Int, positions: Range<Int>
  ) {
    let width = group * headDim
    for (i, position) in positions.enumerated() {
      let source = x + (sample * queryPitch + position) * queryRowStride + kvHead * width
      (packed + i * width).update(from: source, count: width)
    }
  }

  /// The inverse of `pack`.
  func unpack(
    _ packed: UnsafePointer<Float>, into x: UnsafeMutablePointer<Float>, sample: Int, kvHead: Int, positions: Range<Int>
  ) {
    let width = group * headDim
    for (i, position) in positions.enumerated() {
      let destination = x + (sample * queryPitch + position) * queryRowStride + kvHead * width
      destination.update(from: packed + i * width, count: width)
    }
  }

  /// Scores of hidden keys become -inf, whose exponential is exactly 0.
  func hide(_ mask: UnsafePointer<UInt8>, _ scores: UnsafeMutablePointer<Float>, rows: Int, columns: Int) {
    for column in 0..<columns where mask[column] == 0 {
      var score = scores + column
      for _ in 0..<rows {
        score.pointee = -.infinity
        score += columns
      }
    }
  }

  func logarithm(_ x: Float) -> Float { log(x) }
}
