// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import TestSupport
import Testing

@testable import tpplan

/// What is said where a command line is wrong: what was meant, or what to do.
@Suite struct MistakeTests {
  private func run(_ command: String) throws -> CommandLineRun { try CommandLineRun(command.split(separator: " ").map(String.init)) }

  @Test(arguments: [
    ("serch", "there is no verb \"serch\"; did you mean \"search\"?"),
    ("help inspekt", "there is no verb \"inspekt\"; did you mean \"inspect\"?"),
    ("version", "there is no verb \"version\"; did you mean \"--version\"?"),
    ("frobnicate", "there is no verb \"frobnicate\"; `tpplan --help` lists them"),
    ("models/gpt2.json hardware/dgx-a100.json", "models/gpt2.json: a verb comes before it"),
    ("search models/gpt2.json hardware/dgx-a100.json --batc 4", "Did you mean '--batch'?"),
    ("search models/gpt2.json hardware/dgx-a100.json --batch", "Missing value for '--batch <count>'"),
    ("search models/gpt2.json hardware/dgx-a100.json --mode trian", "Please provide one of 'train' and 'forward'"),
    ("search models/gpt2.json hardware/dgx-a100.json --devices 8 --dtype int8", "--dtype int8: known are bf16, fp16, fp32"),
    ("search hardware/dgx-a100.json models/gpt2.json", "the order is MODEL HW"),
    ("check models/gpt2.json hardware/dgx-a100.json plans/mlp-dgx-a100-4.json", "the order is PLAN MODEL HW"),
    ("search", "For example: tpplan search models/gpt2.json"),
    ("estimate models/gpt2.json", "the hardware file is missing"),
  ])
  func ofTheCommandLine(command: String, expected: String) throws {
    let run = try run(command)
    #expect(run.status == Failure.usage)
    #expect(run.output.hasPrefix("tpplan: ") && run.output.contains(expected), "\(run.output)")
  }

  @Test(arguments: [
    ("search models/gpt3.json hardware/dgx-a100.json", "did you mean models/gpt3-175b.json?"),
    ("search gpt2 hardware/dgx-a100.json", "did you mean models/gpt2.json?"),
    ("search models/gpt2.json hardware/dgxa100.json", "did you mean hardware/dgx-a100.json?"),
    ("inspect plan/mlp-dgx-a100-4.json", "there is no folder plan"),
    ("inspect models/gpt2.json", "expected a plan, which `tpplan search` makes"),
  ])
  func ofFiles(command: String, expected: String) throws {
    let run = try run(command)
    #expect(run.status == Failure.badInput)
    #expect(run.output.contains(expected), "\(run.output)")
  }

  @Test func aFileThatIsLikeNoOtherGetsNoSuggestion() throws {
    #expect(try run("inspect models/zzzzzzzz.json").output == "tpplan: models/zzzzzzzz.json: cannot be read: No such file or directory\n")
  }

  @Test func theVersionIsOneLine() throws {
    let run = try run("--version")
    #expect(run.status == 0 && run.output == "\(Verbs.version)\n")
  }
}
