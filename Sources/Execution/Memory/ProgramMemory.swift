// SPDX-License-Identifier: GPL-3.0-or-later
import Kernels
import Lowering

/// The memory of one rank's buffers: which of them hold a block now.
///
/// Blocks are counted by their holders, so that an operator that hands its operand on as it is (dropout, the gradients of a sum) moves
/// nothing. What writes into a buffer that others may hold asks for it by `writable` first.
final class ProgramMemory {
  /// A holder's name for a block; valid until it is released.
  typealias BlockID = Int

  private struct Entry {
    var block: BufferPool.Block
    var holders: Int
  }

  /// Which buffers have marks of the rows that hold tokens, behind their elements in the same block: what hands the block on hands on the marks.
  let slots: RoutedSlots
  private let counts: [Int]
  private let pool: BufferPool
  private var entries: [Entry] = []
  private var unused: [BlockID] = []
  /// For each buffer its block; nil while it has none.
  private var blocks: [BlockID?]
  /// Gradients that are 0 and have not been written yet.
  private var isZero: [Bool]

  /// - Parameter plan: where blocks lie that the program is known to take.
  init(_ program: Program, _ plan: ArenaPlan) {
    slots = RoutedSlots(program)
    counts = program.buffers.map(\.count)
    pool = BufferPool(plan)
    blocks = Array(repeating: nil, count: counts.count)
    isZero = Array(repeating: false, count: counts.count)
  }

  deinit {
    for entry in entries where entry.holders > 0 { pool.give(back: entry.block) }
  }

  var bytesInUse: Int { pool.bytesInUse }
  var peakBytes: Int { pool.peakBytes }
  var bytesOutsideArena: Int { pool.bytesOutsideArena }

  func count(_ buffer: BufferID) -> Int { counts[buffer] }
  func has(_ buffer: BufferID) -> Bool { blocks[buffer] != nil }

  /// From now on blocks are taken for instruction `instruction` of a step, not counting those that free; before the first they are those that stay.
  func begin(_ instruction: Int) { pool.begin(instruction + 1) }

  // MARK: - Buffers

  func floats(_ buffer: BufferID) -> UnsafeMutablePointer<Float> { address(held(buffer)).assumingMemoryBound(to: Float.self) }
  func integers(_ buffer: BufferID) -> UnsafeMutablePointer<Int32> { address(held(buffer)).assumingMemoryBound(to: Int32.self) }

  /// 1 for each row of a buffer that holds a token, otherwise 0; nil where nobody asks. Valid as long as the buffer's memory.
  func marks(_ buffer: BufferID) -> UnsafeMutablePointer<Float>? { slots.rows[buffer] == 0 ? nil : floats(buffer) + counts[buffer] }

  private func blockCount(_ buffer: BufferID) -> Int { counts[buffer] + slots.rows[buffer] }

  /// Memory for a buffer that has none; what it holds is undefined.
  @discardableResult
  func allocate(_ buffer: BufferID) throws(ExecutionError) -> UnsafeMutablePointer<Float> {
    precondition(blocks[buffer] == nil, "buffer \(buffer) is written a second time")
    blocks[buffer] = try take(count: blockCount(buffer))
    return floats(buffer)
  }

  /// Lets a buffer that has no memory lie where somebody else's does, who keeps it.
  func borrow(_ buffer: BufferID, at address: UnsafeMutablePointer<Float>) {
    precondition(blocks[buffer] == nil, "buffer \(buffer) is written a second time")
    entries.append(Entry(block: BufferPool.Block(borrowed: address), holders: 1))
    blocks[buffer] = entries.count - 1
  }

  /// Lets a buffer that has no memory hold what `other` holds.
  func share(_ buffer: BufferID, with other: BufferID) {
    precondition(blocks[buffer] == nil && blockCount(buffer) == blockCount(other), "buffers \(buffer) and \(other) cannot be one")
    blocks[buffer] = hold(other)
  }

  /// Where to write a result that has no memory yet and may overwrite `operand`: over it, if it is dying and nobody else holds it.
  func allocate(_ result: BufferID, over operand: BufferID, dying: [BufferID]) throws(ExecutionError) -> UnsafeMutablePointer<Float> {
    guard blockCount(result) == blockCount(operand), dying.contains(operand), entries[held(operand)].holders == 1 else { return try allocate(result) }
    share(result, with: operand)
    return floats(result)
  }

  /// Memory for what a kernel computes.
  func allocate(_ result: BufferID, _ place: ResultPlace, dying: [BufferID]) throws(ExecutionError) -> UnsafeMutablePointer<Float> {
    switch place {
    case .fresh: return try allocate(result)
    case .over(let other): return try allocate(result, over: other, dying: dying)
    case .sameAs(let other):
      share(result, with: other)
      return floats(result)
    }
  }

  /// A buffer's memory for changing it in place; copied first where others hold it too.
  func writable(_ buffer: BufferID) throws(ExecutionError) -> UnsafeMutablePointer<Float> {
    let block = held(buffer)
    if entries[block].holders > 1 {
      let own = try take(count: blockCount(buffer))
      address(own).copyMemory(from: address(block), byteCount: blockCount(buffer) * MemoryLayout<Float>.stride)
      release(block)
      blocks[buffer] = own
    }
    return floats(buffer)
  }

  /// Takes a buffer's memory away; does nothing where it has none.
  func free(_ buffer: BufferID) {
    guard let block = blocks[buffer] else { return }
    blocks[buffer] = nil
    release(block)
  }

  // MARK: - Gradients that start as 0

  /// Makes a buffer 0 without writing: the first writer may overwrite instead of add.
  func setZero(_ buffer: BufferID) { isZero[buffer] = true }

  /// A buffer that is to be added to. `isZero` says that it holds nothing yet, and the caller must overwrite it.
  func accumulator(_ buffer: BufferID) -> (address: UnsafeMutablePointer<Float>, isZero: Bool) {
    defer { isZero[buffer] = false }
    return (floats(buffer), isZero[buffer])
  }

  /// A buffer that is to be added to, with zeros written where it holds nothing yet.
  func filledAccumulator(_ buffer: BufferID) -> UnsafeMutablePointer<Float> {
    let (address, isZero) = accumulator(buffer)
    if isZero { Elementwise.fill(address, count: counts[buffer], with: 0) }
    return address
  }

  // MARK: - Blocks

  /// One more holder of a buffer's block, who keeps its values when the buffer is freed.
  func hold(_ buffer: BufferID) -> BlockID {
    let block = held(buffer)
    entries[block].holders += 1
    return block
  }

  func floats(in block: BlockID) -> UnsafeMutablePointer<Float> { address(block).assumingMemoryBound(to: Float.self) }

  /// Scratch memory for `count` elements of 4 bytes; to be released.
  func take(count: Int) throws(ExecutionError) -> BlockID {
    let entry = Entry(block: try pool.take(bytes: count * MemoryLayout<Float>.stride), holders: 1)
    if let id = unused.popLast() {
      entries[id] = entry
      return id
    }
    entries.append(entry)
    return entries.count - 1
  }

  func release(_ block: BlockID) {
    entries[block].holders -= 1
    guard entries[block].holders == 0 else { return }
    pool.give(back: entries[block].block)
    unused.append(block)
  }

  private func held(_ buffer: BufferID) -> BlockID {
    guard let block = blocks[buffer] else { preconditionFailure("buffer \(buffer) is read and has no memory") }
    return block
  }

  private func address(_ block: BlockID) -> UnsafeMutableRawPointer { entries[block].block.address }
}
