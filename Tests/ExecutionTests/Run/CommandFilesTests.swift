// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

extension MPIRuns {
  struct CommandFilesTests {
    @Test("what a command writes lies over nothing that it reads or writes besides, by whatever name")
    func outputs() throws {
      let folder = try TrainingFolder()
      let manager = FileManager.default
      let plan = try TrainingProcess.plan(["--tp", "2"], in: folder)
      func path(_ name: String) -> String { "\(folder.path)/\(name)" }
      try manager.createDirectory(atPath: path("weights"), withIntermediateDirectories: false)
      let fixture = CommandLineRun.folder.appending(path: "Tests/Fixtures/torch/gpt2").path
      for name in ["config.json", "model.safetensors"] {
        try manager.copyItem(atPath: "\(fixture)/\(name)", toPath: path("weights/\(name)"))
      }
      try manager.copyItem(atPath: CommandLineRun.folder.appending(path: "hardware/local.json").path, toPath: path("hw.json"))
      try manager.createSymbolicLink(atPath: path("link"), withDestinationPath: "tokens")
      try Data("localhost slots=2\n".utf8).write(to: URL(filePath: path("hosts")))
      let (run, given) = (["run", plan], ["--devices", "1", "--batch", "4", "--seq", "8"])
      let search = ["search", path("weights"), path("hw.json")] + given
      let refused: [(arguments: [String], option: String, other: String)] = [
        (run + ["--save-weights", plan], "--save-weights", "PLAN"),
        (run + ["--trace", "\(folder.path)/./\(URL(filePath: plan).lastPathComponent)"], "--trace", "PLAN"),
        (run + ["--tokens", path("tokens"), "--save-weights", path("link")], "--save-weights", "--tokens"),
        (run + ["--tokens", path("link"), "--outputs", path("tokens")], "--outputs", "--tokens"),
        (run + ["--weights", path("weights"), "--save-weights", path("weights/../weights/model.safetensors")], "--save-weights", "--weights"),
        (run + ["--hostfile", path("hosts"), "--trace", path("hosts")], "--trace", "--hostfile"),
        (run + ["--save-weights", path("w"), "--trace", path("./w")], "--save-weights", "--trace"),
        (run + ["--save-weights", path("w"), "--checkpoint", path("w/")], "--checkpoint", "--save-weights"),
        (search + ["-o", path("weights/config.json")], "--output", "MODEL"), (search + ["-o", path("hw.json")], "--output", "HW"),
        (search + ["-o", path("x"), "--write-lp", path("x")], "--write-lp", "--output"),
        (["estimate", path("weights"), path("hw.json"), "-o", path("hw.json")], "--output", "HW"),
        (["solve", path("hw.json"), "-o", path("hw.json")], "--output", "PROBLEM"),
      ]
      for (arguments, option, other) in refused {
        let run = try CommandLineRun(arguments)
        #expect(run.status == 64, "\(arguments): \(run.output)")
        #expect(run.output.hasPrefix("tpplan: \(option) /") && run.output.hasSuffix(": this file has another purpose (\(other)); name a new one\n"))
      }
      #expect(!manager.fileExists(atPath: path("w")) && !manager.fileExists(atPath: path("x")))
      let forward = try CommandLineRun(run + ["--mode", "forward", "--outputs", "/dev/null", "--trace", "/dev/null"])
      #expect(forward.status == 0, "\(forward.output)")
      #expect(try CommandLineRun(run + ["--save-weights", "-"]).output == "tpplan: --save-weights writes a file beside what is printed; name one\n")
    }

    @Test(
      "an empty name is refused, wherever it stands",
      arguments: [
        ["run", "plan.json", "--checkpoint", ""], ["run", "plan.json", "--checkpoint="], ["run", ""], ["inspect", ""], ["search", "model.json", ""],
        ["estimate", "--rows", ""], ["calibrate", "-o", ""], ["validate", ""], ["solve", "--output=", "problem.json"],
      ])
    func empty(arguments: [String]) throws {
      let run = try CommandLineRun(arguments)
      #expect(run.status == 64 && run.output.hasSuffix("\"\": the name or value is empty\n"), "\(run.output)")
    }
  }
}
