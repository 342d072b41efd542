// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser

extension CommandConfiguration {
  /// A verb whose help ends with examples.
  ///
  /// - Parameter examples: commands that work, in this order, in the project's folder; a line ends with a backslash where the next one goes on.
  init(commandName: String, abstract: String, discussion: String = "", examples: [String], aliases: [String] = []) {
    let list = examples.flatMap { $0.split(separator: "\n") }.map { "  \($0)" }
    let text = (discussion.isEmpty ? "" : discussion + "\n\n") + (["Examples:"] + list).joined(separator: "\n")
    self.init(commandName: commandName, abstract: abstract, discussion: text, aliases: aliases)
  }

  /// The commands among the discussion's lines, each as one line.
  var examples: [String] {
    var commands: [String] = []
    var goesOn = false
    for line in discussion.split(separator: "\n") {
      let text = line.drop { $0 == " " }
      guard goesOn || text.hasPrefix("tpplan ") else { continue }
      let words = text.hasSuffix("\\") ? text.dropLast().drop { $0 == " " } : text
      if goesOn { commands[commands.count - 1] += words } else { commands.append(String(words)) }
      goesOn = text.hasSuffix("\\")
    }
    return commands
  }
}
