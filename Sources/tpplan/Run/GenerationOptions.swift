// SPDX-License-Identifier: GPL-3.0-or-later
import ArgumentParser
import Documents
import Execution
import Foundation

/// What a run that generates text is told beside the plan.
struct GenerationOptions: ParsableArguments {
  @Option(help: "Token ids, separated by commas, that the text goes on from; once for each of several texts.")
  var prompt: [String] = []
  @Option(help: ArgumentHelp("A JSON file with an array of token ids for each text.", valueName: "file"), completion: .json)
  var prompts: String?
  @Option(help: "Tokens to add to each text, at most (default: 16).")
  var newTokens: Int?
  @Option(help: "A token that ends a text.")
  var stop: Int32?

  var isGiven: Bool { !prompt.isEmpty || prompts != nil || newTokens != nil || stop != nil }

  /// Refuses values that no run can have.
  func checkValues() throws {
    if let newTokens, newTokens < 1 { throw UsageError("--new-tokens \(newTokens): at least one token is needed") }
  }

  /// - Throws: `UsageError`, `DocumentError`.
  func texts() throws -> [[Int32]] {
    var texts: [[Int32]] = []
    for text in prompt {
      texts.append(
        try text.split(separator: ",", omittingEmptySubsequences: false).map { word in
          guard let token = Int32(word.trimmingCharacters(in: .whitespaces)) else {
            throw UsageError("--prompt \(text): \"\(word)\" is no token id; expected numbers separated by commas, such as 464,3290")
          }
          return token
        })
    }
    if let prompts {
      for row in try Document(readingFrom: prompts).root.elements() {
        let tokens = try row.ints(.within(0, Int(Int32.max)))
        if tokens.isEmpty { throw row.invalid(expected: "at least one token id") }
        texts.append(tokens.map(Int32.init))
      }
    }
    if texts.isEmpty { throw UsageError("--mode generate goes on from a text: give --prompt ID,ID,… or --prompts FILE") }
    return texts
  }
}
