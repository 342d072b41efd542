// SPDX-License-Identifier: GPL-3.0-or-later

/// Deterministic weights, tokens and pixels: splitmix64 (Steele, Lea & Flood 2014) keyed by seed and parameter name and indexed
/// by the flat position in the checkpoint's shape. Any rank makes any shard alone, and every sharding gives the same model.
///
/// All integer arithmetic is modulo 2^64; every value is exact, and the same on every machine.
package struct ValueGenerator: Sendable, Equatable {
  package var seed: UInt64

  package init(seed: UInt64) { self.seed = seed }

  /// What a parameter's numbers look like, f being uniform in [-1, 1).
  package enum Rule: Sendable {
    /// f
    case uniform
    /// 0.02 f: weights and biases.
    case weight
    /// 1 + 0.02 f, rounded twice: weights of norms.
    case normWeight
  }

  /// mix(seed × golden ⊕ FNV-1a(name)): the state in which `name`'s splitmix64 starts.
  package func key(_ name: String) -> UInt64 {
    var hash: UInt64 = 0xCBF2_9CE4_8422_2325
    for byte in name.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
    return Self.mix(seed &* Self.golden ^ hash)
  }

  /// Output number `index` (from 0) of the generator that starts in `key`.
  @inline(__always)
  package static func bits(key: UInt64, _ index: Int) -> UInt64 { mix(key &+ (UInt64(bitPattern: Int64(index)) &+ 1) &* golden) }

  /// Output `index` as an fp32 number in [-1, 1), a multiple of 2^-23: no rounding.
  @inline(__always)
  package static func uniform(key: UInt64, _ index: Int) -> Float {
    Float(Int32(truncatingIfNeeded: bits(key: key, index) >> 40)) * 0x1p-23 - 1
  }

  /// Writes a box of the parameter `name`, row-major and contiguous: y[i…] = value(offset + Σ_d strides[d] i_d).
  ///
  /// `offset` and `strides` are in elements of the checkpoint's tensor, so a shard, a transposed or a repeated axis (stride 0)
  /// is a choice of these numbers.
  package func fill(
    _ y: UnsafeMutablePointer<Float>, name: String, rule: Rule, offset: Int, strides: [Int], extents: [Int]
  ) {
    precondition(strides.count == extents.count, "one stride per axis")
    var next = y
    Self.fill(&next, key: key(name), rule: rule, offset: offset, strides: strides[...], extents: extents[...])
  }

  private static func fill(
    _ next: inout UnsafeMutablePointer<Float>, key: UInt64, rule: Rule, offset: Int, strides: ArraySlice<Int>, extents: ArraySlice<Int>
  ) {
    guard extents.count > 1, let stride = strides.first, let extent = extents.first else {
      let count = extents.first ?? 1
      run(next, key: key, rule: rule, offset: offset, stride: strides.first ?? 1, count: count)
      next += count
      return
    }
    for i in 0..<extent {
      fill(&next, key: key, rule: rule, offset: offset + i * stride, strides: strides.dropFirst(), extents: extents.dropFirst())
    }
  }

  private static func run(_ y: UnsafeMutablePointer<Float>, key: UInt64, rule: Rule, offset: Int, stride: Int, count: Int) {
    for i in 0..<count { y[i] = uniform(key: key, offset + i * stride) }
    switch rule {
    case .uniform: break
    case .weight: mapLanes(y, into: y, count: count) { 0.02 * $0 }
    case .normWeight: mapLanes(y, into: y, count: count) { 1 + 0.02 * $0 }
    }
  }

  /// Output `index` of `name` as a whole number in 0..<bound: ((u >> 32) × bound) >> 32. Class labels are `choice("labels", b, …)`.
  package func choice(_ name: String, _ index: Int, below bound: Int) -> Int32 { Self.choice(key: key(name), index, below: bound) }

  private static func choice(key: UInt64, _ index: Int, below bound: Int) -> Int32 {
    Int32(truncatingIfNeeded: ((bits(key: key, index) >> 32) &* UInt64(bound)) >> 32)
  }

  /// The token array T [batch, sequence + 1]: writes T[b, t] for b in `samples` and t in `positions`, row-major.
  /// Inputs are positions 0..<sequence, labels 1..<(sequence + 1).
  package func tokens(
    into y: UnsafeMutablePointer<Int32>, samples: Range<Int>, positions: Range<Int>, sequence: Int, vocabulary: Int
  ) {
    let key = key("tokens")
    var next = y
    for sample in samples {
      for position in positions {
        next.pointee = Self.choice(key: key, sample * (sequence + 1) + position, below: vocabulary)
        next += 1
      }
    }
  }

  private static var golden: UInt64 { 0x9E37_79B9_7F4A_7C15 }

  @inline(__always)
  private static func mix(_ seed: UInt64) -> UInt64 {
    var z = seed
    z ^= z >> 30
    z &*= 0xBF58_476D_1CE4_E5B9
    z ^= z >> 27
    z &*= 0x94D0_49BB_1331_11EB
    z ^= z >> 31
    return z
  }
}
