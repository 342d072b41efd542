// SPDX-License-Identifier: GPL-3.0-or-later

/// Batch normalisation (Ioffe and Szegedy 2015): each channel over all samples and positions. y = (x − mean) rstd w + b.
///
/// x, y, dx and dy are [batch, channels, positions]; everything else is [channels]. Sums are of this rank's samples: between the steps
/// they are added up over the ranks, and the divisor is the number of all samples' positions.
package struct BatchNorm: Sendable {
  package let batch: Int
  package let channels: Int
  package let positions: Int

  package init(batch: Int, channels: Int, positions: Int) {
    self.batch = batch
    self.channels = channels
    self.positions = positions
  }

  /// Calls `body` with each channel and, of all its samples, where the channel's values begin.
  @inline(__always)
  private func forEachPlane(_ body: (_ channel: Int, _ start: Int) -> Void) {
    for sample in 0..<batch { for channel in 0..<channels { body(channel, (sample * channels + channel) * positions) } }
  }

  /// sum = Σ x
  package func sum(_ x: UnsafePointer<Float>, into sum: UnsafeMutablePointer<Float>) {
    sum.update(repeating: 0, count: channels)
    forEachPlane { channel, start in sum[channel] += sumLanes(x + start, count: positions) { $0 } }
  }

  /// sum = Σ (x − mean)²
  package func sumOfSquares(_ x: UnsafePointer<Float>, mean: UnsafePointer<Float>, into sum: UnsafeMutablePointer<Float>) {
    sum.update(repeating: 0, count: channels)
    forEachPlane { channel, start in
      let m = mean[channel]
      sum[channel] += sumLanes(x + start, count: positions) { ($0 - m) * ($0 - m) }
    }
  }

  package func forward(
    _ x: UnsafePointer<Float>, weight: UnsafePointer<Float>, bias: UnsafePointer<Float>, mean: UnsafePointer<Float>, rstd: UnsafePointer<Float>,
    into y: UnsafeMutablePointer<Float>
  ) {
    forEachPlane { channel, start in
      let (m, scale, b) = (mean[channel], rstd[channel] * weight[channel], Lanes(repeating: bias[channel]))
      forEachLanes(positions) { j, n in (y + start).store(b.addingProduct((x + start).lanes(j, n) - m, Lanes(repeating: scale)), j, n) }
    }
  }

  /// sum = Σ dy, projection = Σ dy x̂: the gradients of bias and weight.
  package func gradientSums(
    _ x: UnsafePointer<Float>, mean: UnsafePointer<Float>, rstd: UnsafePointer<Float>, dy: UnsafePointer<Float>,
    sum: UnsafeMutablePointer<Float>, projection: UnsafeMutablePointer<Float>
  ) {
    sum.update(repeating: 0, count: channels)
    projection.update(repeating: 0, count: channels)
    forEachPlane { channel, start in
      let (m, r) = (mean[channel], rstd[channel])
      var (total, product) = (Lanes.zero, Lanes.zero)
      forEachLanes(positions) { j, n in
        let d = (dy + start).lanes(j, n)
        total += d
        // A partial vector's other lanes have d = 0.
        product.addProduct(d, ((x + start).lanes(j, n) - m) * r)
      }
      sum[channel] += total.pairwiseSum()
      projection[channel] += product.pairwiseSum()
    }
  }

  /// dx = rstd w (dy − sum / count − x̂ projection / count), with the sums of all ranks; `dx` may be `dy`.
  package func inputGradient(
    _ x: UnsafePointer<Float>, weight: UnsafePointer<Float>, mean: UnsafePointer<Float>, rstd: UnsafePointer<Float>, dy: UnsafePointer<Float>,
    sum: UnsafePointer<Float>, projection: UnsafePointer<Float>, count: Int, into dx: UnsafeMutablePointer<Float>
  ) {
    forEachPlane { channel, start in
      let (m, r) = (mean[channel], rstd[channel])
      let (meanG, meanGX) = (sum[channel] / Float(count), projection[channel] / Float(count))
      let scale = r * weight[channel]
      forEachLanes(positions) { j, n in
        let normalised = ((x + start).lanes(j, n) - m) * r
        let g = (dy + start).lanes(j, n) - meanG
        (dx + start).store(g.addingProduct(normalised, Lanes(repeating: -meanGX)) * scale, j, n)
      }
    }
  }
}
