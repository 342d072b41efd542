// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Testing

@testable import Execution

extension MPIRuns {
  struct LauncherTests {
    @Test(
      "a rank that dies ends the run, with its rank and reason",
      arguments: [
        ("exit", Int32(1), "rank 1: ended with exit code 1 while the others were running"),
        ("exit-0", 1, "rank 1: ended while the others were running"),
        ("kill", 1, "rank 1: killed by signal 9 (Killed); if nobody sent it, the machine ran out of memory"),
        ("throw", 65, "rank 1: the weights are not\nthere"),
        ("abort", 73, "rank 1: no space left"),
      ])
    func deadRank(kind: String, exitCode: Int32, message: String) throws {
      let run = try ProbeRun(ranks: 2, ["fail", kind])
      #expect(run.outcome.message == message)
      #expect(run.outcome.exitCode == exitCode)
      #expect(run.diagnostics == [])
      #expect(try processes(of: ["fail", kind]) == [])
    }

    @Test("where every rank fails at once, one of them is the message")
    func allRanksThrow() throws {
      let run = try ProbeRun(ranks: 4, ["fail", "all-throw"])
      guard case .rankDied(let rank, 65, let message) = run.outcome else { return #expect(run.outcome == .interrupted) }
      #expect(message == "rank \(rank): the weights are not\nthere")
      #expect(run.diagnostics == [])
    }

    @Test("an orderly end keeps its status", arguments: [Int32(0), 1, 2])
    func status(_ status: Int32) throws {
      let run = try ProbeRun(ranks: 2, ["status", "\(status)"])
      #expect(run.outcome == .finished(status: status))
      #expect(run.diagnostics == [])
    }

    @Test("ranks get the variables and the arguments as they are, and one restart at most")
    func environment() throws {
      let run = try ProbeRun(ranks: 2, ["environment", "SkylakeX", "two words", ""], environment: [("PROBE", "a b=c")])
      // The user's own choice of a kernel, if there is one, stands.
      let kernel = ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"] ?? ""
      let expected = ["OPENBLAS_CORETYPE=\(kernel)", "OPENBLAS_NUM_THREADS=3", "PROBE=a b=c", "arguments=environment SkylakeX two words "]
      #expect(try run.ranks == [expected, expected])
    }

    @Test("signals and the launcher's death end every rank", arguments: [SIGINT, SIGTERM, SIGKILL])
    func signals(_ number: Int32) throws {
      let marker = UUID().uuidString
      let launcher = Process()
      launcher.executableURL = URL(filePath: try ProbeRun.program)
      launcher.arguments = ["launch", "2", "fail", "wait", marker]
      let diagnostics = Pipe()
      launcher.standardError = diagnostics
      try launcher.run()
      // The launcher, the shell around mpirun, mpirun and two ranks.
      #expect(try waitUntil { try processes(of: [marker]).count == 5 })
      kill(launcher.processIdentifier, number)
      launcher.waitUntilExit()
      if number == SIGKILL {
        #expect(launcher.terminationReason == .uncaughtSignal)
      } else {
        #expect(launcher.terminationStatus == 130)
        let text = String(decoding: diagnostics.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        #expect(text.hasSuffix("interrupted; every rank has been ended\n"))
      }
      #expect(try waitUntil { try processes(of: [marker]).isEmpty })
    }

    @Test("a host that is lost is named, with what Open MPI says of it taken out")
    func lostHost() {
      let rule = String(repeating: "-", count: 74)
      var reader = RunDiagnostics()
      let lines = [
        rule, "ORTE has lost communication with a remote daemon.", "", "  HNP daemon   : [[11803,0],0] on node a",
        "  Remote daemon: [[11803,0],1] on node 10.0.0.2", "", "This is usually due to either a failure of the TCP network", rule, "after",
      ]
      #expect(lines.flatMap { reader.read($0) } == ["after"])
      #expect(reader.lostHost == "10.0.0.2")
      let outcome = Launcher.Outcome.hostLost(name: "10.0.0.2", ranks: 2..<4)
      #expect(outcome.exitCode == 1)
      #expect(outcome.message?.hasPrefix("ranks 2 to 3: host 10.0.0.2 no longer answers") == true)
    }

    /// Polls for at most half a minute; an answer that never comes is false.
    private func waitUntil(_ condition: () throws -> Bool) throws -> Bool {
      for _ in 0..<600 {
        if try condition() { return true }
        usleep(50_000)
      }
      return false
    }

    /// The command lines of this machine's processes that have all `words` in them.
    private func processes(of words: [String]) throws -> [String] {
      let numbers = try FileManager.default.contentsOfDirectory(atPath: "/proc").filter { Int($0) != nil }
      let lines = numbers.compactMap { try? Data(contentsOf: URL(filePath: "/proc/\($0)/cmdline")) }
      let commands = lines.map { $0.split(separator: 0).map { String(decoding: $0, as: UTF8.self) } }
      return commands.filter { Set(words).isSubset(of: $0) && $0.contains { $0.hasSuffix("execution-probe") } }.map { $0.joined(separator: " ") }
    }
  }
}
