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
    /// A host no longer answered, or mpirun's daemon on it died; `ranks` are those that the host file places on it, where it says so.
    case hostLost(name: String, ranks: Range<Int>)
    /// SIGINT, SIGTERM or SIGHUP came, and the ranks were ended.
    case interrupted
    /// mpirun found fewer places for ranks than the plan has.
    case tooFewSlots(ranks: Int)
    /// mpirun itself failed; what it said has been passed on to stderr.
    case mpirunFailed(status: Int32, hostfile: String?)
    /// Somebody killed mpirun, and the ranks ended with it.
    case mpirunKilled(signal: Int32)

    /// By the design's table: 1 for a rank that died without naming one of the table's codes.
    package var exitCode: Int32 {
      switch self {
      case .finished(let status): status
      case .rankDied(_, let code, _): code.flatMap { [1, 2, 3, 64, 65, 70, 73].contains($0) ? $0 : nil } ?? 1
      case .hostLost: 1
      case .interrupted: 130
      case .tooFewSlots: 65
      case .mpirunFailed, .mpirunKilled: 70
      }
    }

    /// For stderr; nil where there is nothing to say.
    package var message: String? {
      switch self {
      case .finished: nil
      case .rankDied(_, _, let message): message
      case .hostLost(let name, let ranks):
        (ranks.isEmpty ? "" : ranks.count == 1 ? "rank \(ranks.lowerBound): " : "ranks \(ranks.lowerBound) to \(ranks.upperBound - 1): ")
          + "host \(name) no longer answers, or mpirun's daemon there was ended; every rank has been ended"
      case .interrupted: "interrupted; every rank has been ended"
      case .tooFewSlots(let ranks):
        "mpirun found fewer slots than the plan's \(counted(ranks, "rank")); a host without slots=N in the host file has one for each of its cores."
          + " Give the hosts slots=N, add hosts, ask the batch system for more, or search a plan with fewer --devices"
      case .mpirunFailed(let status, let hostfile):
        "mpirun could not run the ranks\(hostfile.map { " on the hosts of \($0)" } ?? "") and ended with status \(status); what it, or ssh, said of it stands above"
      case .mpirunKilled(let signal): "mpirun was killed by signal \(signal) (\(String(cString: strsignal(signal)))); every rank has ended with it"
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
    var command = MPIRunCommand(
      ranks: ranks, threadsPerRank: threadsPerRank, hostfile: hostfile, exported: environment.map(\.name) + [RankReport.variable],
      host: .current(), environment: variables)
    let executable = if let program { program } else { try Self.thisExecutable() }
    let keeper = RunKeeper(isSingleHost: command.isSingleHost)
    defer { keeper.removeFolder() }
    command.folder = keeper.folder
    for (name, value) in environment + [(RankReport.variable, keeper.mark)] { variables[name] = value }
    let words = keeper.command([mpirun] + command.arguments(program: executable, programArguments: arguments))

    // Open MPI takes one to three seconds for an end in order, and until a host is taken for lost where one does not answer.
    let child = ChildProcess(
      path: words[0], arguments: Array(words.dropFirst()), environment: variables, output: output, grace: .seconds(command.isSingleHost ? 5 : 9))
    var reader = RunDiagnostics()
    let (end, wasInterrupted) = try child.run(forwardsSignals: forwardsSignals, killAll: keeper.killAll) { line in
      for passed in reader.read(line) { diagnostics(passed) }
      if let line = reader.takeStep() { step(line) }
      return reader.failure != nil || reader.lostHost != nil
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
    if let name = reader.lostHost {
      let hosts = hostfile.flatMap { try? Hostfile(path: $0) }
      return .hostLost(name: name, ranks: hosts?.ranks(ofAll: ranks, onHostNamed: [name], cores: ranks) ?? 0..<0)
    }
    if reader.hasTooFewSlots { return .tooFewSlots(ranks: ranks) }
    switch end {
    case .exited(0): return .finished(status: reader.endedStatus ?? 0)
    case .exited(let status):
      // As a shell tells it.
      return 129...159 ~= status ? .mpirunKilled(signal: status - 128) : .mpirunFailed(status: status, hostfile: hostfile)
    case .signalled(let signal): return .mpirunKilled(signal: signal)
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
