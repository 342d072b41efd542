// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

extension MPIRuns {
  /// What `scripts/check-failures` does more of.
  struct FailingTrainingTests {
    @Test(
      "a training that is killed again and again ends at once each time, and goes on under other plans with the same losses", arguments: [UInt64(1)])
    func kills(seed: UInt64) throws {
      let folder = try TrainingFolder()
      let (path, steps) = ("\(folder.path)/checkpoints", 60)
      let whole = try TrainingProcess(["--devices", "1"], ["--steps", "\(steps)"], in: folder)
      whole.expectCleanEnd()
      let expected = whole.losses
      try #require(expected.count == steps, "\(whole.diagnostics)")

      var random = SeededGenerator(seed: seed)
      for degrees in [["--dp", "2"], ["--tp", "2"], ["--pp", "2", "--micro-batch", "1"], ["--dp", "2", "--zero", "3"], ["--tp", "2"]] {
        let resume = checkpoints(in: path).complete.isEmpty ? [] : ["--resume", path]
        let training = try TrainingProcess(
          degrees, ["--steps", "100000", "--checkpoint", path, "--every", "1", "--keep", "2"] + resume, in: folder)
        let count = Int.random(in: 1...4, using: &random)
        try #require(training.waits { training.losses.count >= count }, "\(training.diagnostics)")
        usleep(UInt32.random(in: 0..<100_000, using: &random))
        let rank = Int.random(in: 0..<2, using: &random)
        kill(try #require(training.rank(rank)), SIGKILL)
        training.expectCleanEnd()
        #expect(training.process.terminationStatus == 1)
        #expect(training.diagnostics.contains("tpplan: rank \(rank): killed by signal 9"))
        expect(training.losses, equal: expected)
      }
      let last = try #require(checkpoints(in: path).complete.last.flatMap { Int($0.dropFirst("step-".count)) })
      let end = try TrainingProcess(["--devices", "1"], ["--steps", "\(last + 2)", "--checkpoint", path, "--resume", path], in: folder)
      end.expectCleanEnd()
      #expect(end.process.terminationStatus == 0 && end.losses.keys.sorted() == [last, last + 1], "\(end.diagnostics)")
      expect(end.losses, equal: expected)
      #expect(checkpoints(in: path).partial == [])
    }

    @Test(
      "a training that goes on says what is otherwise than before, and goes on with the file of tokens alone; one that ends tells its last checkpoint"
    )
    func goesOnOtherwise() throws {
      let folder = try TrainingFolder()
      let (plan, tokens, path) = (try TrainingProcess.plan(["--devices", "1"], in: folder), "\(folder.path)/tokens", "\(folder.path)/checkpoints")
      func run(_ arguments: String...) throws -> CommandLineRun { try CommandLineRun(["run", plan] + arguments) }
      let first = try run("--steps", "2", "--tokens", tokens, "--lr", "0.001", "--checkpoint", path)
      #expect(first.status == 0 && first.output.contains("\(tokens): ") && first.output.contains("one pass takes "), "\(first.output)")
      #expect(first.output.contains("{\"checkpoint\":\"\(path)/step-00000002\"") && first.output.contains("generated from seed 1"))
      let bare = try run("--steps", "3", "--resume", path)
      #expect(
        bare.status == 64 && bare.output.contains("took 64 tokens of a file, and goes on with what follows; name it with --tokens"), "\(bare.output)")
      let other = try run("--steps", "3", "--resume", path, "--tokens", tokens, "--lr", "0.002", "--clip-norm", "1")
      #expect(other.status == 0 && other.output.contains("--lr is 0.002, and was 0.001 in the training"), "\(other.output)")
      #expect(other.output.contains("--clip-norm is 1.0, and was none in the training") && !other.output.contains("generated from seed"))
      let training = try TrainingProcess(
        ["--devices", "1"], ["--steps", "100000", "--resume", path, "--checkpoint", path, "--every", "1", "--keep", "1"], in: folder)
      try #require(training.waits { training.losses.count > 2 }, "\(training.diagnostics)")
      kill(training.process.processIdentifier, SIGINT)
      training.expectCleanEnd()
      #expect(training.diagnostics.contains(#/tpplan: --resume \S*checkpoints/step-\d+ goes on from the last checkpoint/#), "\(training.diagnostics)")
    }

    @Test("a token that the model does not have is found before the first step, if the run would come to it")
    func unknownToken() throws {
      let folder = try TrainingFolder()
      let (plan, tokens) = (try TrainingProcess.plan(["--devices", "1"], in: folder), "\(folder.path)/wrong")
      var bytes = [UInt8](repeating: 0, count: 2 * 1000)
      bytes[2 * 500 + 1] = 200
      try Data(bytes).write(to: URL(filePath: tokens))
      // A step takes 4 sequences of 8 tokens.
      let early = try CommandLineRun(["run", plan, "--tokens", tokens, "--steps", "15"])
      #expect(early.status == 0, "\(early.output)")
      let late = try CommandLineRun(["run", plan, "--tokens", tokens, "--steps", "16"])
      #expect(
        late.status == 65 && late.output.contains("hold 51200 at place 500, read as uint16") && !late.output.contains("\"loss\""), "\(late.output)")
    }

    private func expect(_ losses: [Int: Double], equal expected: [Int: Double]) {
      for (step, loss) in losses.sorted(by: { $0.key < $1.key }) {
        guard let other = expected[step] else { continue }
        #expect(abs(loss - other) <= 1e-5 * max(1, abs(other)), "step \(step)")
      }
    }

