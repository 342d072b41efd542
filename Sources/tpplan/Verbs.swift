// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation

/// What `tpplan` does, by its first word.
enum Verbs {
  /// As help shows them.
  static let groups = [
    CommandGroup(name: "Plan", subcommands: [SearchCommand.self, EstimateCommand.self, SolveCommand.self]),
    CommandGroup(name: "Look", subcommands: [InspectCommand.self, ReportCommand.self, DiffCommand.self, CheckCommand.self]),
    CommandGroup(name: "Ask", subcommands: [ExplainCommand.self, CompareCommand.self, SweepCommand.self, ParetoCommand.self, LintCommand.self]),
    CommandGroup(name: "Use", subcommands: executing + [ExportCommand.self]),
    CommandGroup(name: "Measure", subcommands: measuring + [ValidateCommand.self, FitCommand.self]),
  ].filter { !$0.subcommands.isEmpty }

  /// What files name: the same whichever build writes them.
  static let program = "tpplan 0.1.0"

  #if PLANS_ONLY
    static let version = program + ", plans only"
    private static let executing: [any ParsableCommand.Type] = []
    private static let measuring: [any ParsableCommand.Type] = []
    /// Those that the whole program has and this one lacks.
    private static let missing = ["run", "execute", "calibrate"]
  #else
    static let version = program
    private static let executing: [any ParsableCommand.Type] = [RunCommand.self]
    private static let measuring: [any ParsableCommand.Type] = [CalibrateCommand.self]
    private static let missing: [String] = []
  #endif

  static var all: [any ParsableCommand.Type] { groups.flatMap(\.subcommands) }

  private static func names(of verb: any ParsableCommand.Type) -> [String] { [verb._commandName] + verb.configuration.aliases }

  /// Refuses a verb that there is none of, and says which was probably meant.
  ///
  /// - Parameter arguments: of the whole command.
  /// - Throws: `UsageError`.
  static func check(_ arguments: [String]) throws {
    var words = arguments.dropFirst()
    if words.first == "help" { words = words.dropFirst() }
    guard let word = words.first, !word.hasPrefix("-") else { return }
    let known = all.flatMap(names)
    if known.contains(word) || word == "help" { return }
    try requireExecution(of: word)
    if word.contains(where: { "./".contains($0) }) {
      throw UsageError("\(word): a verb comes before it, such as `tpplan search MODEL HW` or `tpplan inspect PLAN`; `tpplan --help` lists them")
    }
    let meant = nearestSpelling(to: word, among: known + ["help", "--version"])
    throw UsageError("there is no verb \"\(word)\"" + (meant.map { "; did you mean \"\($0)\"?" } ?? "; `tpplan --help` lists them"))
  }

  /// - Parameter verb: one that this program may lack.
  /// - Throws: `UsageError` where it does.
  static func requireExecution(of verb: String = "run") throws {
    guard missing.contains(verb) else { return }
    throw UsageError(
      "this tpplan plans and does not \(verb): it is the build without Open MPI and OpenBLAS. `make build` in tpplan's sources makes the one with them"
    )
  }

  /// An example of the verb that a command has.
  static func example(for arguments: [String]) -> String? {
    guard let word = arguments.dropFirst().first, let verb = all.first(where: { names(of: $0).contains(word) }) else { return nil }
    // Those before it make what it reads.
    let examples = verb.configuration.examples
    return examples.first { $0.hasPrefix("tpplan \(verb._commandName) ") } ?? examples.first
  }
}
