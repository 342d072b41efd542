// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Quantities

/// Rows of cells in aligned columns, two spaces apart.
struct TextTable {
  enum Alignment {
    case left
    case right
  }

  private let alignments: [Alignment]
  private var rows: [[String]]

  /// - Parameter columns: headings with the alignment of their columns.
  init(_ columns: [(heading: String, alignment: Alignment)]) {
    alignments = columns.map(\.alignment)
    rows = [columns.map(\.heading)]
  }

  var isEmpty: Bool { rows.count == 1 }

  mutating func add(_ cells: String...) {
    precondition(cells.count == alignments.count, "a row has one cell for each column")
    rows.append(cells)
  }

  /// The lines, the headings first; a column without any text is left out.
  func lines(indent: Int = 2) -> [String] {
    let widths = alignments.indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    let shown = alignments.indices.filter { column in rows.dropFirst().contains { !$0[column].isEmpty } }
    return rows.map { row in
      let cells = shown.map { column in
        let padding = String(repeating: " ", count: widths[column] - row[column].count)
        return alignments[column] == .left ? row[column] + padding : padding + row[column]
      }
      let line = String(repeating: " ", count: indent) + cells.joined(separator: "  ")
      return String(line.reversed().drop { $0 == " " }.reversed())
    }
  }
}

/// Emphasis where someone looks at it: on a terminal, unless the variable NO_COLOR is set (https://no-color.org).
struct TextStyle {
  let isEmphatic: Bool

  static let plain = TextStyle(isEmphatic: false)
  static var ofStandardOutput: TextStyle {
    let isDeclined = ProcessInfo.processInfo.environment["NO_COLOR"].map { !$0.isEmpty } ?? false
    return TextStyle(isEmphatic: isatty(1) == 1 && !isDeclined)
  }

  func heading(_ text: String) -> String { isEmphatic ? "\u{1B}[1m\(text)\u{1B}[0m" : text }
}
