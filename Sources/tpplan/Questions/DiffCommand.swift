// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Plans

/// `tpplan diff`: what two plans of one model do otherwise.
struct DiffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff", abstract: "Show what two plans of one model do otherwise, and what moving a training from one to the other sends.",
    examples: [
      """
      tpplan estimate models/gpt2.json hardware/dgx-a100.json \\
        --dp 8 --batch 64 --seq 1024 -o other.json
      """,
      "tpplan diff plans/gpt2-dgx-a100-8.json other.json",
    ])

  @Argument(help: "A plan; - is standard input.", completion: .json)
  var first: String

  @Argument(help: "Another plan of the same model.", completion: .json)
  var second: String

  @Flag(help: "Also list operators that both do alike.")
  var all = false

  @Option(help: "How results are printed.")
  var format: OutputFormat = .text

  func run() throws {
    let difference = try PlanDifference(PlanFile.read(first), PlanFile.read(second), names: (first, second))
    switch format {
    case .text: try printLines(difference.lines(TextStyle.ofStandardOutput, all: all))
    case .json: try difference.json.printLine()
    }
  }
}
