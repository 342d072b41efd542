// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// What a process knows about being a rank before MPI is started.
package enum RankEnvironment {
  /// Whether mpirun started this process, ours or a bare one.
  package static var isRank: Bool { launchedSize != nil }

  /// The number of ranks that mpirun started; nil where it did not start this process.
  package static var launchedSize: Int? {
    ProcessInfo.processInfo.environment["OMPI_COMM_WORLD_SIZE"].flatMap { Int($0) }
  }

  /// Cores of this machine that this process may use: as many ranks as are busy without taking turns.
  package static var usableCores: Int { LocalHost.usableCores() }

  private static let preparedVariable = "TPPLAN_RANK_PREPARED"

  /// Replaces this process by itself once, with `BLASEnvironment.variables` set, where they are not set already; returns
  /// where they are. It must come before MPI is started. Under a `Launcher` it always returns: the variables are there.
  /// - Parameter kernel: the kernel that OpenBLAS picked in this process.
  package static func prepare(kernel: String?, threads: Int) throws(ExecutionError) {
    precondition(!MPILibrary.isRunning, "a process is replaced before MPI is started")
    let variables = BLASEnvironment.variables(kernel: kernel, threads: threads)
    guard !variables.isEmpty, ProcessInfo.processInfo.environment[preparedVariable] == nil else { return }
    for (name, value) in variables { setenv(name, value, 1) }
    setenv(preparedVariable, "1", 1)
    // The link, not the path behind it: the same program even where its file has been replaced meanwhile.
    execv("/proc/self/exe", CommandLine.unsafeArgv)
    throw .cannotStart(program: CommandLine.arguments[0], reason: String(cString: strerror(errno)))
  }
}
