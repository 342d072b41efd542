// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Foundation
import FoundationXML
import Testing

@testable import Validation
@testable import tpplan

/// `validate --plot`.
@Suite struct PlotTests {
  /// What an XML parser meets.
  private final class Reader: NSObject, XMLParserDelegate {
    var elements: [String: Int] = [:]
    var titles: [String] = []
    private var text: String?

    func parser(
      _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?, attributes: [String: String]
    ) {
      elements[name, default: 0] += 1
      text = name == "title" ? "" : nil
    }
    func parser(_ parser: XMLParser, foundCharacters string: String) { text? += string }
    func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
      if name == "title", let text { titles.append(text) }
      text = nil
    }
  }

  private func report(_ rows: [JSON]) throws -> AccuracyReport {
    let table = try Tables.table(Tables.text(rows, name: "sets & <others>"))
    let set = SetAccuracy(table, try Tables.pricer.price(table), groups: [], peer: nil)
    return AccuracyReport(sets: [set], otherFiles: [])
  }

  @Test("A picture is well-formed, has each row by its name, and is the same every time")
  func wellFormed() throws {
    let rows = [
      Tables.row("a", ["iter_s": 0.2]), Tables.row("b < \"c\" & d", ["mbs": 1, "iter_s": 0.3]), Tables.row("open", ["mbs": nil, "iter_s": 0.1]),
      Tables.row("untimed", [:]),
    ]
    let plot = AccuracyPlot(try report(rows)).text
    let reader = Reader()
    let parser = XMLParser(data: Data(plot.utf8))
    parser.delegate = reader
    let isWellFormed = parser.parse()
    #expect(isWellFormed, "\(parser.parserError.map { "\($0)" } ?? "")")
    #expect(reader.elements["script"] == nil && reader.elements["svg"] == 1)
    // Of each row with a time a point, and in the legend one of those with a split of their own and one of those without.
    #expect(reader.elements["use"] == 5 && reader.titles.count == 3)
    #expect(reader.titles.contains { $0.hasPrefix("b < \"c\" & d: -") })
    #expect(
      plot.contains("sets &amp; &lt;others&gt;: 2 rows, mean error ") && plot.contains("1 row searched, mean error ")
        && plot.contains("prefers-color-scheme: dark"))
    #expect(AccuracyPlot(try report(rows)).text == plot)
  }

  @Test("Without any row it is a picture too")
  func empty() throws {
    let plot = AccuracyPlot(AccuracyReport(sets: [], otherFiles: [])).text
    #expect(XMLParser(data: Data(plot.utf8)).parse() && !plot.contains("nan") && !plot.contains("inf\""))
  }
}
