// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// A group of ranks that exchange data, as an owner of an MPI communicator.
///
/// Every method but the nonblocking ones is collective: all ranks of the group call it, in the same order. Not
/// `Sendable`: MPI is started for one thread.
package final class Communicator {
  let handle: MPILibrary.Comm
  private let ownsHandle: Bool
  /// This process's place in the group, from 0.
  package let rank: Int
  package let size: Int
  package let ledger: TrafficLedger

  private enum SharedMemory {
    case notTried
    case tried(SharedMemoryReduction?)
  }

  private var sharedMemory = SharedMemory.notTried

  init(handle: MPILibrary.Comm, ownsHandle: Bool, ledger: TrafficLedger) throws(ExecutionError) {
    self.handle = handle
    self.ownsHandle = ownsHandle
    self.ledger = ledger
    rank = try MPILibrary.rank(handle)
    size = try MPILibrary.size(handle)
  }

  deinit {
    // A communicator that outlives MPI_Finalize is already gone.
    if ownsHandle, MPILibrary.isRunning { MPILibrary.freeCommunicator(handle) }
  }

  /// One group for each distinct `color`; in it, ranks are ordered by `key`, then by their rank here (MPI_Comm_split).
  /// - Parameter color: at least 0.
  package func split(color: Int, key: Int) throws(ExecutionError) -> Communicator {
    precondition(color >= 0, "a group's color is at least 0, not \(color)")
    let part = try MPILibrary.split(handle, color: Int32(color), key: Int32(key))
    return try Communicator(handle: part, ownsHandle: true, ledger: ledger)
  }

  /// Waits until every rank of the group has come here (MPI_Barrier).
  package func barrier() throws(ExecutionError) { try MPILibrary.barrier(handle) }

  /// The group's shared memory, made at its first sum by all ranks together; nil where there is none.
  func sharedMemoryReduction() throws(ExecutionError) -> SharedMemoryReduction? {
    if case .tried(let result) = sharedMemory { return result }
    let result = try Self.usesSharedMemory ? SharedMemoryReduction.make(for: self) : nil
    sharedMemory = .tried(result)
    return result
  }

  /// `TPPLAN_REDUCTION=mpi` leaves every sum to MPI. mpirun gives all ranks the same environment.
  private static let usesSharedMemory = ProcessInfo.processInfo.environment["TPPLAN_REDUCTION"] != "mpi"

  func count(_ kind: Traffic.Kind, bytes: Int) {
    if size > 1 { ledger.add(kind, bytes: bytes) }
  }
}
