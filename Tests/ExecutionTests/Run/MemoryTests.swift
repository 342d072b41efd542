// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Testing

@testable import Execution

struct MemoryTests {
  @Test("oracle: a pool's blocks are aligned, do not overlap, are used again, and its peak is what was out at once", arguments: [5])
  func pool(seed: UInt64) throws {
    var random = SplitMix64(state: seed)
    let pool = BufferPool()
    var out: [(block: BufferPool.Block, bytes: Int, mark: UInt8)] = []
    for turn in 0..<400 {
      if out.count > 20 || (!out.isEmpty && random.next() % 3 == 0) {
        let item = out.remove(at: Int(random.next() % UInt64(out.count)))
        // What was written at both ends is still there: nobody else had these bytes.
        let bytes = item.block.address.assumingMemoryBound(to: UInt8.self)
        #expect(bytes[0] == item.mark && bytes[item.bytes - 1] == item.mark)
        pool.give(back: item.block)
      } else {
        let bytes = 1 + Int(random.next() % (turn % 7 == 0 ? 5_000_000 : 5_000))
        let block = try pool.take(bytes: bytes)
        #expect(UInt(bitPattern: block.address) % 64 == 0)
        let mark = UInt8(truncatingIfNeeded: turn)
        block.address.storeBytes(of: mark, as: UInt8.self)
        block.address.storeBytes(of: mark, toByteOffset: bytes - 1, as: UInt8.self)
        out.append((block, bytes, mark))
      }
      // Classes are at most an eighth, or a line of 64 bytes, above what was asked for.
      let asked = out.reduce(0) { $0 + $1.bytes }
      #expect(pool.bytesInUse >= asked && pool.bytesInUse <= asked + asked / 8 + 64 * out.count)
      #expect(pool.peakBytes >= pool.bytesInUse)
    }
    for item in out { pool.give(back: item.block) }
    #expect(pool.bytesInUse == 0)
    let first = try pool.take(bytes: 3000)
    pool.give(back: first)
    #expect(try pool.take(bytes: 3001).address == first.address)
  }

  @Test(
    "oracle: blocks of an arena that are alive at once do not overlap, and it is hardly larger than the most that is alive at once",
    arguments: [1, 2, 3, 4, 5, 6, 7, 8])
  func arena(seed: UInt64) throws {
    var random = SplitMix64(state: seed)
    // Blocks of a few sizes, some of which stay.
    var lives: [ArenaPlan.Life] = []
    var alive: [Int] = []
    for time in 0..<600 {
      if !alive.isEmpty, random.next() % 20 < alive.count {
        lives[alive.remove(at: Int(random.next() % UInt64(alive.count)))].end = time
      } else {
        lives.append(.init(bytes: [40, 4096, 10_000, 123_456][Int(random.next() % 4)], taker: time / 3, start: time))
        if random.next() % 10 > 0 { alive.append(lives.count - 1) }
      }
    }
    let plan = ArenaPlan(lives)
    let places = (0...200).flatMap { plan.places(of: $0) }
    try #require(places.count == lives.count)
    for (i, place) in places.enumerated() {
      #expect(place.bytes == (lives[i].bytes + 63) / 64 * 64 && place.offset % 64 == 0 && place.end <= plan.bytes)
      for j in 0..<i where lives[i].start < lives[j].end && lives[j].start < lives[i].end {
        #expect(place.end <= places[j].offset || places[j].end <= place.offset, "\(i) and \(j)")
      }
    }
    // The oracle of the least: what is alive at each time, added up.
    let most = (0..<600).map { time in lives.reduce(0) { $0 + ($1.start <= time && time < $1.end ? ($1.bytes + 63) / 64 * 64 : 0) } }.max()!
    #expect(ArenaPlan.mostAtOnce(lives) == most && plan.bytes >= most && Double(plan.bytes) < 1.15 * Double(most))
  }

  @Test("a block that is kept for longer than planned costs another its place, not its values")
  func kept() throws {
    // Two blocks of one size, planned one after the other in the same place.
    let lives = [ArenaPlan.Life(bytes: 640, taker: 1, start: 0, end: 1), ArenaPlan.Life(bytes: 600, taker: 2, start: 2, end: 3)]
    let pool = BufferPool(ArenaPlan(lives))
    pool.begin(1)
    let first = try pool.take(bytes: 640)
    #expect(try pool.take(bytes: 64).address != first.address)  // not planned
    pool.begin(2)
    let second = try pool.take(bytes: 600)
    #expect(second.address < first.address || second.address >= first.address + 640)
    pool.give(back: second)
    pool.give(back: first)
    #expect(try pool.take(bytes: 600).address == first.address)
  }

  @Test("oracle: Llama 3's frequencies keep short wavelengths, divide long ones and mix those between")
  func frequencies() {
    let llama3 = RotaryParameters.Llama3Scaling(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalMaxPositions: 8192)
    let scaled = RotaryParameters(base: 500_000, scaling: llama3).inverseFrequencies(headSize: 8)
    let plain = RotaryParameters(base: 500_000).inverseFrequencies(headSize: 8)
    #expect(plain[0] == 1 && abs(plain[1] - 0.037_606_03) < 1e-8 && abs(plain[3] - 5.318_296e-5) < 1e-11)
    // Wavelengths 6 and 167 are kept (below 8192 / 4), 4443 is between 2048 and 8192, 118143 is divided by 8.
    #expect(scaled[0] == plain[0] && scaled[1] == plain[1] && scaled[3] == plain[3] / 8)
    let smooth = (8192 / (2 * Float.pi / plain[2]) - 1) / 3
    #expect(abs(scaled[2] - ((1 - smooth) * plain[2] / 8 + smooth * plain[2])) < 1e-9 && scaled[2] < plain[2] && scaled[2] > plain[2] / 8)
  }
}

private struct SplitMix64 {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    return (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB >> 11
  }
}
