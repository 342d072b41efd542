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
      Examples:
        tpplan search models/gpt2.json hardware/local.json --devices 2 \\
          --batch 2 --seq 256 -o plan.json
        tpplan inspect plan.json
        tpplan run plan.json --verify
      """,
    version: Verbs.version,
    groupedSubcommands: Verbs.groups)

  static var _errorPrefix: String { "tpplan: " }

  static func main() {
    StandardStreams.prepare()
    do {
      try refuseEmptyWords(CommandLine.arguments)
      try Verbs.check(CommandLine.arguments)
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
      if exitCode(for: error) == .validationFailure, let example = Verbs.example(for: CommandLine.arguments) {
        note("\(fullMessage(for: error))\n  For example: \(example)")
        Foundation.exit(Failure.usage)
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
