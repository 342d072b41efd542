// SPDX-License-Identifier: GPL-3.0-or-later

/// What a shell puts in the place of `$…`.
extension ShellLexer {
  /// What a `$` or a backquote stands before.
  mutating func readExpansion() throws -> ShellWord.Part {
    let start = index
    func written() -> String { String(text[start..<min(index, text.count)]) }
    if peek == "`" {
      index += 1
      while let character = peek, character != "`" {
        if character == "\n" { line += 1 }
        index += 1
      }
      guard peek != nil else { throw unclosed("`", since: line) }
      index += 1
      return .unknown(written())
    }
    index += 1
    switch peek {
    case "(":
      let isArithmetic = ahead(1) == "("
      try skipBrackets("(", ")")
      let whole = written()
      return isArithmetic && whole.hasSuffix("))") ? .arithmetic(String(whole.dropFirst(3).dropLast(2))) : .unknown(whole)
    case "{":
      try skipBrackets("{", "}")
      return parameter(written())
    default:
      if let digit = peek, digit.isNumber || "@*#?$!-".contains(digit) {
        index += 1
        return .variable(name: String(digit), isAll: false, fallback: nil, text: written())
      }
      while let character = peek, character == "_" || (character.isASCII && (character.isLetter || character.isNumber)) { index += 1 }
      let name = String(text[start..<index].dropFirst())
      return name.isEmpty ? .literal("$") : .variable(name: name, isAll: false, fallback: nil, text: written())
    }
  }

  private mutating func skipBrackets(_ open: Character, _ close: Character) throws {
    let start = line
    var depth = 0
    while let character = peek {
      if character == "\n" { line += 1 }
      if character == open { depth += 1 }
      if character == close { depth -= 1 }
      index += 1
      if depth == 0 { return }
    }
    throw unclosed("$\(open)", since: start)
  }

  /// `${…}` by what stands inside.
  private func parameter(_ written: String) -> ShellWord.Part {
    let inside = written.dropFirst(2).dropLast()
    let name = inside.prefix { $0 == "_" || $0.isLetter || $0.isNumber }
    var rest = inside.dropFirst(name.count)
    guard !name.isEmpty else { return .unknown(written) }
    var isAll = false
    if rest.hasPrefix("[@]") || rest.hasPrefix("[*]") {
      isAll = true
      rest = rest.dropFirst(3)
    }
    if rest.isEmpty { return .variable(name: String(name), isAll: isAll, fallback: nil, text: written) }
    // `${NAME:?message}`: what is not set ends the script.
    if rest.hasPrefix(":?") || rest.hasPrefix("?") { return .variable(name: String(name), isAll: isAll, fallback: nil, text: written) }
    for mark in [":+", "+"] where rest.hasPrefix(mark) && !isAll {
      return .alternative(name: String(name), word: String(rest.dropFirst(mark.count)))
    }
    for mark in [":-", "-", ":=", "="] where rest.hasPrefix(mark) {
      var fallback = rest.dropFirst(mark.count)
      if fallback.count >= 2, let quote = fallback.first, "\"'".contains(quote), fallback.last == quote { fallback = fallback.dropFirst().dropLast() }
      return .variable(name: String(name), isAll: isAll, fallback: String(fallback), text: written)
    }
    return .unknown(written)
  }
}
