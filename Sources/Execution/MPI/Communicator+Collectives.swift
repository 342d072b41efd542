// SPDX-License-Identifier: GPL-3.0-or-later

package enum Reduction: Sendable {
  case sum
  case max
}

/// The collectives of a plan. Every rank gets the same bits: a reduced element is computed in one order, whoever reads it.
/// Each call is entered in the ledger by the definitions of `Traffic.Kind`.
extension Communicator {
  /// Replaces `buffer` by its element-wise reduction over the ranks: through shared memory for sums of `Float` on one
  /// host, otherwise by MPI_Allreduce.
  /// - Parameters:
  ///   - buffer: `count` elements on every rank.
  ///   - count: the same on every rank; any size.
  package func allReduce<Scalar: MPIScalar>(
    _ buffer: UnsafeMutablePointer<Scalar>, count: Int, _ reduction: Reduction = .sum
  ) throws(ExecutionError) {
    precondition(Scalar.self != UInt8.self, "MPI does not reduce bytes")
    guard size > 1 else { return }
    self.count(.allReduce, bytes: count * MemoryLayout<Scalar>.stride)
    let start = MonotonicClock.now
    defer { ledger.addTime(since: start) }
    if Scalar.self == Float.self, reduction == .sum, let shared = try sharedMemoryReduction() {
      return shared.allReduce(UnsafeMutableRawPointer(buffer).assumingMemoryBound(to: Float.self), count: count)
    }
    let operation = reduction == .sum ? MPILibrary.sum : MPILibrary.max
    // MPI counts with `int`. Cutting the vector does not change any element's sum.
    var done = 0
    while done < count {
      let part = min(count - done, Self.longestMessage)
      try MPILibrary.allReduce(buffer + done, count: part, Scalar.datatype, operation, handle)
      done += part
    }
  }

  private static var longestMessage: Int { 1 << 30 }

  /// Concatenates the ranks' parts, in rank order, into `result` on every rank (MPI_Allgather).
  /// - Parameters:
  ///   - part: `count` elements; may be this rank's place in `result` itself, otherwise must not overlap it.
  ///   - result: `count` × `size` elements.
  package func allGather<Scalar: MPIScalar>(
    _ part: UnsafePointer<Scalar>, count: Int, into result: UnsafeMutablePointer<Scalar>
  ) throws(ExecutionError) {
    let source = part == UnsafePointer(result + rank * count) ? MPILibrary.inPlace : UnsafeRawPointer(part)
    guard size > 1 else { return copy(part, to: result, count: count) }
    let start = MonotonicClock.now
    defer { ledger.addTime(since: start) }
    try MPILibrary.allGather(source, count: count, into: result, Scalar.datatype, handle)
    self.count(.allGather, bytes: count * size * MemoryLayout<Scalar>.stride)
  }

  /// `allGather` of parts of different lengths (MPI_Allgatherv): `counts[r]` elements from rank r.
  /// - Throws: `messageTooLong` where `result` would have more than 2^31 − 1 elements.
  package func allGather<Scalar: MPIScalar>(
    _ part: UnsafePointer<Scalar>, counts: [Int], into result: UnsafeMutablePointer<Scalar>
  ) throws(ExecutionError) {
    precondition(counts.count == size, "\(counts.count) counts for \(size) ranks")
    if counts.allSatisfy({ $0 == counts[0] }) { return try allGather(part, count: counts[0], into: result) }
    let blocks = try Blocks(counts, in: "MPI_Allgatherv")
    let start = MonotonicClock.now
    defer { ledger.addTime(since: start) }
    let source = part == UnsafePointer(result + Int(blocks.starts[rank])) ? MPILibrary.inPlace : UnsafeRawPointer(part)
    try MPILibrary.allGather(source, count: counts[rank], into: result, blocks: blocks, Scalar.datatype, handle)
    self.count(.allGather, bytes: blocks.total * MemoryLayout<Scalar>.stride)
  }

