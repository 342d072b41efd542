// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// Memory that is handed out and taken back every step: blocks of a few size classes, kept when they are returned.
///
/// The C library gives large blocks back to the system, and every step would pay for their pages again.
final class BufferPool {
  /// A block of at least the bytes that were asked for, aligned to a cache line.
  struct Block {
    let address: UnsafeMutableRawPointer
    fileprivate let sizeClass: Int
  }

  /// Bytes asked for by blocks in use, rounded up to their classes.
  private(set) var bytesInUse = 0
  private(set) var peakBytes = 0
  /// Returned blocks, by size class.
  private var spare = [[UnsafeMutableRawPointer]](repeating: [], count: BufferPool.classes)

  private static let alignment = 64
  /// From this size on, blocks are whole huge pages where the system has them: a block of 100 MB has 50 of them, not 25,000 pages.
  private static let hugePage = 2 << 20
  /// Eight classes for each power of two: at most an eighth of a block is unused.
  private static let stepBits = 3
  private static let classes = 64 << stepBits

  deinit {
    for list in spare { for address in list { free(address) } }
  }

  /// A block of at least `bytes` bytes; what it holds is undefined.
  /// - Throws: `outOfMemory`.
  func take(bytes: Int) throws(ExecutionError) -> Block {
    let sizeClass = Self.sizeClass(bytes)
    let size = Self.size(sizeClass)
    let address = if let known = spare[sizeClass].popLast() { known } else { try Self.allocate(size) }
    bytesInUse += size
    peakBytes = max(peakBytes, bytesInUse)
    return Block(address: address, sizeClass: sizeClass)
  }

  func give(back block: Block) {
    bytesInUse -= Self.size(block.sizeClass)
    spare[block.sizeClass].append(block.address)
  }

  /// The bytes of the block that `take` gives for so many.
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
