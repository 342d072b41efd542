// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// How text looks: with colours where someone looks at it, on a terminal, unless the variable NO_COLOR is set (https://no-color.org); and how wide it may
/// be.
struct TextStyle {
  let isEmphatic: Bool
  /// The most characters of a line; nil: as many as there are.
  var columns: Int?

  static let plain = TextStyle(isEmphatic: false)
  static let usualColumns = 80

  /// What COLUMNS says, else as wide as the terminal; 80 columns where there is none, or a narrower one.
  static var ofStandardOutput: TextStyle {
    let environment = ProcessInfo.processInfo.environment
    let isTerminal = isatty(1) == 1
    let isDeclined = environment["NO_COLOR"].map { !$0.isEmpty } ?? false
    var size = winsize()
    let width = isTerminal && ioctl(1, UInt(TIOCGWINSZ), &size) == 0 ? Int(size.ws_col) : 0
    return TextStyle(
      isEmphatic: isTerminal && !isDeclined && environment["TERM"] != "dumb",
      columns: environment["COLUMNS"].flatMap { Int($0) }.map { max(40, $0) } ?? max(usualColumns, width))
  }

  /// Foreground colours that every terminal has, and two ways of writing.
  enum Code: String {
    case bold = "1"
    case faint = "2"
    case underlined = "4"
    case red = "31"
    case green = "32"
    case yellow = "33"
    case blue = "34"
    case magenta = "35"
    case cyan = "36"
  }

  func apply(_ code: Code?, _ text: String) -> String {
    guard isEmphatic, let code, !text.isEmpty else { return text }
    return "\u{1B}[\(code.rawValue)m\(text)\u{1B}[0m"
  }

  func heading(_ text: String) -> String { apply(.bold, text) }

  /// A line in as many as it takes, the later ones `hanging` columns in; broken between words.
  func fit(_ line: String, hanging: Int = 4) -> [String] {
    guard let columns, line.visibleCount > columns else { return [line] }
    let indent = line.prefix { $0 == " " }
    var lines: [String] = []
    var current = String(indent)
    var isStart = true
    for word in line.dropFirst(indent.count).split(separator: " ", omittingEmptySubsequences: false) {
      // A word that has to be cut anyway begins where there is room as good as on the next line.
      let isCut = String(word).visibleCount > columns - hanging && current.visibleCount < hanging
      if !isStart, !isCut, current.visibleCount + 1 + String(word).visibleCount > columns {
        lines.append(String(current.reversed().drop { $0 == " " }.reversed()))
        current = String(repeating: " ", count: hanging)
        isStart = true
      }
      // Gaps between parts of a line are none at the beginning of one.
      if isStart && word.isEmpty && !lines.isEmpty { continue }
      for (number, piece) in cut(String(word), to: columns - (isStart ? current.visibleCount : hanging)).enumerated() {
        if number > 0 {
          lines.append(current)
          current = String(repeating: " ", count: hanging)
        }
        current += isStart || number > 0 ? piece : " " + piece
        isStart = false
      }
    }
    return lines + [current]
  }

  /// A word that is longer than a line in pieces.
  private func cut(_ word: String, to count: Int) -> [String] {
    if word.visibleCount <= count || word.contains("\u{1B}") { return [word] }
    return TextTable.Cell(stringLiteral: word).wrapped(to: max(8, count))
  }
}

extension String {
  /// Characters without those that only tell a terminal how to write.
  var visibleCount: Int {
    guard contains("\u{1B}") else { return count }
    return replacing(/\u{1B}\[[0-9;]*m/, with: "").count
  }
}
