// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser

@main
struct TPPlan: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "tpplan", abstract: "Choose, prove and run a partition of a neural network.", subcommands: [SearchCommand.self, InspectCommand.self])
}
