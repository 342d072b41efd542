// SPDX-License-Identifier: GPL-3.0-or-later

/// A piece of a page. Names of elements and attributes are literals of this program; whatever else stands in it is escaped when it is written, so that
/// no name in a plan can become markup.
package struct HTML: Sendable {
  indirect enum Content: Sendable {
    case element(name: String, attributes: [(name: String, value: String)], children: [HTML])
    case text(String)
    case style(Stylesheet)
  }

  let content: Content

  static func text(_ text: String) -> HTML { HTML(content: .text(text)) }
  static func style(_ sheet: Stylesheet) -> HTML { HTML(content: .style(sheet)) }
}

extension HTML {
  /// What is read of the piece, without what a pointer alone is told.
  var text: String {
    switch content {
    case .text(let text): text
    case .style: ""
    case .element("title", _, _): ""
    case .element(_, _, let children): children.map(\.text).joined()
    }
  }

  /// Whether it is a `Bar`.
  var isBar: Bool {
    guard case .element("svg", let attributes, _) = content else { return false }
    return attributes.contains { $0.name == "class" && $0.value == "bar" }
  }
}

/// An element; attributes without a value are left out.
package func tag(
  _ name: StaticString, _ attributes: KeyValuePairs<StaticString, String?> = [:], @HTMLBuilder _ children: () -> [HTML] = { [] }
) -> HTML {
  let given = attributes.compactMap { name, value in value.map { (name: "\(name)", value: $0) } }
  return HTML(content: .element(name: "\(name)", attributes: given, children: children()))
}

/// Lets the children of an element be written one after the other: elements, lists of elements, and text.
@resultBuilder package enum HTMLBuilder {
  package static func buildExpression(_ element: HTML) -> [HTML] { [element] }
  package static func buildExpression(_ elements: [HTML]) -> [HTML] { elements }
  package static func buildExpression(_ text: String) -> [HTML] { [.text(text)] }
  package static func buildBlock(_ parts: [HTML]...) -> [HTML] { parts.flatMap { $0 } }
  package static func buildOptional(_ part: [HTML]?) -> [HTML] { part ?? [] }
  package static func buildEither(first: [HTML]) -> [HTML] { first }
  package static func buildEither(second: [HTML]) -> [HTML] { second }
  package static func buildArray(_ parts: [[HTML]]) -> [HTML] { parts.flatMap { $0 } }
}

// MARK: - Writing

extension HTML {
  /// The piece as UTF-8.
  package var bytes: [UInt8] {
    var bytes: [UInt8] = []
    write(into: &bytes, inDrawing: false)
    return bytes
  }

  package var markup: String { String(decoding: bytes, as: UTF8.self) }

  private func write(into bytes: inout [UInt8], inDrawing: Bool) {
    switch content {
    case .text(let text): bytes.append(escaping: text)
    case .style(let sheet):
      bytes += "<style>".utf8
      bytes += sheet.text.utf8
      bytes += "</style>".utf8
    case .element(let name, let attributes, let children):
      bytes.append(UInt8(ascii: "<"))
      bytes += name.utf8
      for attribute in attributes {
        bytes.append(UInt8(ascii: " "))
        bytes += attribute.name.utf8
        bytes += "=\"".utf8
        bytes.append(escaping: attribute.value)
        bytes.append(UInt8(ascii: "\""))
      }
      if Self.void.contains(name) {
        bytes.append(UInt8(ascii: ">"))
        return
      }
      let isDrawing = inDrawing || name == "svg"
      if isDrawing && children.isEmpty {
        bytes += "/>".utf8
        return
      }
      bytes.append(UInt8(ascii: ">"))
      for child in children { child.write(into: &bytes, inDrawing: isDrawing) }
      bytes += "</".utf8
      bytes += name.utf8
      bytes.append(UInt8(ascii: ">"))
    }
  }

  private static let void = ["meta", "br", "hr", "col"]
}

extension [UInt8] {
  /// Text in which nothing is markup, inside an element or a quoted attribute. Characters that no page may contain become U+FFFD.
  fileprivate mutating func append(escaping text: String) {
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "<"): self += "&lt;".utf8
      case UInt8(ascii: ">"): self += "&gt;".utf8
      case UInt8(ascii: "&"): self += "&amp;".utf8
      case UInt8(ascii: "\""): self += "&quot;".utf8
      case UInt8(ascii: "'"): self += "&#39;".utf8
      case 9, 10: append(byte)
      case 0..<32, 127: self += "\u{FFFD}".utf8
      default: append(byte)
      }
    }
  }
}

/// Rules for how a page looks, made of this program's own text alone.
struct Stylesheet: Sendable {
  let text: String

  /// - Precondition: nothing in it can end the element that it stands in, and nothing refers to another file.
  init(_ text: String) {
    precondition(!text.contains("<") && !text.contains("url(") && !text.contains("@import"), "a style sheet stands alone")
    self.text = text
  }
}
