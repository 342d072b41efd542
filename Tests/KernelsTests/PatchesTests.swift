// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Testing

struct PatchesTests {
  /// Oracle: the index formula; 7 × 5 pixels leave a row and a column that no 2 × 2 patch reaches.
  @Test(arguments: [(4, 6, 2), (7, 5, 2), (3, 3, 3)] as [(Int, Int, Int)])
  func orderOfConv2d(_ height: Int, _ width: Int, _ size: Int) {
    let (batch, channels) = (2, 3)
    let pixels = (0..<batch * channels * height * width).map(Float.init)
    let (down, across) = (height / size, width / size)
    var expected: [Float] = []
    for b in 0..<batch {
      for patch in 0..<down * across {
        for c in 0..<channels {
          for y in 0..<size {
            for x in 0..<size {
              let (row, column) = (patch / across * size + y, patch % across * size + x)
              expected.append(pixels[((b * channels + c) * height + row) * width + column])
            }
          }
        }
      }
    }
    var rows = [Float](repeating: 77, count: expected.count + 1)
    Patches.extract(pixels, into: &rows, batch: batch, channels: channels, height: height, width: width, size: size)
    #expect(rows == expected + [77])
  }
}
