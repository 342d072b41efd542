// SPDX-License-Identifier: GPL-3.0-or-later

extension TextTable {
  /// How wide the columns of a table are that has to fit.
  struct Fitting {
    private(set) var widths: [Int]
    /// Between columns; one space where there is no room for two.
    private(set) var gap = 2
    /// Of all columns with the gaps between.
    var total: Int { widths.reduce(gap * (widths.count - 1), +) }

    /// - Parameters:
    ///   - shown: the columns that there are.
    ///   - width: of all of them with the gaps between; nil: as much as it takes.
    init(_ table: TextTable, _ shown: [Int], width: Int?) {
      widths = shown.map { column in max(TextTable.heading(table.headings[column]).count, table.rows.map { $0[column].text.count }.max() ?? 0) }
      guard let width else { return }
      if total > width {
        gap = 1
        if total > width { gap = 2 }
      }
      // Numbers are not broken, and of words no more than names at their dots.
      let least = shown.map { column -> Int in
        let words = table.rows.map { $0[column].shortest(isNumber: table.alignments[column] == .right) }.max() ?? 0
        return max(words, TextTable.shortest(heading: table.headings[column]))
      }
      if least.reduce(gap * (least.count - 1), +) > width { gap = 1 }
      // Where tables are long, a part of the rows says which columns had better be narrower.
      let rows = stride(from: 0, to: table.rows.count, by: max(1, table.rows.count / 40)).map { table.rows[$0] }
      func lines(_ place: Int, _ width: Int) -> [Int] { rows.map { $0[shown[place]].cost(at: width) } }
      var counts = shown.indices.map { lines($0, widths[$0]) }
      func cost(_ counts: [[Int]]) -> Int { rows.indices.reduce(0) { sum, row in sum + (counts.map { $0[row] }.max() ?? 1) } }
      while total > width {
        var best: (place: Int, cost: Int, counts: [Int])?
        for place in shown.indices where widths[place] > least[place] {
          var changed = counts
          changed[place] = lines(place, widths[place] - 1)
          let own = cost(changed)
          // Of equally good ones the widest.
          if let known = best, (known.cost, -widths[known.place]) <= (own, -widths[place]) { continue }
          best = (place, own, changed[place])
        }
        guard let best else { break }
        widths[best.place] -= 1
        counts[best.place] = best.counts
      }
    }
  }
}

/// Headings, in which a soft hyphen says where a word may be broken.
extension TextTable {
  static func heading(_ text: String) -> String { text.filter { $0 != "\u{AD}" } }

  fileprivate static func shortest(heading: String) -> Int {
    heading.split(separator: " ").map { word in
      let parts = word.split(separator: "\u{AD}")
      return parts.enumerated().map { $1.count + ($0 < parts.count - 1 ? 1 : 0) }.max() ?? 0
    }.max() ?? 0
  }

  /// The heading in lines; a word is only broken where it does not fit.
  static func wrapped(heading: String, to width: Int) -> [String] {
    let words = heading.split(separator: " ").flatMap { word -> [String] in
      if Self.heading(String(word)).count <= width { return [Self.heading(String(word))] }
      let parts = word.split(separator: "\u{AD}")
      return parts.enumerated().map { String($1) + ($0 < parts.count - 1 ? "-" : "") }
    }
    return Cell(words.joined(separator: " ")).wrapped(to: width)
  }
}

extension TextTable.Cell {
  /// The fewest characters of a line into which it can be broken.
  fileprivate func shortest(isNumber: Bool) -> Int {
    isNumber ? text.count : text.split(separator: " ").map { Self.parts(of: String($0)).map(\.count).max() ?? 0 }.max() ?? 0
  }

  /// How far from one line it is: a name that is broken within a part of its path counts half a line more.
  fileprivate func cost(at width: Int) -> Int {
    let lines = wrapped(to: width)
    return 2 * lines.count + (lines.dropLast().contains { $0.hasSuffix("_") } ? 1 : 0)
  }

  /// A word where it may be broken: after a dot, a comma, an underscore or a slash that more follows. Layouts (`S0,R`) stay whole.
  private static func parts(of word: String, at breaks: String = ".,_/") -> [String] {
    if word.count < 8 { return [word] }
    var parts: [String] = [""]
    for character in word {
      parts[parts.count - 1].append(character)
      if breaks.contains(character) { parts.append("") }
    }
    return parts.filter { !$0.isEmpty }
  }

  /// The text in lines: broken between words, and words where they may be; what is longer still is cut.
  func wrapped(to width: Int) -> [String] {
    if text.count <= width { return [text] }
    var lines: [String] = []
    var line = ""
    for word in text.split(separator: " ") {
      if !line.isEmpty, line.count + 1 + word.count <= width {
        line += " " + word
        continue
      }
      if !line.isEmpty { lines.append(line) }
      line = ""
      if word.count <= width {
        line = String(word)
        continue
      }
      let parts = Self.parts(of: String(word), at: ".,/").flatMap { $0.count <= width ? [$0] : Self.parts(of: $0, at: "_") }
      for part in parts {
        var rest = Substring(part)
        if line.count + rest.count > width, !line.isEmpty {
          lines.append(line)
          line = ""
        }
        while rest.count > width {
          lines.append(String(rest.prefix(width)))
          rest = rest.dropFirst(width)
        }
        line += rest
      }
    }
    return lines + (line.isEmpty ? [] : [line])
  }
}
