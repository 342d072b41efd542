// SPDX-License-Identifier: GPL-3.0-or-later
import Execution

/// Each collective against its definition, evaluated from every rank's input, which all ranks can generate.
///
/// Inputs are small integers, so that sums are exact in any order.
struct CollectivesCheck {
  let world: Communicator
  let seed: UInt64
  var mismatches: [String] = []

  mutating func run() throws {
    // Lengths on both sides of every message-size threshold in Open MPI and of ours.
    for count in [0, 1, 7, 1000, 16_385] { try check(world, count) }
    // Groups of a 2-D mesh: rows and columns.
    if world.size == 4 {
      try check(try world.split(color: world.rank / 2, key: world.rank), 5000)
      try check(try world.split(color: world.rank % 2, key: -world.rank), 5000)
    }
    try checkSameBits()
    try checkLongSums()
  }

  /// Sums in shared memory go by chunks of 65,536 elements: sums of one, of a few, and calls of both kinds and of different
  /// lengths in a row. Rank r's element i is i mod 1000 + r, so that the sum is known.
  private mutating func checkLongSums() throws {
    let ranks = Float(world.size)
    for count in [65_536, 65_537, 5, 200_000, 1, 131_072, 262_147] {
      var vector = (0..<count).map { Float($0 % 1000 + world.rank) }
      try world.allReduce(&vector, count: count)
      let wrong = vector.indices.first { vector[$0] != Float($0 % 1000) * ranks + ranks * (ranks - 1) / 2 }
      expect(wrong == nil, "long all-reduce, element \(wrong ?? 0)", world, count)

      // In place, and the last rank's part overlaps the place of its result.
      vector = (0..<count).map { Float($0 % 1000 + world.rank) }
      let counts = (0..<world.size).map { $0 == world.size - 1 ? count - $0 : 1 }
      guard counts.allSatisfy({ $0 > 0 }) else { continue }
      try vector.withUnsafeMutableBufferPointer { buffer in
        guard let base = buffer.baseAddress else { return }
        try world.reduceScatter(base, counts: counts, into: base)
      }
      let missed = (0..<counts[world.rank]).first { vector[$0] != Float(($0 + world.rank) % 1000) * ranks + ranks * (ranks - 1) / 2 }
      expect(missed == nil, "long reduce-scatter, element \(missed ?? 0)", world, count)
    }
  }

  private func input(_ member: Int, _ count: Int, _ purpose: UInt64) -> [Float] {
    var random = SplitMix64(state: seed &+ purpose &* 1000 &+ UInt64(member))
    return (0..<count).map { _ in Float(Int(random.next() % 2001) - 1000) }
  }

  /// `count` elements for each of the group's ranks, or about as many where the lengths differ.
  private mutating func check(_ group: Communicator, _ count: Int) throws {
    let ranks = 0..<group.size
    let whole = ranks.map { input($0, count * group.size, 1) }
    let mine = whole[group.rank]
    let sum = (0..<count * group.size).map { i in ranks.reduce(Float(0)) { $0 + whole[$1][i] } }
    let largest = (0..<count * group.size).map { i in ranks.map { whole[$0][i] }.max() ?? 0 }

    var buffer = mine
    try group.allReduce(&buffer, count: buffer.count)
    expect(buffer == sum, "all-reduce sum", group, count)
    buffer = mine
    try group.allReduce(&buffer, count: buffer.count, .max)
    expect(buffer == largest, "all-reduce max", group, count)

    let part = Array(mine.prefix(count))
    let gathered = ranks.flatMap { whole[$0].prefix(count) }
    var result = [Float](repeating: .nan, count: count * group.size)
    try group.allGather(part, count: count, into: &result)
    expect(result == gathered, "all-gather", group, count)
    result.replaceSubrange(0..<result.count, with: repeatElement(.nan, count: result.count))
    result.replaceSubrange(group.rank * count..<(group.rank + 1) * count, with: part)
    try result.withUnsafeMutableBufferPointer { result in
      guard let base = result.baseAddress else { return }
      try group.allGather(base + group.rank * count, count: count, into: base)
    }
    expect(result == gathered, "all-gather in place", group, count)

    var own = [Float](repeating: .nan, count: count)
    try group.reduceScatter(mine, count: count, into: &own)
    expect(own == Array(sum[group.rank * count..<(group.rank + 1) * count]), "reduce-scatter", group, count)
    buffer = mine
    try buffer.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      try group.reduceScatter(base, count: count, into: base)
    }
    expect(Array(buffer.prefix(count)) == own, "reduce-scatter in place", group, count)
    try checkUneven(group, count, whole, sum)
  }

  private mutating func checkUneven(_ group: Communicator, _ count: Int, _ whole: [[Float]], _ sum: [Float]) throws {
    let ranks = 0..<group.size
    var random = SplitMix64(state: seed &+ UInt64(count))
    let counts = ranks.map { _ in count == 0 ? 0 : Int(random.next() % UInt64(count)) }
    let starts = ranks.map { counts.prefix($0).reduce(0, +) }
    let total = counts.reduce(0, +)

    var result = [Float](repeating: .nan, count: total)
    try group.allGather(Array(whole[group.rank].prefix(counts[group.rank])), counts: counts, into: &result)
    expect(result == ranks.flatMap { whole[$0].prefix(counts[$0]) }, "all-gather, uneven", group, count)

    var own = [Float](repeating: .nan, count: counts[group.rank])
    try group.reduceScatter(Array(whole[group.rank].prefix(total)), counts: counts, into: &own)
    expect(own == Array(sum[starts[group.rank]..<starts[group.rank] + counts[group.rank]]), "reduce-scatter, uneven", group, count)

    // Rank a gives rank b a block of (a + 2b) mod 3 parts.
    let unit = count / 3
    let lengths = ranks.map { a in ranks.map { b in (a + 2 * b) % 3 * unit } }
    let received = ranks.map { lengths[$0][group.rank] }
    var exchanged = [Float](repeating: .nan, count: received.reduce(0, +))
    try group.allToAll(whole[group.rank], counts: lengths[group.rank], into: &exchanged, counts: received)
    let expected = ranks.flatMap { a in
      let start = lengths[a].prefix(group.rank).reduce(0, +)
      return whole[a][start..<start + lengths[a][group.rank]]
    }
    expect(exchanged == expected, "all-to-all", group, count)
  }

  /// Sums that do round are still the same on every rank, and from one call to the next.
  private mutating func checkSameBits() throws {
    for count in [3, 5000, 40_003] {
      var random = SplitMix64(state: seed &+ UInt64(world.rank))
      let mine = (0..<count).map { _ in Float(random.next() % 1_000_003) / 1_000_003 }
      var (once, again) = (mine, mine)
      try world.allReduce(&once, count: count)
      try world.allReduce(&again, count: count)
      let first = try world.broadcast(once.withUnsafeBytes(Array.init))
      expect(once == again, "all-reduce twice", world, count)
      expect(once.withUnsafeBytes(Array.init) == first, "all-reduce on two ranks", world, count)
    }
  }

  private mutating func expect(_ holds: Bool, _ collective: String, _ group: Communicator, _ count: Int) {
    if !holds { mismatches.append("\(collective), rank \(group.rank) of \(group.size), \(count) elements") }
  }
}

/// The generator of Steele, Lea and Flood (2014).
struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
