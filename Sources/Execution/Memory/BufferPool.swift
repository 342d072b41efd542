// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Memory that is handed out and taken back every step: an arena in which most blocks have a place, and for others blocks of a few size classes,
/// kept when they are returned.
///
/// The C library gives large blocks back to the system, and every step would pay for their pages again.
final class BufferPool {
  /// A block of at least the bytes that were asked for, aligned to a cache line.
  struct Block {
    let address: UnsafeMutableRawPointer
    fileprivate let home: Home

    fileprivate init(address: UnsafeMutableRawPointer, home: Home) {
      self.address = address
      self.home = home
    }

    /// Memory that is somebody else's.
    init(borrowed address: UnsafeMutableRawPointer) { self.init(address: address, home: .elsewhere) }
  }

  fileprivate enum Home {
    case arena(ArenaPlan.Place)
    case sizeClass(Int)
    case elsewhere

    var bytes: Int {
      switch self {
      case .arena(let place): place.bytes
      case .sizeClass(let index): BufferPool.size(index)
      case .elsewhere: 0
      }
    }
  }

  /// Bytes of blocks in use: what was asked for, rounded up to cache lines, or to size classes outside the arena.
  private(set) var bytesInUse = 0
  private(set) var peakBytes = 0
  /// Of blocks outside the arena, used or not.
  private(set) var bytesOutsideArena = 0
  private var occupancy: ArenaOccupancy
  /// Nil until the first block of it is taken.
  private var arena: UnsafeMutableRawPointer?
  /// Returned blocks, by size class.
  private var spare = [[UnsafeMutableRawPointer]](repeating: [], count: BufferPool.classes)

  private static let alignment = ArenaPlan.alignment
  /// From this size on, blocks are whole huge pages where the system has them: a block of 100 MB has 50 of them, not 25,000 pages.
  private static let hugePage = 2 << 20
  /// Eight classes for each power of two: at most an eighth of a block is unused.
  private static let stepBits = 3
  private static let classes = 64 << stepBits

  init(_ plan: ArenaPlan = .empty) { occupancy = ArenaOccupancy(plan) }

  deinit {
    free(arena)
    for list in spare { for address in list { free(address) } }
  }

  /// From now on `taker` takes blocks; see `ArenaPlan.Life`.
  func begin(_ taker: Int) { occupancy.begin(taker) }

  /// A block of at least `bytes` bytes; what it holds is undefined.
  /// - Throws: `outOfMemory`.
  func take(bytes: Int) throws(ExecutionError) -> Block {
    let block: Block
    if let place = occupancy.take(bytes: bytes) {
      let start = if let arena { arena } else { try Self.allocate(occupancy.plan.bytes) }
      arena = start
      block = Block(address: start + place.offset, home: .arena(place))
    } else {
      let sizeClass = Self.sizeClass(bytes)
      let address: UnsafeMutableRawPointer
      if let known = spare[sizeClass].popLast() {
        address = known
      } else {
        address = try Self.allocate(Self.size(sizeClass))
        bytesOutsideArena += Self.size(sizeClass)
      }
      block = Block(address: address, home: .sizeClass(sizeClass))
    }
    bytesInUse += block.home.bytes
    peakBytes = max(peakBytes, bytesInUse)
    return block
  }

  func give(back block: Block) {
    bytesInUse -= block.home.bytes
    switch block.home {
    case .arena(let place): occupancy.give(back: place)
    case .sizeClass(let index): spare[index].append(block.address)
    case .elsewhere: break
    }
  }

  /// The bytes of the block that `take` gives for so many outside the arena.
  static func blockSize(bytes: Int) -> Int { size(sizeClass(bytes)) }

  private static func allocate(_ size: Int) throws(ExecutionError) -> UnsafeMutableRawPointer {
    var address: UnsafeMutableRawPointer?
    let isLarge = size >= hugePage
    let code = posix_memalign(&address, isLarge ? hugePage : alignment, size)
    guard code == 0, let address else { throw .outOfMemory(bytes: size) }
    if isLarge { madvise(address, size, MADV_HUGEPAGE) }
    return address
  }

  /// The smallest class that holds `bytes`: 2^e · (1 + i/8) lines of 64 bytes.
  private static func sizeClass(_ bytes: Int) -> Int {
    let lines = max(1, (bytes + alignment - 1) / alignment)
    let exponent = Int.bitWidth - 1 - lines.leadingZeroBitCount
    if exponent <= stepBits { return lines }
    let step = 1 << (exponent - stepBits)
    let index = (lines - (1 << exponent) + step - 1) / step
    return (exponent << stepBits) + index
  }

  private static func size(_ sizeClass: Int) -> Int {
    let exponent = sizeClass >> stepBits
    if exponent <= stepBits { return sizeClass * alignment }
    return ((1 << exponent) + (sizeClass & (1 << stepBits - 1)) << (exponent - stepBits)) * alignment
  }
}
