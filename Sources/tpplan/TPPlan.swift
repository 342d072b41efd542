// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation

@main
struct TPPlan: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tpplan",
    abstract: "Choose how to split a neural network over devices, prove the choice, and run it.",
    discussion: """
      tpplan search models/gpt2.json hardware/local.json --devices 2 -o plan.json
      tpplan inspect plan.json
      tpplan run plan.json --verify
      """,
    version: "0.1.0",
    subcommands: [
      SearchCommand.self, InspectCommand.self, ReportCommand.self, ExplainCommand.self, DiffCommand.self, CheckCommand.self, LintCommand.self,
      ExportCommand.self, RunCommand.self, EstimateCommand.self,
      CompareCommand.self, SweepCommand.self, ParetoCommand.self, CalibrateCommand.self, ValidateCommand.self, FitCommand.self,
      SolveCommand.self,
    ])

  static func main() {
    StandardStreams.prepare()
    do {
      try refuseEmptyWords(CommandLine.arguments)
      var command = try parseAsRoot()
      try command.run()
    } catch let failure as Failure {
      failure.report()
      Foundation.exit(failure.code)
    } catch {
      if let failure = Failure(error) {
        failure.report()
        Foundation.exit(failure.code)
      }
      exit(withError: error)
    }
  }

  /// No argument and no option means something without a letter, and as the name of a file or folder it would be that of another: `DIR/file` of the root.
  private static func refuseEmptyWords(_ words: [String]) throws {
    for (before, word) in zip(words, words.dropFirst()) {
      if word.isEmpty { throw UsageError("\(before) \"\": the name or value is empty") }
      if word.hasPrefix("--"), word.hasSuffix("=") { throw UsageError("\(word)\"\": the name or value is empty") }
    }
  }
}
