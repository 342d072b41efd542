// SPDX-License-Identifier: GPL-3.0-or-later

/// Conditions of a script's branches.
extension ShellScript {
  /// Whether tests joined by `&&` and `||` hold; nil where the script does not tell.
  func decide(_ tests: [(separator: String, words: [ShellWord])]) -> Bool? {
    var result: Bool?
    var joint = ""
    for (number, test) in tests.enumerated() where !test.words.isEmpty {
      let holds = decide(test.words)
      if number == 0 || joint.isEmpty {
        result = holds
      } else if joint == "&&" {
        result = result == false || holds == false ? false : result == nil || holds == nil ? nil : true
      } else if joint == "||" {
        result = result == true || holds == true ? true : result == nil || holds == nil ? nil : false
      } else {
        result = nil
      }
      joint = ["&&", "||"].contains(test.separator) ? test.separator : ""
    }
    return result
  }

  private func decide(_ test: [ShellWord]) -> Bool? {
    var words = test[...]
    if words.first?.plain == "!" { return decide(Array(words.dropFirst())).map(!) }
    guard let first = words.first?.plain, ["[", "[[", "test"].contains(first) else {
      // What any other command returns, only running it tells.
      return words.count == 1 ? ["true": true, "false": false][words[0].plain ?? ""] : nil
    }
    words = words.dropFirst()
    if let last = words.last?.plain, ["]", "]]"].contains(last) { words = words.dropLast() }
    if words.first?.plain == "!" { return decide([test[0]] + words.dropFirst()).map(!) }
    // A variable that nothing sets is empty, as for `${NAME:-default}`.
    let isAboutLength = words.count == 1 || words.count == 2 && ["-z", "-n"].contains(words.first?.plain)
    guard let known = known(words, unsetIsEmpty: isAboutLength) else { return nil }
    switch known.count {
    case 1: return !known[0].isEmpty
    case 2: return known[0] == "-z" ? known[1].isEmpty : known[0] == "-n" ? !known[1].isEmpty : nil
    case 3: return Self.compare(known[0], known[1], known[2])
    default: return nil
    }
  }

  private static func compare(_ a: String, _ comparison: String, _ b: String) -> Bool? {
    switch comparison {
    case "=", "==": return a == b
    case "!=": return a != b
    default:
      guard let x = Int(a), let y = Int(b) else { return nil }
      let results = ["-eq": x == y, "-ne": x != y, "-lt": x < y, "-le": x <= y, "-gt": x > y, "-ge": x >= y]
      return results[comparison]
    }
  }

  /// What a word becomes as one text; nil where the script does not tell.
  func text(_ word: ShellWord) -> String? { known([word], unsetIsEmpty: false)?.first }

  /// The values of some words; nil where one is not known.
  private func known(_ words: ArraySlice<ShellWord>, unsetIsEmpty: Bool) -> [String]? {
    var values: [String] = []
    for word in words {
      var text = ""
      for piece in word.pieces {
        switch piece.part {
        case .unknown: return nil
        case .variable(let name, _, let fallback, _) where self.values(of: name) == nil && fallback == nil:
          if !unsetIsEmpty || isResult(name) { return nil }
        default:
          guard let parts = try? parts(ShellWord(pieces: [piece], line: word.line)) else { return nil }
          let value = parts.map(\.text).joined()
          var isLiteral = false
          if case .literal = piece.part { isLiteral = true }
          if isLiteral || !Self.isOpen(value) {
            text += value
          } else if !unsetIsEmpty || !isUnset(value) {  // Else set to what nothing sets: `A=$1`.
            return nil
          }
        }
      }
      values.append(text)
    }
    return values
  }

  /// Whether a value has something in it that the script does not tell.
  private static func isOpen(_ value: String) -> Bool { value.contains { "$`".contains($0) } }

  /// Whether a value is a variable that nothing sets.
  func isUnset(_ value: String) -> Bool {
    guard let name = variable(of: value), ["$\(name)", "${\(name)}"].contains(value) else { return false }
    return values(of: name) == nil && !isResult(name)
  }

  /// The variables in some words whose values the script does not tell, each once.
  func unset(_ words: [ShellWord]) -> [String] {
    var names: [String] = []
    for case .variable(let name, _, let fallback, _) in words.flatMap(\.pieces).map(\.part) where !names.contains(name) {
      let value = values(of: name)?.map(\.text).joined()
      if value.map(Self.isOpen) ?? (fallback == nil) { names.append(name) }
    }
    return names
  }
}
