// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import Launches
import Plans
import TestSupport
import Testing
import Traces

@testable import tpplan

/// `tpplan export` as a person starts it.
@Suite struct ExportCommandTests {
  private let folder: TemporaryFolder
  private let plan: String

  init() throws {
    folder = try TemporaryFolder()
    plan = folder.file("plan.json")
    try PlanFile.write(Split.interleaved.plan(), to: plan)
  }

  private func run(_ arguments: [String]) throws -> CommandLineRun { try CommandLineRun(["export", plan] + arguments) }

  @Test("A time line goes to standard output or a file, the same bytes, which a JSON reader takes")
  func perfetto() throws {
    let (printed, file) = (try run(["--to", "perfetto"]), folder.file("step.json"))
    #expect(printed.status == 0)
    let written = try run(["--to", "perfetto", "-o", file])
    #expect(written.status == 0 && written.output.hasPrefix("\(file): gpt2 on "), "\(written.output)")
    #expect(try String(contentsOfFile: file, encoding: .utf8) == printed.output)
    let trace = try Document(readingFrom: file).value
    guard case .array(let events) = trace["traceEvents"] else {
      Issue.record("no events")
      return
    }
    let phases = Set(events.compactMap { event in if case .string(let phase) = event["ph"] { phase } else { nil } })
    #expect(phases == ["M", "X", "b", "e", "s", "f", "C"])
    #expect(trace["otherData"]?["ranks"] == [0, 1, 2, 3])
    #expect(try Document(file: "-", parsing: run(["--to", "perfetto", "--ranks", "stages"]).output.utf8).value["otherData"]?["ranks"] == [0, 2])
  }

  @Test("Traces go to a new folder, of which it is said how much is in it")
  func chakra() throws {
    let target = folder.file("traces")
    let written = try run(["--to", "chakra", "-o", target, "--format", "json"])
    #expect(written.status == 0, "\(written.output)")
    let told = try Document(file: "-", parsing: written.output.utf8).value
    let files = try FileManager.default.contentsOfDirectory(atPath: target)
    let bytes = try files.reduce(0) { try $0 + readFile("\(target)/\($1)").count }
    #expect(told == ["bytes": .int(bytes), "files": .int(files.count), "output": .string(target), "target": "chakra"] && files.count == 5)
    // An empty folder will do, with a slash behind its name; one that holds something stays as it is.
    let empty = folder.file("empty")
    try FileManager.default.createDirectory(atPath: empty, withIntermediateDirectories: false)
    #expect(try run(["--to", "chakra", "-o", "\(empty)/"]).status == 0)
    #expect(try FileManager.default.contentsOfDirectory(atPath: empty).count == 5)
    let again = try run(["--to", "chakra", "-o", target])
    #expect(again.status == Failure.cannotWrite && again.output.contains("not empty"), "\(again.output)")
    // Nothing is left of what was on its way.
    #expect(try FileManager.default.contentsOfDirectory(atPath: folder.url.path).sorted() == ["empty", "plan.json", "traces"])
  }

  @Test(
    "What cannot be carried out is said before the plan is read, with the exit code of its kind",
    arguments: [
      (["--to", "chakra"], Failure.usage, "name a new one with -o"), (["--to", "chakra", "-o", "-"], Failure.usage, "name a new one with -o"),
      (["--to", "nothing"], Failure.usage, "perfetto"), (["--to", "chakra", "-o", "PLAN"], Failure.usage, "another purpose"),
      (["--to", "perfetto", "-o", "PLAN"], Failure.usage, "another purpose"),
      (["--to", "chakra", "--ranks", "all", "-o", "x"], Failure.usage, "--ranks is for --to perfetto"),
      (["--to", "perfetto", "-o", "/nonexistent/step.json"], Failure.cannotWrite, "no folder"),
      (["--to", "chakra", "-o", "/nonexistent/traces"], Failure.cannotWrite, "no folder"),
      (["--to", "chakra", "-o", "README.md"], Failure.cannotWrite, "it is a file"),
    ])
  func refusals(case refused: (arguments: [String], status: Int32, text: String)) throws {
    let ran = try run(refused.arguments.map { $0 == "PLAN" ? plan : $0 })
    #expect(ran.status == refused.status && ran.output.contains(refused.text), "\(ran.output)")
  }

  @Test("A plan that a target cannot express is bad input, and its layer is named")
  func inexpressible() {
    let failure = Failure(Inexpressible("transformer.h.3.mlp.c_fc", "is split by rows; pin it to column"), target: "megatron")
    #expect(failure.code == Failure.badInput)
    #expect(failure.message == "megatron cannot express this plan: transformer.h.3.mlp.c_fc: is split by rows; pin it to column")
  }
}
