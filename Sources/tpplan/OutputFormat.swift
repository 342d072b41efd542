// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents

/// How results are printed.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case text
  case json
}

extension JSON {
  /// Prints the value to standard output as one line for programs.
  func printLine() throws(DocumentError) { try printLines([canonicalText]) }

  /// An object with the members of another one besides its own; where both have a key, the other's counts.
  func adding(_ other: JSON) -> JSON {
    guard case .object(var object) = self, case .object(let added) = other else { return other }
    for member in added.members { object[member.key] = member.value }
    return .object(object)
  }
}

/// Writes lines to standard output.
func printLines(_ lines: [String]) throws(DocumentError) { try StandardOutput.write(lines.joined(separator: "\n") + "\n") }

/// Writes a line to standard error.
func note(_ text: String) { StandardError.write(text + "\n") }
