// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

extension MPIRuns {
  struct StandardStreamsTests {
    @Test(
      "a training does not depend on whether what it says can be written",
      arguments: [
        "exec \"$@\" 2>/dev/full", "exec \"$@\" 2>&-", "exec \"$@\" <&- 2>&-",
        // A reader that leaves.
        "exec 3>&1; { \"$@\" 2>&1 >&3; echo \"status $?\" >&3; } | head -1 >/dev/null",
      ])
    func lostDiagnostics(shell: String) throws {
      let folder = try TrainingFolder()
      let path = "\(folder.path)/checkpoints"
      let run = try CommandLineRun(
        [
          "run", try TrainingProcess.plan(["--tp", "2"], in: folder), "--steps", "40", "--tokens", "\(folder.path)/tokens", "--checkpoint", path,
          "--every", "1", "--format", "json",
        ], shell: shell)
      #expect(run.status == 0)
      if shell.contains("status") { #expect(run.output.hasSuffix("status 0\n")) }
      #expect(run.output.contains("\"losses\":["))
      #expect(checkpoints(in: path).complete.count == 40)
    }

    @Test("results that cannot be written are an error, with the reason", arguments: ["/dev/full", "&-"])
    func lostResults(target: String) throws {
      let folder = try TrainingFolder()
      let plan = try TrainingProcess.plan(["--tp", "2"], in: folder)
      let (model, cluster) = ("Tests/Fixtures/torch/gpt2", "hardware/local.json")
      let given = ["--batch", "4", "--seq", "8", "--devices", "1"]
      for arguments in [
        ["run", plan], ["run", plan, "--format", "json"], ["inspect", plan], ["inspect", plan, "--format", "json"],
        ["search", model, cluster, "-o", "\(folder.path)/a.json"] + given,
        ["search", model, cluster, "-o", "-"] + given,
        ["search", model, cluster, "--space"] + given, ["estimate", model, cluster] + given,
        ["estimate", "--rows", "validation/korthikanti2022.json"],
      ] {
        let run = try CommandLineRun(arguments, shell: "exec \"$@\" >\(target)")
        #expect(run.status == 73, "\(arguments)")
        let reason = target == "&-" ? "Bad file descriptor" : "No space left on device"
        #expect(run.output.hasSuffix("tpplan: standard output: cannot be written: \(reason)\n"), "\(arguments): \(run.output)")
      }
    }

    @Test("a reader that has what it wants is no error")
    func earlyReader() throws {
      let folder = try TrainingFolder()
      let plan = try TrainingProcess.plan(["--tp", "2"], in: folder)
      for arguments in [["inspect", plan], ["inspect", plan, "--rank", "0"], ["run", plan]] {
        let run = try CommandLineRun(arguments, shell: "\"$@\" | true")
        #expect(run.status == 0 && !run.output.contains("standard output"), "\(run.output)")
      }
    }
  }
}
