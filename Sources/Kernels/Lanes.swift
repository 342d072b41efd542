// SPDX-License-Identifier: GPL-3.0-or-later

/// Eight fp32 values: one AVX2 register, two NEON registers.
///
/// Every kernel runs over whole `Lanes` and then once over a partial one. The partial one goes through the same vector
/// function, so that an element's value does not depend on where a shard ends.
typealias Lanes = SIMD8<Float>

let laneCount = 8

/// Calls `body` with the start and the length of each run of eight, and of the shorter one that may be left.
/// Inlined twice, so that whole runs have a constant length.
@inline(__always)
func forEachLanes(_ count: Int, _ body: (_ index: Int, _ length: Int) -> Void) {
  var i = 0
  while i + laneCount <= count {
    body(i, laneCount)
    i += laneCount
  }
  if i < count { body(i, count - i) }
}

extension UnsafePointer<Float> {
  /// The lanes from `index`; those from `length` on are `padding` and are not read.
  @inline(__always)
  func lanes(_ index: Int, _ length: Int = laneCount, padding: Float = 0) -> Lanes {
    if length == laneCount { return UnsafeRawPointer(self + index).loadUnaligned(as: Lanes.self) }
    return partialLanes(index, length, padding: padding)
  }

  // Out of line: unrolled copies in every tail made callers so large that the optimiser stopped inlining in them.
  @inline(never)
  private func partialLanes(_ index: Int, _ length: Int, padding: Float) -> Lanes {
    var result = Lanes(repeating: padding)
    for lane in 0..<length { result[lane] = self[index + lane] }
    return result
  }
}

extension UnsafeMutablePointer<Float> {
  @inline(__always)
  func lanes(_ index: Int, _ length: Int = laneCount, padding: Float = 0) -> Lanes {
    UnsafePointer(self).lanes(index, length, padding: padding)
  }

  /// Writes the first `length` lanes from `index`.
  @inline(__always)
  func store(_ value: Lanes, _ index: Int, _ length: Int = laneCount) {
    if length == laneCount {
      UnsafeMutableRawPointer(self + index).storeBytes(of: value, as: Lanes.self)
    } else {
      storePartial(value, index, length)
    }
  }

  @inline(never)
  private func storePartial(_ value: Lanes, _ index: Int, _ length: Int) {
    for lane in 0..<length { self[index + lane] = value[lane] }
  }
}

extension SIMD8<Float> {
  /// Pairwise sum: `sum()` of the standard library is a chain of eight dependent additions.
  @inline(__always)
  func pairwiseSum() -> Float {
    let four = lowHalf + highHalf
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
  }

  /// Lane-wise maximum in one instruction. A NaN in `other` is dropped.
  @inline(__always)
  func maximum(_ other: Self) -> Self { replacing(with: other, where: other .> self) }

  @inline(__always)
  func pairwiseMaximum() -> Float {
    let four = lowHalf.replacing(with: highHalf, where: highHalf .> lowHalf)
    let two = four.lowHalf.replacing(with: four.highHalf, where: four.highHalf .> four.lowHalf)
    return two[1] > two[0] ? two[1] : two[0]
  }
}

/// y[i] = f(x[i]); `y` may be `x`.
@inline(__always)
func mapLanes(_ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int, _ f: (Lanes) -> Lanes) {
  forEachLanes(count) { i, n in y.store(f(x.lanes(i, n)), i, n) }
}

/// y[i] = f(a[i], b[i]); `y` may be `a` or `b`.
@inline(__always)
func mapLanes(
  _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, count: Int, _ f: (Lanes, Lanes) -> Lanes
) {
  forEachLanes(count) { i, n in y.store(f(a.lanes(i, n), b.lanes(i, n)), i, n) }
}

/// Σ f(x[i]). Four accumulators of eight lanes each: the rounding error grows with count / 32 additions, not with count.
@inline(__always)
func sumLanes(_ x: UnsafePointer<Float>, count: Int, _ f: (Lanes) -> Lanes) -> Float {
  var s0 = Lanes.zero
  var s1 = Lanes.zero
  var s2 = Lanes.zero
  var s3 = Lanes.zero
  var i = 0
  while i + 4 * laneCount <= count {
    s0 += f(x.lanes(i))
    s1 += f(x.lanes(i + laneCount))
    s2 += f(x.lanes(i + 2 * laneCount))
    s3 += f(x.lanes(i + 3 * laneCount))
    i += 4 * laneCount
  }
  while i + laneCount <= count {
    s0 += f(x.lanes(i))
    i += laneCount
  }
  if i < count {
    var last = f(x.lanes(i, count - i))
    for lane in (count - i)..<laneCount { last[lane] = 0 }
    s1 += last
  }
  return ((s0 + s1) + (s2 + s3)).pairwiseSum()
}

/// The largest element; -inf of none.
@inline(__always)
func maximumLanes(_ x: UnsafePointer<Float>, count: Int) -> Float {
  var m0 = Lanes(repeating: -.infinity)
  var m1 = m0
  var i = 0
  while i + 2 * laneCount <= count {
    m0 = m0.maximum(x.lanes(i))
    m1 = m1.maximum(x.lanes(i + laneCount))
    i += 2 * laneCount
  }
  while i + laneCount <= count {
    m0 = m0.maximum(x.lanes(i))
    i += laneCount
  }
  if i < count { m1 = m1.maximum(x.lanes(i, count - i, padding: -.infinity)) }
  return m0.maximum(m1).pairwiseMaximum()
}
