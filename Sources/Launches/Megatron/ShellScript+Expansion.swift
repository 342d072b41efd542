// SPDX-License-Identifier: GPL-3.0-or-later

/// The words that words become (POSIX.1-2024, Shell Command Language, §2.6). What the script does not set stays as it is written.
extension ShellScript {
  /// The text of a word as one, in parts that each stand on their line.
  func parts(_ word: ShellWord) throws -> [Field] {
    try word.pieces.flatMap { piece -> [Field] in
      switch piece.part {
      case .variable(let name, let isAll, _, _) where isArray(name) && isAll:
        [Field(text: try value(of: piece)?.map(\.text).joined(separator: " ") ?? "", line: piece.line)]
      default: try value(of: piece) ?? [Field(text: ShellWord(pieces: [piece], line: piece.line).text, line: piece.line)]
      }
    }
  }

  /// The words that a word becomes.
  func expand(_ word: ShellWord) throws -> [Field] {
    var fields: [Field] = []
    var current: Field?
    func append(_ text: some StringProtocol, _ line: Int) { current = Field(text: (current?.text ?? "") + text, line: current?.line ?? line) }
    func end() {
      if let field = current { fields.append(field) }
      current = nil
    }
    for piece in word.pieces {
      guard let values = try value(of: piece) else {
        append(ShellWord(pieces: [piece], line: piece.line).text, word.line)
        continue
      }
      var isArray = false
      if case .variable(let name, let isAll, _, _) = piece.part { isArray = isAll && self.isArray(name) }
      if case .literal = piece.part {
        append(values[0].text, word.line)
      } else if piece.isQuoted, !isArray {
        append(values.map(\.text).joined(), word.line)
      } else {
        // Parts of one text go on with each other; words of an array do not.
        for (number, value) in values.enumerated() {
          if isArray, number > 0 { end() }
          if piece.isQuoted { append(value.text, value.line) } else { Self.split(value, append: append, end: end) }
        }
      }
      if fields.count > Self.mostFields { throw LaunchError(file: file, place: "line \(word.line)", "more words than any launch has") }
    }
    end()
    return fields
  }

  /// The words of a text in parts.
  static func split(_ parts: [Field]) -> [Field] {
    var fields: [Field] = []
    var current: Field?
    func end() {
      if let field = current { fields.append(field) }
      current = nil
    }
    for part in parts {
      split(part, append: { text, line in current = Field(text: (current?.text ?? "") + text, line: current?.line ?? line) }, end: end)
    }
    end()
    return fields
  }

  private static func split(_ part: Field, append: (Substring, Int) -> Void, end: () -> Void) {
    var line = part.line
    var rest = part.text[...]
    while let first = rest.first {
      if first.isWhitespace {
        end()
        if first.isNewline { line += 1 }
        rest = rest.dropFirst()
      } else {
        let word = rest.prefix { !$0.isWhitespace }
        append(word, line)
        rest = rest.dropFirst(word.count)
      }
    }
  }

  /// What stands in the place of a piece; nil where the script does not tell.
  private func value(of piece: ShellWord.Piece) throws -> [Field]? {
    switch piece.part {
    case .literal(let text): return [Field(text: text, line: piece.line)]
    case .unknown: return nil
    case .arithmetic(let text): return Arithmetic.value(text) { value($0) }.map { [Field(text: "\($0)", line: piece.line)] }
    case .alternative(let name, _) where isResult(name), .variable(let name, _, _, _) where isResult(name): return nil
    case .alternative(let name, let word):
      return value(name).map(isEmpty) ?? !isArray(name) ? [Field(text: "", line: piece.line)] : try expanded(word, piece.line)
    case .variable(let name, let isAll, let fallback, let text):
      guard let values = values(of: name) else { return try fallback.map { try expanded($0, piece.line) } }
      if let fallback, text.contains(":"), isEmpty(values.map(\.text).joined()) { return try expanded(fallback, piece.line) }
      return isArray(name) && !isAll ? Array(values.prefix(1)) : values
    }
  }

  /// Whether a variable's value is empty, or a variable that nothing sets.
  private func isEmpty(_ value: String) -> Bool { value.isEmpty || isUnset(value) }

  /// What a word inside of a parameter's brackets becomes, as one text.
  private func expanded(_ text: String, _ line: Int) throws -> [Field] {
    var lexer = ShellLexer(text, file: file)
    // Brackets within brackets are few, where a person has written them.
    guard text.contains(where: { "$\"'".contains($0) }), text.count(where: { $0 == "{" }) < 8, let tokens = try? lexer.tokens() else {
      return [Field(text: text, line: line)]
    }
    let words = try tokens.map { token in if case .word(let word) = token { try expand(word).map(\.text) } else { [String]() } }
    return [Field(text: words.joined().joined(separator: " "), line: line)]
  }
}
