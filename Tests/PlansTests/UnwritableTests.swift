// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

@testable import tpplan

/// Outputs that cannot be written.
@Suite struct UnwritableTests {
  /// Each of these would end otherwise if its work was done: nothing fits, or the problem is none.
  @Test(
    "What cannot be written is said before the work",
    arguments: [
      ["search", "models/llama-3-8b.json", "hardware/dgx-a100.json", "--devices", "1", "--batch", "1"],
      ["estimate", "models/llama-3-8b.json", "hardware/dgx-a100.json", "--batch", "1"], ["solve", "README.md"],
    ])
  func beforehand(command: [String]) throws {
    let folder = try TemporaryFolder()
    let ran = try CommandLineRun(command + ["-o", folder.file("nowhere/output.json")])
    #expect(ran.status == Failure.cannotWrite && ran.output.contains("no folder"), "\(ran.output)")
    #expect(try CommandLineRun(command + ["-o", folder.file("output.json")]).status != Failure.cannotWrite)
  }

  @Test("A linear program is written whole, and not where it cannot be")
  func linearProgram() throws {
    let folder = try TemporaryFolder()
    let search = ["search", "models/mlp.json", "hardware/dgx-a100.json", "--devices", "2", "-o", folder.file("plan.json"), "--write-lp"]
    let missing = try CommandLineRun(search + [folder.file("nowhere/plan.lp")])
    #expect(missing.status == Failure.cannotWrite && missing.output.contains("no folder"), "\(missing.output)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).isEmpty)
    let written = try CommandLineRun(search + [folder.file("plan.lp")])
    #expect(written.status == 0, "\(written.output)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted() == ["plan.json", "plan.lp"])
    let text = try String(contentsOfFile: folder.file("plan.lp"), encoding: .utf8)
    #expect(text.contains("Minimize") && text.hasSuffix("End\n"))
  }
}
