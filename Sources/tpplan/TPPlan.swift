// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
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
      SearchCommand.self, InspectCommand.self, ReportCommand.self, RunCommand.self, CalibrateCommand.self, EstimateCommand.self, ValidateCommand.self,
      FitCommand.self,
      SolveCommand.self,
    ])

  static func main() {
    // A reader that closes its end of a pipe early is no error of ours.
    signal(SIGPIPE, SIG_DFL)
    do {
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
}
