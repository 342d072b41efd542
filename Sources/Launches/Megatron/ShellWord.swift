// SPDX-License-Identifier: GPL-3.0-or-later

/// A word of a shell script as it is written: what stands for itself, and what a shell puts in its place.
struct ShellWord: Hashable {
  enum Part: Hashable {
    case literal(String)
    /// `$NAME`, `${NAME}`, `${NAME[@]}` (all), `${NAME:-word}`, `${NAME:?message}`; `text` is the whole as written.
    case variable(name: String, isAll: Bool, fallback: String?, text: String)
    /// `$((…))`.
    case arithmetic(String)
    /// `${NAME:+word}`: the word where the variable has a value, else nothing.
    case alternative(name: String, word: String)
    /// What only running something tells: `$(…)`, backquotes, and parameter expansions that change a value.
    case unknown(String)
  }

  struct Piece: Hashable {
    var part: Part
    var isQuoted: Bool
    /// On which it begins.
    var line: Int
  }

  var pieces: [Piece] = []
  /// Counts from 1.
  var line: Int

  /// The text of a word of which nothing is replaced or quoted; nil for others.
  var plain: String? {
    var text = ""
    for piece in pieces {
      guard case .literal(let part) = piece.part, !piece.isQuoted else { return nil }
      text += part
    }
    return text
  }

  /// The word without its quotes, with what a shell replaces as it is written.
  var text: String {
    pieces.map { piece in
      switch piece.part {
      case .literal(let text), .unknown(let text), .variable(_, _, _, let text): text
      case .arithmetic(let text): "$((\(text)))"
      case .alternative(let name, let word): "${\(name):+\(word)}"
      }
    }.joined()
  }

  /// `NAME=value` or `NAME+=value`, taken apart.
  var assignment: (name: String, appends: Bool, value: ShellWord)? {
    guard let first = pieces.first, !first.isQuoted, case .literal(let text) = first.part, let equals = text.firstIndex(of: "=") else { return nil }
    var name = text[..<equals]
    let appends = name.last == "+"
    if appends { name.removeLast() }
    guard ShellWord.isName(name) else { return nil }
    var value = self
    value.pieces[0].part = .literal(String(text[text.index(after: equals)...]))
    return (String(name), appends, value)
  }

  static func isName(_ text: some StringProtocol) -> Bool {
    guard let first = text.first, first == "_" || first.isLetter else { return false }
    return text.allSatisfy { $0 == "_" || $0.isLetter || $0.isNumber }
  }
}

/// A part of a script.
enum ShellToken: Hashable {
  case word(ShellWord)
  /// `NAME=( … )` or `NAME+=( … )`.
  case array(name: String, appends: Bool, words: [ShellWord])
  /// `;`, `&&`, `||`, `|`, `&`, `(`, `)` or the end of a line.
  case separator(String, line: Int)
}