  /// Adds the ranks' vectors and leaves the r-th of `size` equal parts of the sum on rank r: through shared memory for `Float`
  /// on one host, otherwise by MPI_Reduce_scatter_block.
  /// - Parameters:
  ///   - full: `count` × `size` elements.
  ///   - part: `count` elements; may be the start of `full` itself, which is then overwritten, otherwise must not overlap it.
  package func reduceScatter<Scalar: MPIScalar>(
    _ full: UnsafePointer<Scalar>, count: Int, into part: UnsafeMutablePointer<Scalar>
  ) throws(ExecutionError) {
    guard size > 1 else { return copy(full, to: part, count: count) }
    self.count(.reduceScatter, bytes: count * size * MemoryLayout<Scalar>.stride)
    let start = MonotonicClock.now
    defer { ledger.addTime(since: start) }
    if try reduceScatterInMemory(full, parts: (0..<size).map { count * $0..<count * ($0 + 1) }, into: part) { return }
    let source = full == UnsafePointer(part) ? MPILibrary.inPlace : UnsafeRawPointer(full)
    try MPILibrary.reduceScatter(source, count: count, into: part, Scalar.datatype, handle)
  }

  /// `reduceScatter` into parts of different lengths (MPI_Reduce_scatter between hosts): `counts[r]` elements to rank r.
  /// - Throws: `messageTooLong` where `full` has more than 2^31 − 1 elements.
  package func reduceScatter<Scalar: MPIScalar>(
    _ full: UnsafePointer<Scalar>, counts: [Int], into part: UnsafeMutablePointer<Scalar>
  ) throws(ExecutionError) {
    precondition(counts.count == size, "\(counts.count) counts for \(size) ranks")
    if counts.allSatisfy({ $0 == counts[0] }) { return try reduceScatter(full, count: counts[0], into: part) }
    let blocks = try Blocks(counts, in: "MPI_Reduce_scatter")
    self.count(.reduceScatter, bytes: blocks.total * MemoryLayout<Scalar>.stride)
    let start = MonotonicClock.now
    defer { ledger.addTime(since: start) }
    let parts = zip(blocks.starts, counts).map { Int($0)..<Int($0) + $1 }
    if try reduceScatterInMemory(full, parts: parts, into: part) { return }
    let source = full == UnsafePointer(part) ? MPILibrary.inPlace : UnsafeRawPointer(full)
    try MPILibrary.reduceScatter(source, into: part, blocks: blocks, Scalar.datatype, handle)
  }

  /// False, on every rank, where MPI has to do it.
  private func reduceScatterInMemory<Scalar>(
    _ full: UnsafePointer<Scalar>, parts: [Range<Int>], into part: UnsafeMutablePointer<Scalar>
  ) throws(ExecutionError) -> Bool {
    guard Scalar.self == Float.self, let shared = try sharedMemoryReduction() else { return false }
    shared.reduceScatter(
      UnsafeRawPointer(full).assumingMemoryBound(to: Float.self), parts: parts,
      into: UnsafeMutableRawPointer(part).assumingMemoryBound(to: Float.self))
    return true
  }

  /// Gives block r of `sent` to rank r and receives this rank's block of each (MPI_Alltoallv).
  /// - Parameters:
  ///   - sentCounts: the lengths of the blocks of `sent`, one after another; what rank r receives from here must equal it.
  ///   - received: must not overlap `sent`.
  /// - Throws: `messageTooLong` where either buffer has more than 2^31 − 1 elements.
  package func allToAll<Scalar: MPIScalar>(
    _ sent: UnsafePointer<Scalar>, counts sentCounts: [Int], into received: UnsafeMutablePointer<Scalar>, counts receivedCounts: [Int]
  ) throws(ExecutionError) {
    precondition(sentCounts.count == size && receivedCounts.count == size, "one count for each of \(size) ranks")
    let sentBlocks = try Blocks(sentCounts, in: "MPI_Alltoallv")
    let receivedBlocks = try Blocks(receivedCounts, in: "MPI_Alltoallv")
    let start = MonotonicClock.now
    defer { ledger.addTime(since: start) }
    try MPILibrary.allToAll(sent, blocks: sentBlocks, into: received, blocks: receivedBlocks, Scalar.datatype, handle)
    count(.allToAll, bytes: sentBlocks.total * MemoryLayout<Scalar>.stride)
  }

  private func copy<Scalar>(_ source: UnsafePointer<Scalar>, to result: UnsafeMutablePointer<Scalar>, count: Int) {
    if source != UnsafePointer(result) { result.update(from: source, count: count) }
  }
}
