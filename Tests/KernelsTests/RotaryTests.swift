// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Kernels
import TestSupport
import Testing

struct RotaryTests {
  /// Oracle: q × cos + rotate_half(q) × sin, as in Hugging Face's `apply_rotary_pos_emb`.
  @Test(arguments: [(1, 4, 1, 0, 0), (2, 6, 3, 5, 0), (2, 3, 2, 2, 4), (1, 9, 2, 1000, 0)] as [(Int, Int, Int, Int, Int)])
  func rotatesHalves(_ batch: Int, _ count: Int, _ heads: Int, _ start: Int, _ extraPitch: Int) {
    let half = 11
    let frequencies = (0..<half).map { Float(pow(10000, -Double($0) / Double(half))) }
    let table = RotaryTable(positions: start..<start + count + 3, inverseFrequencies: frequencies)
    let pitch = count + extraPitch
    var samples = SeededGenerator(seed: UInt64(start))
    let x = samples.floats(batch * pitch * heads * 2 * half)
    var expected = [Double](repeating: 77, count: x.count)
    for b in 0..<batch {
      for i in 0..<count {
        for h in 0..<heads {
          let offset = ((b * pitch + i) * heads + h) * 2 * half
          for c in 0..<2 * half {
            let angle = Double(Float(start + i) * frequencies[c % half])
            let rotated = c < half ? -Double(x[offset + c + half]) : Double(x[offset + c - half])
            expected[offset + c] = Double(x[offset + c]) * cos(angle) + rotated * sin(angle)
          }
        }
      }
    }
    var y = [Float](repeating: 77, count: x.count)
    table.rotate(x, into: &y, batch: batch, start: start, count: count, heads: heads, pitch: pitch)
    #expect(worstError(y, expected) <= 3 * epsilon)

    // Features after the rotated ones are copied, whatever the size of a head.
    let size = 2 * half + 5
    var padded: [Float] = []
    for head in 0..<x.count / (2 * half) { padded += x[head * 2 * half..<(head + 1) * 2 * half] + [1, 2, 3, 4, 5] }
    var partial = [Float](repeating: 77, count: padded.count)
    table.rotate(padded, into: &partial, batch: batch, start: start, count: count, heads: heads, pitch: pitch, headSize: size)
    for index in padded.indices {
      let (head, feature) = (index / size, index % size)
      // A head of which nothing was written has 77s only.
      let isWritten = y[head * 2 * half] != 77
      let expected = feature < 2 * half ? y[head * 2 * half + feature] : isWritten ? padded[index] : 77
      #expect(partial[index] == expected)
    }
    var inPlace = padded
    inPlace.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      table.rotate(base, into: base, batch: batch, start: start, count: count, heads: heads, pitch: pitch, headSize: size)
    }
    #expect(zip(partial, inPlace).allSatisfy { $0 == 77 || $0 == $1 })

    // The inverse of a rotation restores its argument; 77s stay where no position is.
    var back = [Float](repeating: 77, count: x.count)
    table.rotateBack(y, into: &back, batch: batch, start: start, count: count, heads: heads, pitch: pitch)
    let restored = x.indices.map { $0 / (2 * half * heads) % pitch < count ? Double(x[$0]) : 77 }
    #expect(worstError(back, restored) <= 6 * epsilon)
  }
}
