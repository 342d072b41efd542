// SPDX-License-Identifier: GPL-3.0-or-later

/// What ranks tell each other about a run, outside the plan: results for rank 0 to print, decisions that rank 0 takes
/// for all, and what goes beside a collective so that it can be carried out. Not entered in the ledger.
extension Communicator {
  /// Returns the root's `bytes` on every rank; what the others pass is ignored (MPI_Bcast).
  package func broadcast(_ bytes: [UInt8], root: Int = 0) throws(ExecutionError) -> [UInt8] {
    var length = Double(bytes.count)  // exact up to 2^53
    try broadcast(&length, count: 1, root: root)
    var result = rank == root ? bytes : [UInt8](repeating: 0, count: Int(length))
    try broadcast(&result, count: result.count, root: root)
    return result
  }

  /// Fills `buffer` on every rank with the root's (MPI_Bcast). Any size: long ones are sent in parts.
  /// - Parameter count: elements, the same on every rank.
  package func broadcast<Scalar: MPIScalar>(
    _ buffer: UnsafeMutablePointer<Scalar>, count: Int, root: Int = 0
  ) throws(ExecutionError) {
    var done = 0
    while done < count {
      let part = min(count - done, 1 << 30)
      try MPILibrary.broadcast(buffer + done, count: part, root: root, Scalar.datatype, handle)
      done += part
    }
  }

  /// The sum of every rank's `value`, on every rank.
  package func sum(_ value: Double) throws(ExecutionError) -> Double {
    var total = value
    try MPILibrary.allReduce(&total, count: 1, Double.datatype, MPILibrary.sum, handle)
    return total
  }

  /// Whether something holds on any rank, on every rank.
  package func any(_ condition: Bool) throws(ExecutionError) -> Bool { try sum(condition ? 1 : 0) > 0 }

  /// The `bytes` of every rank, by rank, at the root; nil elsewhere (MPI_Gatherv).
  /// - Throws: `messageTooLong` for 2 GiB and more in all.
  package func gather(_ bytes: [UInt8], root: Int = 0) throws(ExecutionError) -> [[UInt8]]? {
    var lengths = [Double](repeating: 0, count: size)
    var length = Double(bytes.count)
    try MPILibrary.allGather(&length, count: 1, into: &lengths, Double.datatype, handle)
    // Every rank computes the blocks, so that every rank throws where they are too long, and none is left waiting.
    let blocks = try Blocks(lengths.map { Int($0) }, in: "MPI_Gatherv")
    var all = [UInt8](repeating: 0, count: rank == root ? blocks.total : 0)
    try MPILibrary.gather(bytes, count: bytes.count, into: &all, blocks: blocks, root: root, UInt8.datatype, handle)
    guard rank == root else { return nil }
    return zip(blocks.starts, blocks.counts).map { start, count in Array(all[Int(start)..<Int(start + count)]) }
  }

  /// Tells every rank its number of `sent`, and receives this rank's from each (MPI_Alltoall).
  func exchangeCounts(_ sent: UnsafePointer<Int32>, into received: UnsafeMutablePointer<Int32>) throws(ExecutionError) {
    let start = MonotonicClock.now
    defer { ledger.addTime(since: start) }
    try MPILibrary.allToAll(sent, count: 1, into: received, Int32.datatype, handle)
  }

  /// `allGather` of marks that accompany what a plan gathers (MPI_Allgatherv).
  func gatherMarks(_ part: UnsafePointer<Float>, counts: [Int], into result: UnsafeMutablePointer<Float>) throws(ExecutionError) {
    let blocks = try Blocks(counts, in: "MPI_Allgatherv")
    let start = MonotonicClock.now
    defer { ledger.addTime(since: start) }
    try MPILibrary.allGather(part, count: counts[rank], into: result, blocks: blocks, Float.datatype, handle)
  }
}
