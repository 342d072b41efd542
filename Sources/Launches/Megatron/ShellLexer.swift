// SPDX-License-Identifier: GPL-3.0-or-later

/// Takes a shell script apart (POSIX.1-2024, Shell Command Language, §2.2, §2.3 and §2.6; arrays as in bash).
struct ShellLexer {
  let text: [Character]
  var index = 0
  var line = 1
  /// Delimiters of here-documents that begin after this line.
  private var documents: [String] = []
  /// Comments that ask a batch system for devices: `#SBATCH --nodes=4`.
  private(set) var directives: [(text: String, line: Int)] = []
  private let file: String

  init(_ source: String, file: String) {
    text = source.map { $0 == "\r\n" ? "\n" : $0 }
    self.file = file
  }

  /// - Throws: `LaunchError` for a quote or bracket that is not closed.
  mutating func tokens() throws -> [ShellToken] {
    var tokens: [ShellToken] = []
    while let character = peek {
      switch character {
      case " ", "\t": index += 1
      case "\\" where ahead(1) == "\n": skipContinuation()
      case "#": readComment()
      case "\n":
        tokens.append(.separator("\n", line: line))
        index += 1
        line += 1
        skipDocuments()
      case ";", "&", "|", "(", ")": tokens.append(.separator(readOperator(), line: line))
      case "<", ">": try skipRedirection(&tokens)
      default:
        let word = try readWord()
        if peek == "(", let array = word.assignment, array.value.pieces.allSatisfy({ $0.part == .literal("") }) {
          tokens.append(.array(name: array.name, appends: array.appends, words: try readArray()))
        } else {
          tokens.append(.word(word))
        }
      }
    }
    return tokens
  }

  var peek: Character? { ahead(0) }
  func ahead(_ count: Int) -> Character? { index + count < text.count ? text[index + count] : nil }

  private mutating func skipContinuation() {
    index += 2
    line += 1
  }

  private mutating func readComment() {
    let start = index
    while let character = peek, character != "\n" { index += 1 }
    let comment = String(text[start..<index])
    if comment.hasPrefix("#SBATCH ") { directives.append((String(comment.dropFirst(8)), line)) }
  }

  private mutating func readOperator() -> String {
    let first = text[index]
    index += 1
    if let second = peek, second == first, ";&|".contains(first) {
      index += 1
      return String([first, second])
    }
    return String(first)
  }

  /// Leaves a redirection out with its target, and the number of its stream before it.
  private mutating func skipRedirection(_ tokens: inout [ShellToken]) throws {
    if case .word(let word)? = tokens.last, let number = word.plain, !number.isEmpty, number.allSatisfy(\.isNumber), index > 0,
      text[index - 1].isNumber
    {
      tokens.removeLast()
    }
    if case .separator("&", _)? = tokens.last, index > 0, text[index - 1] == "&" { tokens.removeLast() }
    let isDocument = peek == "<" && ahead(1) == "<" && ahead(2) != "<"
    while let character = peek, "<>&|-".contains(character) { index += 1 }
    while peek == " " || peek == "\t" { index += 1 }
    guard let character = peek, !"\n;&|()".contains(character) else { return }
    let target = try readWord()
    if isDocument {
      documents.append(
        target.pieces.map { piece in if case .literal(let text) = piece.part { text } else { "" } }.joined())
    }
  }

  private mutating func skipDocuments() {
    for delimiter in documents {
      while index < text.count {
        let start = index
        while let character = peek, character != "\n" { index += 1 }
        let content = String(text[start..<index])
        if peek == "\n" {
          index += 1
          line += 1
        }
        if content.drop(while: { $0 == "\t" }) == delimiter { break }
      }
    }
    documents = []
  }

  private mutating func readArray() throws -> [ShellWord] {
    let start = line
    index += 1
    var words: [ShellWord] = []
    while let character = peek {
      switch character {
      case ")":
        index += 1
        return words
      case " ", "\t": index += 1
      case "\n":
        index += 1
        line += 1
      case "\\" where ahead(1) == "\n": skipContinuation()
      case "#": readComment()
      // No shell has them here; a script with them is one that is being edited.
      case ";", "&", "|", "<", ">", "(": index += 1
      default: words.append(try readWord())
      }
    }
    throw unclosed("(", since: start)
  }

  func unclosed(_ bracket: String, since start: Int) -> LaunchError {
    LaunchError(file: file, place: "line \(start)", "\(bracket) is not closed")
  }

  // MARK: - Words

  private mutating func readWord() throws -> ShellWord {
    var word = ShellWord(line: line)
    var literal = ""
    var since = line
    func flush() {
      if !literal.isEmpty { word.pieces.append(.init(part: .literal(literal), isQuoted: false, line: since)) }
      literal = ""
    }
    while let character = peek, !" \t\n;&|()<>".contains(character) {
      if literal.isEmpty { since = line }
      switch character {
      case "\\":
        if ahead(1) == "\n" {
          skipContinuation()
          // What follows on the next line goes on with the word only where nothing stands between.
          continue
        }
        if let next = ahead(1) { literal.append(next) }
        index += 2
      case "'":
        flush()
        try readApostrophes(into: &word)
      case "\"":
        flush()
        try readQuoted(into: &word)
      case "$", "`":
        flush()
        word.pieces.append(.init(part: try readExpansion(), isQuoted: false, line: since))
      default:
        literal.append(character)
        index += 1
      }
    }
    flush()
    return word
  }

  /// A piece for each line, as each stands on its own.
  private mutating func readApostrophes(into word: inout ShellWord) throws {
    let start = line
    index += 1
    var (literal, since) = ("", line)
    while let inside = peek, inside != "'" {
      literal.append(inside)
      index += 1
      guard inside == "\n" else { continue }
      line += 1
      word.pieces.append(.init(part: .literal(literal), isQuoted: true, line: since))
      (literal, since) = ("", line)
    }
    guard peek != nil else { throw unclosed("'", since: start) }
    index += 1
    word.pieces.append(.init(part: .literal(literal), isQuoted: true, line: since))
  }

  private mutating func readQuoted(into word: inout ShellWord) throws {
    let start = line
    index += 1
    var (literal, since, count) = ("", line, 0)
    func flush() {
      if !literal.isEmpty { word.pieces.append(.init(part: .literal(literal), isQuoted: true, line: since)) }
      count += 1
      (literal, since) = ("", line)
    }
    while let character = peek, character != "\"" {
      switch character {
      case "\\":
        if ahead(1) == "\n" {
          skipContinuation()
          flush()
        } else {
          if let next = ahead(1) { literal += "\"\\$`".contains(next) ? String(next) : "\\\(next)" }
          index += 2
        }
      case "$", "`":
        flush()
        word.pieces.append(.init(part: try readExpansion(), isQuoted: true, line: since))
      case "\n":
        literal.append(character)
        index += 1
        line += 1
        flush()
      default:
        literal.append(character)
        index += 1
      }
    }
    guard peek != nil else { throw unclosed("\"", since: start) }
    index += 1
    // "" is a word of its own.
    if count == 0 || !literal.isEmpty { word.pieces.append(.init(part: .literal(literal), isQuoted: true, line: since)) }
  }
}
