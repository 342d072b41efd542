// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Quantities

/// Starts this same executable once per rank, with mpirun, and tells how the run ended.
package struct Launcher {
  /// How a run ended.
  package enum Outcome: Equatable, Sendable {
    /// Every rank came to its end; `status` is what they agreed on (`MPIProcess.finish`).
    case finished(status: Int32)
    /// One rank ended the run: `code` is its exit code where it chose one.
    case rankDied(rank: Int, code: Int32?, message: String)
    /// SIGINT, SIGTERM or SIGHUP came, and the ranks were ended.
    case interrupted
    /// mpirun found fewer places for ranks than the plan has.
    case tooFewSlots(ranks: Int)
    /// mpirun itself failed; what it said has been passed on to stderr.
    case mpirunFailed(status: Int32)

    /// By the design's table: 1 for a rank that died without naming one of the table's codes.
    package var exitCode: Int32 {
      switch self {
      case .finished(let status): status
      case .rankDied(_, let code, _): code.flatMap { [1, 2, 3, 64, 65, 70, 73].contains($0) ? $0 : nil } ?? 1
      case .interrupted: 130
      case .tooFewSlots: 65
      case .mpirunFailed: 70
      }
    }

    /// For stderr; nil where there is nothing to say.
    package var message: String? {
      switch self {
      case .finished: nil
      case .rankDied(_, _, let message): message
      case .interrupted: "interrupted; every rank has been ended"
      case .tooFewSlots(let ranks):
        "mpirun found fewer slots than the plan's \(counted(ranks, "rank")); a host without slots=N in the host file has one for each of its cores."
          + " Give the hosts slots=N, add hosts, ask the batch system for more, or search a plan with fewer --devices"
      case .mpirunFailed(let status): "mpirun could not run the ranks and ended with status \(status)"
      }
    }
  }

  /// At least 1; more than the machine's cores is allowed, and slow.
  package var ranks: Int
  /// BLAS threads per rank.
  package var threadsPerRank: Int
  /// Open MPI's host file, for a run over several machines that share this executable's path.
  package var hostfile: String?
  /// The arguments of each rank.
  package var arguments: [String]
  /// Variables that the ranks get beside this process's own environment.
  package var environment: [(name: String, value: String)]
  /// Where the ranks' stdout goes.
  package var output: Int32 = STDOUT_FILENO
  /// Whether SIGINT, SIGTERM and SIGHUP end the ranks instead of this process.
  package var forwardsSignals = true

  package init(ranks: Int, threadsPerRank: Int = 1, hostfile: String? = nil, arguments: [String], environment: [(name: String, value: String)] = []) {
    precondition(ranks > 0 && threadsPerRank > 0, "at least one rank and one thread")
    self.ranks = ranks
    self.threadsPerRank = threadsPerRank
    self.hostfile = hostfile
    self.arguments = arguments
    self.environment = environment
  }

  /// Refuses a host file on which the ranks cannot be placed.
  /// - Throws: `document`, `unusableHostfile`, `tooFewSlots`.
  package func checkHostfile() throws(ExecutionError) {
    guard let hostfile, let slots = try Hostfile(path: hostfile).slots, slots < ranks else { return }
    throw .tooFewSlots(hostfile: hostfile, slots: slots, ranks: ranks)
  }

  /// Runs the ranks to their end and returns how they ended. No process of the run is left then, nor where this process dies
  /// meanwhile.
  /// - Parameters:
  ///   - program: nil for this executable.
  ///   - diagnostics: called with each line that the ranks write to stderr, and with mpirun's own messages.
  ///   - step: called with the line of JSON that says what a step gave, where the ranks tell it.
  /// - Throws: `mpirunNotFound`, `cannotStart`; `document`, `unusableHostfile`, `tooFewSlots` for the host file.
  package func run(
    program: String? = nil, diagnostics: (String) -> Void = { FileHandle.standardError.write(Data("\($0)\n".utf8)) },
    step: (String) -> Void = { FileHandle.standardError.write(Data("\($0)\n".utf8)) }
  ) throws(ExecutionError) -> Outcome {
    try checkHostfile()
    var variables = ProcessInfo.processInfo.environment
    let mpirun = try Self.find("mpirun", path: variables["PATH"] ?? "/usr/local/bin:/usr/bin:/bin")
    let command = MPIRunCommand(
      ranks: ranks, threadsPerRank: threadsPerRank, hostfile: hostfile, exported: environment.map(\.name) + [RankReport.variable],
      host: .current(), environment: variables)
    for (name, value) in environment + [(RankReport.variable, "1")] { variables[name] = value }
    let executable = if let program { program } else { try Self.thisExecutable() }
    let arguments = command.arguments(program: executable, programArguments: arguments)

    // mpirun must end with this process, even where it is killed; setpriv asks the kernel for that and becomes mpirun.
    let setpriv = "/usr/bin/setpriv"
    let isTied = access(setpriv, X_OK) == 0
    let child = ChildProcess(
      path: isTied ? setpriv : mpirun, arguments: (isTied ? ["--pdeathsig", "TERM", mpirun] : []) + arguments, environment: variables,
      output: output)
    var reader = RunDiagnostics()
    let (end, wasInterrupted) = try child.run(forwardsSignals: forwardsSignals) { line in
      for passed in reader.read(line) { diagnostics(passed) }
      if let line = reader.takeStep() { step(line) }
    }
    for passed in reader.end() { diagnostics(passed) }
    return wasInterrupted ? .interrupted : outcome(end, reader)
  }

  private func outcome(_ end: ChildProcess.End, _ reader: RunDiagnostics) -> Outcome {
    if let failure = reader.failure {
      let message = "\(failure)"
      switch failure {
      case .aborted(let rank, let code, _): return .rankDied(rank: rank, code: code, message: message)
      case .exited(let rank, _), .signalled(let rank, _), .leftWithoutFinalizing(let rank):
        return .rankDied(rank: rank, code: nil, message: message)
      }
    }
    if reader.hasTooFewSlots { return .tooFewSlots(ranks: ranks) }
    switch end {
    case .exited(0): return .finished(status: reader.endedStatus ?? 0)
    case .exited(let status): return .mpirunFailed(status: status)
    case .signalled(let signal): return .mpirunFailed(status: 128 + signal)
    }
  }

  private static func find(_ program: String, path: String) throws(ExecutionError) -> String {
    let folders = path.split(separator: ":").map(String.init)
    for folder in folders where access("\(folder)/\(program)", X_OK) == 0 { return "\(folder)/\(program)" }
    throw .mpirunNotFound(searched: folders)
  }

  private static func thisExecutable() throws(ExecutionError) -> String {
    do {
      return try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    } catch {
      throw .cannotRead(file: "/proc/self/exe", reason: "\(error)")
    }
  }
}
