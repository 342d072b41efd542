// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import ModelGraph

extension RotaryParameters {
  /// The angle per position of each pair of components, base^(−2i/d), computed in fp32 as `transformers` does, so that the angles of far
  /// positions are the ones a model was trained with.
  func inverseFrequencies(headSize: Int) -> [Float] {
    let rotated = self.rotated ?? headSize
    let plain = stride(from: 0, to: rotated, by: 2).map { 1 / Float(pow(base, Double(Float($0) / Float(rotated)))) }
    guard let scaling else { return plain }
    return plain.map(scaling.apply)
  }
}

extension RotaryParameters.Llama3Scaling {
  /// `_compute_llama3_parameters` of `transformers`: wavelengths above the original context / `lowFrequencyFactor` are divided by `factor`,
  /// those below the original context / `highFrequencyFactor` are kept, and those between are mixed.
  fileprivate func apply(_ frequency: Float) -> Float {
    let wavelength = 2 * Float.pi / frequency
    let context = Float(originalMaxPositions)
    if wavelength > context / Float(lowFrequencyFactor) { return frequency / Float(factor) }
    if wavelength < context / Float(highFrequencyFactor) { return frequency }
    let smooth = (context / wavelength - Float(lowFrequencyFactor)) / Float(highFrequencyFactor - lowFrequencyFactor)
    return (1 - smooth) * (frequency / Float(factor)) + smooth * frequency
  }
}
