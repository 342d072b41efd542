// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// This process as one rank: MPI is started when it is made and ended by `finalize` or `finish`.
///
/// A process that is dropped without either ends the whole run (MPI_Abort): the other ranks would wait for it for ever.
package struct MPIProcess: ~Copyable {
  /// All ranks of the run.
  package let world: Communicator

  /// Starts MPI (MPI_Init_thread, funneled). Once per process. `RankEnvironment.prepare` comes before it.
  package init() throws(ExecutionError) {
    precondition(!MPILibrary.isRunning, "MPI is started once per process")
    try MPILibrary.start()
    world = try Communicator(handle: MPILibrary.world, ownsHandle: false, ledger: TrafficLedger())
  }

  deinit {
    // After MPI_Finalize there is nobody left to wait.
    guard MPILibrary.isRunning else { return }
    Self.endAll(rank: world.rank, code: 70, reason: "the rank left the run without finalizing MPI")
  }

  package var rank: Int { world.rank }
  package var size: Int { world.size }

  /// The host's name as MPI reports it (MPI_Get_processor_name).
  package func processorName() throws(ExecutionError) -> String { try MPILibrary.processorName() }

  /// What this rank has sent so far, over every communicator.
  package var traffic: Traffic { world.ledger.traffic }

  /// Waits for the other ranks and ends MPI (MPI_Finalize). Communicators must not be used afterwards.
  package consuming func finalize() throws(ExecutionError) {
    try MPILibrary.finish()
  }

  /// Ends MPI in order, with the run's exit code, which must be the same on every rank.
  ///
  /// Under a `Launcher` a status other than 0 travels as a report, because mpirun would take it for a crash.
  /// - Returns: the status with which this process is to end.
  package consuming func finish(status: Int32) throws(ExecutionError) -> Int32 {
    let isFirst = rank == 0
    try finalize()
    guard RankReport.isRead else { return status }
    if isFirst { RankReport.ended(status: status).write() }
    return 0
  }

  /// Ends all ranks at once (MPI_Abort) after saying `rank R: reason` on stderr.
  /// - Parameter code: the exit code of the run.
  package func abort(code: Int32, reason: String) -> Never {
    Self.endAll(rank: rank, code: code, reason: reason)
    _exit(code)
  }

  private static func endAll(rank: Int, code: Int32, reason: String) {
    fflush(nil)
    RankReport.aborted(rank: rank, code: code, reason: reason).write()
    MPILibrary.abort(code)
  }

  /// Runs `body` as one rank.
  /// - Parameter body: returns the run's exit code, the same on every rank; where it throws, all ranks are ended with
  ///   `exitCode(error)` and the error as the reason.
  /// - Returns: the status with which this process is to end.
  package static func run(
    exitCode: (any Error) -> Int32 = { _ in 1 }, _ body: (borrowing MPIProcess) throws -> Int32
  ) throws(ExecutionError) -> Int32 {
    let process = try MPIProcess()
    switch Result(catching: { try body(process) }) {
    case .success(let status): return try process.finish(status: status)
    case .failure(let error):
      endAll(rank: process.rank, code: exitCode(error), reason: "\(error)")
      return exitCode(error)
    }
  }
}
