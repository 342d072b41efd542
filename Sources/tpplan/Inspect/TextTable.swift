// SPDX-License-Identifier: GPL-3.0-or-later

/// Rows of cells in aligned columns, two spaces apart.
struct TextTable {
  enum Alignment {
    case left
    case right
  }

  struct Cell: ExpressibleByStringLiteral {
    var text: String
    var code: TextStyle.Code?

    init(_ text: String, _ code: TextStyle.Code? = nil) { (self.text, self.code) = (text, code) }
    init(stringLiteral value: String) { self.init(value) }
  }

  let alignments: [Alignment]
  let headings: [String]
  private(set) var rows: [[Cell]] = []
  /// Whether the last column's cells stand below their rows where there is no room beside them.
  var hasRemarks = false

  /// - Parameter columns: headings with the alignment of their columns; a soft hyphen in a heading says where a word may be broken.
  init(_ columns: [(heading: String, alignment: Alignment)]) {
    (headings, alignments) = (columns.map(\.heading), columns.map(\.alignment))
  }

  var isEmpty: Bool { rows.isEmpty }

  mutating func add(_ cells: String...) { add(cells: cells.map { Cell($0) }) }

  mutating func add(cells: [Cell]) {
    precondition(cells.count == alignments.count, "a row has one cell for each column")
    rows.append(cells)
  }

  /// The lines, the headings first; a column without any text is left out. In a style of so many columns, cells take several lines where it must be.
  func lines(indent: Int = 2, _ style: TextStyle = .plain) -> [String] {
    var shown = alignments.indices.filter { column in rows.contains { !$0[column].text.isEmpty } }
    let width = style.columns.map { max(20, $0 - indent) }
    var below: Int?
    if hasRemarks, let width, let last = shown.last, Fitting(self, shown, width: nil).total > width {
      below = last
      shown.removeLast()
    }
    let table = Fitting(self, shown, width: width)
    func line(_ pieces: [(text: String, code: TextStyle.Code?)]) -> String {
      let cells = zip(shown, zip(pieces, table.widths)).map { column, cell -> String in
        let padding = String(repeating: " ", count: max(0, cell.1 - cell.0.text.count))
        let text = style.apply(cell.0.code, cell.0.text)
        return alignments[column] == .left ? text + padding : padding + text
      }
      let line = String(repeating: " ", count: indent) + cells.joined(separator: String(repeating: " ", count: table.gap))
      return String(line.reversed().drop { $0 == " " }.reversed())
    }
    func block(_ cells: [Cell], _ pieces: [[String]]) -> [String] {
      (0..<(pieces.map(\.count).max() ?? 0)).map { number in
        line(zip(cells, pieces).map { cell, parts in (number < parts.count ? parts[number] : "", cell.code) })
      }
    }
    func remark(_ cell: Cell) -> [String] {
      cell.text.isEmpty
        ? [] : cell.wrapped(to: (width ?? cell.text.count) - 4).map { String(repeating: " ", count: indent + 4) + style.apply(cell.code, $0) }
    }
    let heads = zip(shown, table.widths).map { Self.wrapped(heading: headings[$0], to: $1) }
    return block(shown.map { Cell(headings[$0], .underlined) }, heads) + (below.map { remark(Cell(headings[$0], .underlined)) } ?? [])
      + rows.flatMap { row in
        block(shown.map { row[$0] }, zip(shown, table.widths).map { row[$0].wrapped(to: $1) }) + (below.map { remark(row[$0]) } ?? [])
      }
  }
}
