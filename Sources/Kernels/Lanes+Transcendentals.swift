// SPDX-License-Identifier: GPL-3.0-or-later

// Vectorised transcendental functions. The polynomials are weighted minimax fits in double precision (Lawson's iteration on
// 4000 Chebyshev nodes), their error is below 0.1 ulp before rounding; the bounds stated are those of the whole function and
// are tested against the C library's double precision over the range. A NaN stays a NaN.

extension SIMD8<Float> {
  private static var largestExponent: Float { 88.3762 }
  private static var smallestExponent: Float { -87.3365 }

  /// e^x to 1 ulp on [-87.3365, 88.3762]; 0 below (also for -inf: a masked score), saturated above.
  @inline(__always)
  func exp() -> Self {
    let x = replacing(with: Self.largestExponent, where: self .> Self.largestExponent)
    // x = n ln 2 + r, |r| <= ln 2 / 2. Adding 1.5 × 2^23 rounds to an integer and leaves n in the low bits.
    let shifter = Self(repeating: 12_582_912)
    let shifted = shifter.addingProduct(x, Self(repeating: 1.442_695_04))
    let n = shifted - shifter
    // ln 2 in two parts, the first with 15 zero bits at its end: n × it is exact.
    var r = x.addingProduct(n, Self(repeating: -0.693_359_375))
    r = r.addingProduct(n, Self(repeating: 2.121_944_4e-4))
    // Estrin's scheme: these functions are bound by latency.
    let square = r * r
    let low = Self(repeating: 0.5).addingProduct(Self(repeating: 0.166_665_181_517_601), r)
    let high = Self(repeating: 0.041_666_202_247_142_79).addingProduct(Self(repeating: 0.008_369_024_842_977_524), r)
    let top = high.addingProduct(Self(repeating: 0.001_395_072_555_169_463_2), square)
    let p = 1 + r.addingProduct(square, low.addingProduct(top, square))
    let bits = unsafeBitCast(shifted, to: SIMD8<Int32>.self)
    let scale = unsafeBitCast((bits &+ 127) &<< 23, to: Self.self)
    return (p * scale).replacing(with: 0, where: self .< Self.smallestExponent)
  }

  /// 1 / (1 + e^-x) to 2 ulp (relative; below x = -88 it saturates at 4e-39).
  @inline(__always)
  func sigmoid() -> Self { 1 / (1 + (-self).exp()) }

  /// tanh x to 1.5 ulp.
  @inline(__always)
  func tanh() -> Self {
    let magnitude = self.magnitudes()
    // Small: x + x z P(z), z = x². Large: 1 - 2 / (e^2|x| + 1), which would cancel near 0.
    let z = self * self
    var p = Self(repeating: -0.005_591_015_797_108_412)
    p = Self(repeating: 0.020_538_819_953_799_248).addingProduct(p, z)
    p = Self(repeating: -0.053_709_656_000_137_33).addingProduct(p, z)
    p = Self(repeating: 0.133_310_928_940_773).addingProduct(p, z)
    p = Self(repeating: -0.333_332_687_616_348_27).addingProduct(p, z)
    let small = self.addingProduct(self * z, p)
    let large = (1 - 2 / ((2 * magnitude).exp() + 1)).withSigns(of: self)
    return small.replacing(with: large, where: magnitude .> 0.625)
  }

  /// erf x to 1.5 ulp.
  @inline(__always)
  func erf() -> Self {
    let magnitude = self.magnitudes()
    // Small: x + x P(x²). Large: 1 - exp(-t + t Q(t)), t = |x|, at most 4 where erf has rounded to 1.
    let z = self * self
    var p = Self(repeating: 8.251_005_056_081_34e-05)
    p = Self(repeating: -0.000_811_404_897_831_380_4).addingProduct(p, z)
    p = Self(repeating: 0.005_198_462_866_246_7).addingProduct(p, z)
    p = Self(repeating: -0.026_858_344_674_110_413).addingProduct(p, z)
    p = Self(repeating: 0.112_836_763_262_748_72).addingProduct(p, z)
    p = Self(repeating: -0.376_126_319_169_998_17).addingProduct(p, z)
    p = Self(repeating: 0.128_379_166_126_251_22).addingProduct(p, z)
    let small = self.addingProduct(self, p)
    let t = magnitude.replacing(with: 4, where: magnitude .> 4)
    let square = t * t
    let low = Self(repeating: -0.128_514_364_361_763).addingProduct(Self(repeating: -0.635_718_286_037_445_1), t)
    let middle = Self(repeating: -0.105_261_847_376_823_43).addingProduct(Self(repeating: 0.022_889_966_145_157_814), t)
    let high = Self(repeating: -0.003_214_956_261_217_594).addingProduct(Self(repeating: 0.000_213_985_025_766_305_63), t)
    let q = low.addingProduct(middle.addingProduct(high, square), square)
    let large = (1 - (t * q - t).exp()).withSigns(of: self)
    return small.replacing(with: large, where: magnitude .> 0.9275)
  }

  /// √x to 1 ulp for finite normal x >= 0, and 0 of 0. (The standard library's takes eight scalar roots with a branch each.)
  @inline(__always)
  func root() -> Self {
    let bits = unsafeBitCast(self, to: SIMD8<UInt32>.self)
    var y = unsafeBitCast(SIMD8<UInt32>(repeating: 0x5F37_59DF) &- (bits &>> 1), to: Self.self)  // 1 / √x to 3.4 %
    let half = self * 0.5
    for _ in 0..<3 { y *= Self(repeating: 1.5).addingProduct(half * y, -y) }  // Newton: 3.4 % → 2e-3 → 5e-6 → 4e-11
    let s = self * y
    return s.addingProduct(self.addingProduct(s, -s), 0.5 * y)
  }

  @inline(__always)
  private func magnitudes() -> Self {
    unsafeBitCast(unsafeBitCast(self, to: SIMD8<UInt32>.self) & 0x7FFF_FFFF, to: Self.self)
  }

  @inline(__always)
  private func withSigns(of other: Self) -> Self {
    let sign = unsafeBitCast(other, to: SIMD8<UInt32>.self) & 0x8000_0000
    return unsafeBitCast(unsafeBitCast(self, to: SIMD8<UInt32>.self) | sign, to: Self.self)
  }
}
