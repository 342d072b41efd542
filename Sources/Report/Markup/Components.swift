// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities

/// A table that is scrolled by itself where it is wider than the page; its first column names the rows.
struct DataTable {
  struct Column {
    var heading: String
    var isNumber = false
    /// In pixels, where tables below each other are to have their columns below each other; all of a table's columns have one, or none.
    var width: Int?

    static func text(_ heading: String, width: Int? = nil) -> Column { Column(heading: heading, width: width) }
    static func number(_ heading: String, width: Int? = nil) -> Column { Column(heading: heading, isNumber: true, width: width) }
  }

  let caption: String
  let columns: [Column]
  private(set) var rows: [(cells: [[HTML]], style: String?)] = []

  init(_ caption: String, _ columns: [Column]) { (self.caption, self.columns) = (caption, columns) }

  var isEmpty: Bool { rows.isEmpty }

  mutating func add(_ cells: [String], style: String? = nil) { rows.append((cells.map { $0.isEmpty ? [] : [.text($0)] }, style)) }
  mutating func add(cells: [[HTML]], style: String? = nil) {
    precondition(cells.count == columns.count, "a row has one cell for each column")
    rows.append((cells, style))
  }

  /// A table of few columns is as wide as there is room; a wider one is scrolled beside its first column.
  var html: HTML {
    let isWide = columns.count > 3
    let isEven = columns.allSatisfy { $0.width != nil }
    let table = tag("table", ["class": isEven ? "even" : isWide ? columns.count > Self.mostRoomy ? "many" : nil : "narrow"]) {
      tag("caption") { tag("span") { caption } }
      if isEven {
        tag("colgroup") { for (index, column) in columns.enumerated() { tag("col", ["style": "--w:\(column.width ?? 0)", "class": style(index)]) } }
      }
      tag("thead") {
        tag("tr") { for (index, column) in columns.enumerated() { tag("th", ["scope": "col", "class": style(index)]) { column.heading } } }
      }
      tag("tbody") {
        for row in rows {
          tag("tr", ["class": row.style]) {
            for (index, cell) in row.cells.enumerated() {
              if index == 0 {
                tag("th", ["scope": "row", "class": style(index)]) { cell }
              } else {
                tag("td", ["class": style(index)]) { cell }
              }
            }
          }
        }
      }
    }
    return isWide ? scrollable(caption, isStop: leastWidth > Self.narrowPage) { table } : table
  }

  /// Narrower tables are not scrolled where there is a keyboard, and so need no place in its order.
  private static let narrowPage = 680

  /// Longer ones are not to be broken into many short lines, which would make rows high.
  private static let longText = 60
  /// Tables of more columns have no room for that.
  private static let mostRoomy = 9

  private func style(_ column: Int) -> String? {
    if columns[column].isNumber { return "n" }
    if rows.contains(where: { $0.cells[column].contains(where: \.isBar) }) { return "b" }
    return column > 0 && columns.count <= Self.mostRoomy && rows.contains { $0.cells[column].reduce(0) { $0 + $1.text.count } > Self.longText }
      ? "w" : nil
  }

  /// About how wide the table is, in pixels, when all its texts are wrapped.
  private var leastWidth: Int {
    columns.indices.reduce(0) { sum, column in
      let texts = [columns[column].heading] + rows.map { $0.cells[column].map(\.text).joined() }
      let longest =
        columns[column].isNumber ? texts.map(\.count).max() ?? 0 : texts.flatMap { $0.split(separator: " ").map(\.count) }.max() ?? 0
      return sum + 12 + (style(column) == "b" ? 180 : longest * 8)
    }
  }
}

/// What may be wider than the page, and is then scrolled by itself, with the keyboard too.
/// - Parameter isStop: whether the keyboard stops at it.
func scrollable(_ label: String, style: String? = nil, isStop: Bool = true, @HTMLBuilder _ children: () -> [HTML]) -> HTML {
  tag("div", ["class": "scroll" + (style.map { " " + $0 } ?? ""), "role": "region", "tabindex": isStop ? "0" : nil, "aria-label": label], children)
}

/// A sentence in which what stands between backticks is code.
func prose(_ text: String) -> [HTML] {
  text.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { !$0.element.isEmpty }.map { number, part in
    number % 2 == 1 ? tag("code") { String(part) } : .text(String(part))
  }
}

/// A part of the page with a heading of its own.
func section(_ id: String, _ heading: String, lead: String? = nil, @HTMLBuilder _ children: () -> [HTML]) -> HTML {
  tag("section", ["id": id, "aria-labelledby": "\(id)-heading"]) {
    tag("h2", ["id": "\(id)-heading"]) { heading }
    if let lead { tag("p", ["class": "lead"]) { lead } }
    children()
  }
}