    @Test("a checkpoint's folder that is gone ends the run with its path")
    func removedFolder() throws {
      let folder = try TrainingFolder()
      let path = "\(folder.path)/checkpoints"
      let training = try TrainingProcess(["--tp", "2"], ["--steps", "100000", "--checkpoint", path, "--every", "2"], in: folder)
      try #require(training.waits { !checkpoints(in: path).complete.isEmpty }, "\(training.diagnostics)")
      try FileManager.default.moveItem(atPath: path, toPath: path + ".away")
      training.expectCleanEnd()
      #expect(training.process.terminationStatus == 73)
      #expect(training.diagnostics.contains(#/tpplan: rank [01]: \S*checkpoints/step-\S+: cannot be written: /#), "\(training.diagnostics)")
      // Where the folder is moved while one is written, its parts are those of an ended run.
      #expect(!checkpoints(in: path + ".away").complete.isEmpty)
    }

    @Test("a full disk ends the run, and leaves the checkpoints before and no part", .enabled(if: Self.canMount, "mounting a small disk needs root"))
    func fullDisk() throws {
      let folder = try TrainingFolder()
      let path = "\(folder.path)/checkpoints"
      try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
      // One has 300 KB; the third does not fit.
      try #require(Self.system("mount", "-t", "tmpfs", "-o", "size=800k", "tpplan-test", path))
      defer { _ = Self.system("umount", "-l", path) }
      let training = try TrainingProcess(["--tp", "2"], ["--steps", "100000", "--checkpoint", path, "--every", "1"], in: folder)
      training.expectCleanEnd()
      #expect(training.process.terminationStatus == 73)
      #expect(
        training.diagnostics.contains(#/tpplan: rank [01]: \S*checkpoints/step-\S+: cannot be written: No space left on device/#),
        "\(training.diagnostics)")
      let left = checkpoints(in: path)
      #expect(left.partial == [] && !left.complete.isEmpty)
      let other = try TrainingProcess(["--dp", "2"], ["--steps", "50", "--resume", path], in: folder)
      other.expectCleanEnd()
      #expect(other.process.terminationStatus == 0, "\(other.diagnostics)")
    }

    private static var canMount: Bool {
      let path = FileManager.default.temporaryDirectory.appending(path: "mount-\(UUID().uuidString)").path
      guard geteuid() == 0, mkdir(path, 0o700) == 0 else { return false }
      defer { rmdir(path) }
      return system("mount", "-t", "tmpfs", "tpplan-test", path) && system("umount", path)
    }

    private static func system(_ words: String...) -> Bool {
      let process = Process()
      process.executableURL = URL(filePath: "/usr/bin/env")
      process.arguments = words
      process.standardError = FileHandle.nullDevice
      guard (try? process.run()) != nil else { return false }
      process.waitUntilExit()
      return process.terminationStatus == 0
    }

    @Test("where memory is short a run ends, whatever cannot be had", arguments: [320, 400, 480])
    func memoryLimit(mebibytes: Int) throws {
      let folder = try TrainingFolder()
      let training = try TrainingProcess(["--tp", "2"], ["--steps", "2"], in: folder, memory: mebibytes << 10)
      training.expectCleanEnd()
      if training.process.terminationStatus != 0 { #expect(training.diagnostics != "") }
    }

    @Test(
      "Ctrl-C twice, and the death of tpplan, of mpirun or of the shell around it, leave nothing", arguments: ["twice", "tpplan", "mpirun", "sh"])
    func signals(kind: String) throws {
      let folder = try TrainingFolder()
      let path = "\(folder.path)/checkpoints"
      let training = try TrainingProcess(["--tp", "2"], ["--steps", "100000", "--checkpoint", path, "--every", "1", "--keep", "2"], in: folder)
      try #require(training.waits { training.losses.count >= 2 }, "\(training.diagnostics)")
      let mpirun = try #require(training.processes(named: "orterun").first ?? training.processes(named: "mpirun").first)
      let words = try Data(contentsOf: URL(filePath: "/proc/\(mpirun)/cmdline")).split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
      let shared = words.drop { $0 != "orte_tmpdir_base" }.dropFirst().first
      let tpplan = training.process.processIdentifier
      switch kind {
      case "twice":
        kill(tpplan, SIGINT)
        usleep(100_000)
        kill(tpplan, SIGINT)
      case "tpplan": kill(tpplan, SIGKILL)
      case "mpirun": kill(mpirun, SIGKILL)
      default: for shell in training.processes(named: "dash") + training.processes(named: "bash") { kill(shell, SIGKILL) }
      }
      training.expectCleanEnd()
      if let shared { #expect(!FileManager.default.fileExists(atPath: shared)) }
      let codes = ["twice": Int32(130), "tpplan": SIGKILL, "mpirun": 70, "sh": 70]
      #expect(training.process.terminationStatus == codes[kind], "\(training.diagnostics)")
    }

    @Test("an mpirun that does not answer is killed, with all ranks")
    func stoppedMPIRun() throws {
      let folder = try TrainingFolder()
      let training = try TrainingProcess(["--tp", "2"], ["--steps", "100000"], in: folder)
      try #require(training.waits { training.losses.count >= 2 }, "\(training.diagnostics)")
      let mpirun = try #require(training.processes(named: "orterun").first ?? training.processes(named: "mpirun").first)
      kill(mpirun, SIGSTOP)
      kill(training.process.processIdentifier, SIGINT)
      training.expectCleanEnd()
      #expect(training.process.terminationStatus == 130)
    }
  }
}
