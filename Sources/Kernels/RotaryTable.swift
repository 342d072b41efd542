// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Cosines and sines of rotary position embedding (Su et al. 2021) in the rotate-half layout of Hugging Face: the pair of
/// component i < d/2 is component i + d/2, d being the rotated features; those after them are copied.
///
/// As PyTorch computes it, the angle is one fp32 product, position × inverse frequency.
package struct RotaryTable: Sendable {
  /// The positions that the table covers.
  package let positions: Range<Int>
  /// How many features of a head are rotated, its first ones.
  package let rotated: Int
  private let cosines: [Float]
  private let sines: [Float]

  /// - Parameter inverseFrequencies: one per pair, so half the rotated features.
  package init(positions: Range<Int>, inverseFrequencies: [Float]) {
    self.positions = positions
    rotated = 2 * inverseFrequencies.count
    var cosines: [Float] = []
    var sines: [Float] = []
    cosines.reserveCapacity(positions.count * inverseFrequencies.count)
    sines.reserveCapacity(positions.count * inverseFrequencies.count)
    for position in positions {
      for frequency in inverseFrequencies {
        let angle = Double(Float(position) * frequency)
        cosines.append(Float(cos(angle)))
        sines.append(Float(sin(angle)))
      }
    }
    self.cosines = cosines
    self.sines = sines
  }

  /// Rotates each head of x [batch, count, heads, headSize] by its position, row i of a sample being position `start` + i.
  /// `y` may be `x`. Samples are `pitch` positions apart (`count` unless given); a head has `headSize` features (`rotated` unless given).
  package func rotate(
    _ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, batch: Int, start: Int, count: Int, heads: Int, pitch: Int? = nil,
    headSize: Int? = nil
  ) {
    apply(x, y, batch: batch, start: start, count: count, heads: heads, pitch: pitch ?? count, headSize: headSize ?? rotated, sign: 1)
  }

  /// The inverse rotation, which is the backward of `rotate`.
  package func rotateBack(
    _ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, batch: Int, start: Int, count: Int, heads: Int, pitch: Int? = nil,
    headSize: Int? = nil
  ) {
    apply(x, y, batch: batch, start: start, count: count, heads: heads, pitch: pitch ?? count, headSize: headSize ?? rotated, sign: -1)
  }

  private func apply(
    _ x: UnsafePointer<Float>, _ y: UnsafeMutablePointer<Float>, batch: Int, start: Int, count: Int, heads: Int, pitch: Int, headSize: Int,
    sign: Float
  ) {
    precondition(count == 0 || (positions.contains(start) && start + count <= positions.upperBound), "position outside the table")
    let half = rotated / 2
    cosines.withUnsafeBufferPointer { cosines in
      sines.withUnsafeBufferPointer { sines in
        guard let allCosines = cosines.baseAddress, let allSines = sines.baseAddress else { return }
        for sample in 0..<batch {
          for i in 0..<count {
            let c = allCosines + (start - positions.lowerBound + i) * half
            let s = allSines + (start - positions.lowerBound + i) * half
            for head in 0..<heads {
              let offset = ((sample * pitch + i) * heads + head) * headSize
              let (x1, y1) = (x + offset, y + offset)
              let (x2, y2) = (x1 + half, y1 + half)
              forEachLanes(half) { j, n in
                let (a, b) = (x1.lanes(j, n), x2.lanes(j, n))
                let (cosine, sine) = (c.lanes(j, n), s.lanes(j, n) * sign)
                y1.store(a * cosine - b * sine, j, n)
                y2.store(b * cosine + a * sine, j, n)
              }
              if headSize > rotated, x != UnsafePointer(y) { (y1 + rotated).update(from: x1 + rotated, count: headSize - rotated) }
            }
          }
        }
      }
    }
  }
}
