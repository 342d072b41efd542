// SPDX-License-Identifier: GPL-3.0-or-later

/// splitmix64 (Steele, Lea and Flood 2014): the same numbers for the same seed on every machine, so that a test's randomness is its seed.
public struct SeededGenerator: RandomNumberGenerator, Sendable {
  private var state: UInt64

  /// Neighbouring seeds start far apart.
  public init(seed: some BinaryInteger) { state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }

  public mutating func pick<T>(_ values: [T]) -> T { values[Int.random(in: values.indices, using: &self)] }
  public mutating func chance(_ share: Double) -> Bool { Double.random(in: 0..<1, using: &self) < share }
  public mutating func int(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self) }

  public mutating func floats(_ count: Int, in range: ClosedRange<Float> = -1...1) -> [Float] {
    (0..<count).map { _ in Float.random(in: range, using: &self) }
  }
}
