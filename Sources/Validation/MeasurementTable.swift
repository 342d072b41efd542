// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A file of published measurements, with what it says of all its rows.
package struct MeasurementTable: Sendable {
  package let name: String
  package let title: String?
  /// What its title and caveats say of its models.
  private let convention: Convention
  package let rows: [TableRow]
  /// For each row what was measured.
  package let published: [PublishedFigures]

  /// Reads a file with a list `rows` (beside which `name`, `title`, `source` and `caveats` may stand), or one that is such a list.
  ///
  /// - Throws: `DocumentError` where a file is no such table; it says where, what was found, and what was expected.
  package init(readingFrom path: String) throws(DocumentError) { try self.init(decoding: try Document(readingFrom: path)) }

  package init(decoding document: Document) throws(DocumentError) {
    let root = document.root
    let nodes: [Node]
    var words: [String] = []
    if case .array = root.value {
      nodes = try root.elements()
      (name, title) = (Self.baseName(document.file), nil)
    } else {
      if let kind = DocumentKind(of: root.value) { throw root.invalid(expected: "a table of measurements with a list \"rows\", not \(kind.phrase)") }
      let o = try root.object()
      nodes = try o.elements("rows")
      name = try o.stringIfPresent("name") ?? Self.baseName(document.file)
      title = try o.stringIfPresent("title")
      words += [title].compactMap { $0 }
      for caveat in try o.elementsIfPresent("caveats") ?? [] { words.append(try caveat.string()) }
    }
    convention = Convention.of(words: words)
    var seen: [String: String] = [:]
    var rows: [TableRow] = []
    var published: [PublishedFigures] = []
    for node in nodes {
      let row = try TableRow(decoding: node)
      if let first = seen.updateValue(node.path, forKey: row.id) {
        throw DocumentError.invalid(
          file: node.file, path: node.path + ".id", found: JSON.string(row.id).summary, expected: "an id of its own; \(first) has the same")
      }
      rows.append(row)
      published.append(try PublishedFigures(decoding: node))
    }
    (self.rows, self.published) = (rows, published)
  }

  /// What a row's source says of all its runs, and no row repeats.
  package func convention(of row: TableRow) -> Convention { Convention.known(name, row.id, row.hardware) ?? convention }

  private static func baseName(_ file: String) -> String {
    let name = file.split(separator: "/").last.map(String.init) ?? file
    return name.hasSuffix(".json") ? String(name.dropLast(5)) : name
  }
}