/// A picture with what it shows in words under it.
func figure(_ caption: String, @HTMLBuilder _ children: () -> [HTML]) -> HTML {
  tag("figure") {
    children()
    tag("figcaption") { caption }
  }
}

/// What is folded until it is asked for.
/// - Parameter isLong: whether paper lacks it, because all of it stands elsewhere in fewer lines.
func details(_ summary: String, isOpen: Bool = false, isLong: Bool = false, @HTMLBuilder _ children: () -> [HTML]) -> HTML {
  tag("details", ["open": isOpen ? "" : nil, "class": isLong ? "long" : nil]) {
    tag("summary") { summary }
    children()
  }
}

/// What colours mean.
func legend(_ entries: [(hue: Hue, text: String)]) -> HTML {
  legend(swatches: entries.map { ("bg-\($0.hue)", $0.text) })
}

/// What fillings mean, by the style of each.
func legend(swatches: [(style: String, text: String)]) -> HTML {
  tag("ul", ["class": "legend"]) {
    for entry in swatches {
      tag("li") {
        tag("span", ["class": "swatch \(entry.style)", "aria-hidden": "true"])
        entry.text
      }
    }
  }
}

/// Parts of a whole beside each other, as wide as there is room.
struct Bar {
  /// How a part is filled: waiting, and having nothing left to wait for but the end, look the same on the whole page.
  enum Look {
    case filled, hatched, outlined

    func style(_ hue: Hue) -> String {
      switch self {
      case .filled: "f-\(hue)"
      case .hatched: "s-\(hue) wait"
      case .outlined: "s-\(hue) done"
      }
    }

    func swatch(_ hue: Hue) -> String {
      switch self {
      case .filled: "bg-\(hue)"
      case .hatched: "waits"
      case .outlined: "done"
      }
    }
  }

  struct Part {
    var hue: Hue
    /// Of the bar's whole width.
    var share: Double
    var text: String
    var look = Look.filled
    /// What stands in it where there is room.
    var label: String?
  }

  var parts: [Part]
  /// Where a limit is, as a share of the whole width.
  var limit: Double?
  var height = 18.0

  /// Those for which the page has room; some only a wide one.
  private var labels: [HTML] {
    var start = 0.0
    return parts.flatMap { part -> [HTML] in
      let middle = start + part.share / 2
      start += part.share
      guard let label = part.label, part.share * 1000 > Double(label.count) * 7 + 4 else { return [] }
      let style = "s i-\(part.hue)" + (part.share * 320 > Double(label.count) * 7 + 2 ? "" : " wide")
      return [
        tag("text", ["x": "\((middle * 100).short)%", "y": (height / 2 + 4).short, "text-anchor": "middle", "class": style]) { label }
      ]
    }
  }

  /// - Parameter label: the whole in words, for who does not see it; nil where a table beside it says all.
  func html(_ label: String?) -> HTML {
    func percentage(_ share: Double) -> String { (share * 1000).rounded() / 10 == 0 ? "0" : "\((share * 100).short)%" }
    var (start, before) = (0.0, 0.0)
    var (boxes, gaps): ([HTML], [HTML]) = ([], [])
    for part in parts where part.share > 0 {
      // Nothing that is there is narrower than this, on a narrow page too.
      let least = part.share > 0.03 ? nil : "width:max(2px,\((part.share * 100).short)%);x:min(\((start * 100).short)%,calc(100% - 2px))"
      boxes.append(
        tag(
          "rect",
          [
            "x": percentage(start), "y": "0", "width": percentage(part.share), "height": height.short, "style": least,
            "class": part.look.style(part.hue),
          ]
        ) { tag("title") { part.text } })
      // Beside a narrow one a gap would be all that is seen.
      if before > 0.01, part.share > 0.01 {
        gaps.append(tag("line", ["x1": percentage(start), "x2": percentage(start), "y1": "0", "y2": height.short, "class": "gap"]))
      }
      start += part.share
      before = part.share
    }
    return tag(
      "svg",
      [
        "class": "bar", "width": "100%", "height": height.short, "role": label == nil ? nil : "img", "aria-label": label,
        "aria-hidden": label == nil ? "true" : nil,
      ]
    ) {
      // The first ones last, so that a narrow one is not under its neighbour.
      boxes.reversed()
      gaps
      labels
      if let limit {
        tag("line", ["x1": percentage(limit), "x2": percentage(limit), "y1": "0", "y2": height.short, "class": "limit"])
      }
    }
  }
}
