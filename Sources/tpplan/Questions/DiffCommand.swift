// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Plans

/// `tpplan diff`: what two plans of one model do otherwise.
struct DiffCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diff", abstract: "Show what two plans of one model do otherwise, and what moving a training from one to the other sends.",
    discussion: "Example: tpplan diff plan.json other.json")

  @Argument(help: "A plan; - is standard input.")
  var first: String

  @Argument(help: "Another plan of the same model.")
  var second: String

  @Flag(help: "Also list operators that both do alike.")
  var all = false

  @Option(help: "text or json.")
  var format: OutputFormat = .text

  func run() throws {
    let difference = try PlanDifference(PlanFile.read(first), PlanFile.read(second), names: (first, second))
    switch format {
    case .text: try printLines(difference.lines(TextStyle.ofStandardOutput, all: all))
    case .json: try difference.json.printLine()
    }
  }
}
