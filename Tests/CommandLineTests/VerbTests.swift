// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Foundation
import TestSupport
import Testing

@testable import tpplan

/// What the help says of verbs.
@Suite struct VerbTests {
  /// Their names; a test's arguments are told apart by them.
  static let names = Verbs.all.map { $0._commandName }

  private func verb(_ name: String) throws -> any ParsableCommand.Type { try #require(Verbs.all.first { $0._commandName == name }) }

  @Test func everyVerbIsInOneGroup() {
    #expect(Set(Self.names).count == Self.names.count)
    #expect(TPPlan.configuration.subcommands.count == Self.names.count)
  }

  /// `make command-line` runs them.
  @Test(arguments: names) func examplesAreCommandsOnFilesThatAreThere(name: String) throws {
    let verb = try verb(name)
    let examples = verb.configuration.examples
    #expect(!examples.isEmpty)
    var written: Set<String> = []
    for example in examples {
      let words = Self.words(example)
      #expect(words.count > 1 && words[0] == "tpplan")
      #expect(throws: Never.self, "\(example)") { _ = try TPPlan.parseAsRoot(Array(words.dropFirst())) }
      for (option, value) in zip(words, words.dropFirst()) where ["-o", "--output", "--plot", "--checkpoint"].contains(option) {
        written.insert(value)
      }
      for word in words.dropFirst(2) where word.hasSuffix(".json") && !written.contains(word) {
        #expect(FileManager.default.fileExists(atPath: CommandLineRun.folder.appending(path: word).path), "\(example)")
      }
    }
    #expect(examples.contains { $0.hasPrefix("tpplan \(name) ") || $0 == "tpplan \(name)" })
  }

  /// A terminal of 80 columns shows them as they are written.
  @Test(arguments: names) func examplesFitATerminal(name: String) throws {
    let lines = try TPPlan.helpMessage(for: verb(name), columns: 80).split(separator: "\n").map(String.init)
    let examples = try verb(name).configuration.discussion.split(separator: "\n").map(String.init).filter { $0.hasPrefix("  ") }
    #expect(!examples.isEmpty)
    for example in examples { #expect(lines.contains(example)) }
  }

  @Test func longHelpHasHeadings() {
    let help = TPPlan.helpMessage(for: SearchCommand.self, columns: 80)
    let headings = help.split(separator: "\n").filter { $0.hasSuffix(":") && $0 == $0.uppercased() }
    #expect(headings == ["ARGUMENTS:", "JOB:", "SOFTWARE:", "CHOICES MADE BEFOREHAND:", "SPACE AND TIME:", "OPTIONS:"])
  }

  /// As a shell splits it, but for variables and the like.
  private static func words(_ command: String) -> [String] {
    var words: [String] = []
    var isQuoted = false
    var isNew = true
    for character in command {
      if character == "'" { isQuoted.toggle() }
      if character == " ", !isQuoted {
        isNew = true
        continue
      }
      if isNew { words.append("") }
      isNew = false
      if character != "'" { words[words.count - 1].append(character) }
    }
    return words
  }
}
