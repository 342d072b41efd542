// SPDX-License-Identifier: GPL-3.0-or-later

/// The patches of an image batch as rows of a matrix, so that a patch embedding is one matrix product.
package enum Patches {
  /// pixels [batch, channels, height, width] → y [batch, patches, channels × size × size].
  ///
  /// A row is in the order (channel, y, x) of a PyTorch `Conv2d` weight [out, channels, size, size]; patches are row-major over
  /// the image. Pixels beyond the last whole patch are left out, as a convolution of stride `size` does.
  package static func extract(
    _ pixels: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, batch: Int, channels: Int, height: Int, width: Int, size: Int
  ) {
    let (down, across) = (height / size, width / size)
    var result = y
    for sample in 0..<batch {
      for row in 0..<down {
        for column in 0..<across {
          for channel in 0..<channels {
            var source = pixels + ((sample * channels + channel) * height + row * size) * width + column * size
            for _ in 0..<size {
              result.update(from: source, count: size)
              result += size
              source += width
            }
          }
        }
      }
    }
  }
}
