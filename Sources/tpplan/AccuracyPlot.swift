// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Quantities
import Validation

/// A picture of predicted against measured steps: SVG without scripts, the same bytes for the same figures, for light and dark pages.
struct AccuracyPlot {
  /// The rows of a set, those whose splits were searched apart.
  private struct Cloud {
    let name: String
    let series: Int
    let isSearched: Bool
    let rows: [SetAccuracy.Compared]
    let mean: Double

    /// Searched rows are hollow; the points of many rows are small.
    var style: String { "points s\(series)" + (isSearched ? " hollow" : "") + (isDense ? " dense" : "") }
    var shape: String { isDense ? "d\(series)" : "m\(series)" }
    private var isDense: Bool { rows.count > 100 }
  }

  private let clouds: [Cloud]
  /// log10 of seconds at the ends of both axes.
  private let low: Double
  private let high: Double

  // The square of the plot, in user units; the legend is right of it.
  private static let (left, top, side, height) = (76.0, 44.0, 600.0, 712.0)

  init(_ report: AccuracyReport) {
    var clouds: [Cloud] = []
    let shown = report.sets.filter { !$0.compared.isEmpty || !$0.comparedSearched.isEmpty }
    for (i, set) in shown.enumerated() {
      for (times, rows, isSearched) in [(set.priced, set.compared, false), (set.searched, set.comparedSearched, true)] {
        guard let mean = times?.model.mean else { continue }
        clouds.append(Cloud(name: set.name, series: i % Self.series.count, isSearched: isSearched, rows: rows, mean: mean))
      }
    }
    self.clouds = clouds
    let times = clouds.flatMap(\.rows).flatMap { [$0.predicted, $0.measured] }.map { log10($0) }
    // A tenth of a decade is left free around the points.
    (low, high) = ((times.min() ?? -1) - 0.1, (times.max() ?? 1) + 0.1)
  }

  var text: String {
    ([head] + [bands, axes, points, diagonal, legend].flatMap { $0 } + ["</svg>", ""]).joined(separator: "\n")
  }

  // MARK: parts

  private var head: String {
    // As wide as the longest line of the legend, by the mean width of a character in common fonts.
    let longest = clouds.map { Self.words($0).count }.max() ?? 0
    let (w, h) = (Int(Self.left + Self.side) + 60 + max(120, 7 * longest), Int(Self.height))
    let rules = Self.series.enumerated().map { ".s\($0) { fill: \($1.light); stroke: \($1.light) }" }.joined(separator: " ")
    let darkRules = Self.series.enumerated().map { ".s\($0) { fill: \($1.dark); stroke: \($1.dark) }" }.joined(separator: " ")
    let shapes = Self.series.enumerated().map {
      "<path id=\"m\($0)\" d=\"\($1.shape)\"/><path id=\"d\($0)\" d=\"\($1.shape)\" transform=\"scale(0.6)\"/>"
    }.joined()
    return """
      <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(w) \(h)" width="\(w)" height="\(h)" role="img" aria-label="Predicted against measured step times">
      <style>
      text { font: 13px system-ui, sans-serif; fill: #1f2328 } .title { font-size: 16px; font-weight: 600 } .small { font-size: 12px }
      .page { fill: #ffffff } .frame { fill: none; stroke: #57606a } .grid { stroke: #d0d7de; stroke-width: 1 } .tick { stroke: #57606a }
      .wide { fill: #0969da; fill-opacity: 0.07 } .narrow { fill: #0969da; fill-opacity: 0.12 } .equal { stroke: #57606a; stroke-dasharray: 6 4 }
      .points { fill-opacity: 0.45; stroke-width: 1 } .dense { fill-opacity: 0.2; stroke-opacity: 0.6 } \(rules)
      .hollow { fill-opacity: 0 }
      @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .page { fill: #0d1117 } .frame { stroke: #8b949e } .grid { stroke: #30363d } .tick { stroke: #8b949e }
      .wide { fill: #58a6ff; fill-opacity: 0.1 } .narrow { fill: #58a6ff; fill-opacity: 0.16 } .equal { stroke: #8b949e }
      \(darkRules)
      }
      </style>
      <defs><clipPath id="area"><rect x="\(n(Self.left))" y="\(n(Self.top))" width="\(n(Self.side))" height="\(n(Self.side))"/></clipPath>\(shapes)</defs>
      <rect class="page" width="\(w)" height="\(h)"/>
      <text class="title" x="\(n(Self.left))" y="28">Step time of training: predicted against measured</text>
      """
  }

  /// Errors within 25 % and 10 %.
  private var bands: [String] {
    func band(_ name: String, _ error: Double) -> String {
      let (up, down) = (log10(1 + error), log10(1 - error))
      let corners = [(low, low + down), (high, high + down), (high, high + up), (low, low + up)]
      return "<polygon class=\"\(name)\" points=\"\(corners.map { "\(n(x($0))),\(n(y($1)))" }.joined(separator: " "))\"/>"
    }
    return [
      "<g clip-path=\"url(#area)\">", band("wide", 0.25), band("narrow", 0.1), "</g>",
    ]
  }

  private var diagonal: [String] {
    ["<line class=\"equal\" x1=\"\(n(x(low)))\" y1=\"\(n(y(low)))\" x2=\"\(n(x(high)))\" y2=\"\(n(y(high)))\"/>"]
  }

  private var axes: [String] {
    let (right, bottom) = (Self.left + Self.side, Self.top + Self.side)
    var lines: [String] = []
    for decade in Int(low.rounded(.down))...Int(high.rounded(.up)) {
      for digit in 1...9 {
        let place = Double(decade) + log10(Double(digit))
        guard place >= low, place <= high else { continue }
        let (across, up) = (n(x(place)), n(y(place)))
        let isLabelled = digit == 1 || (high - low < 2.5 && (digit == 2 || digit == 5))
        if isLabelled {
          let label = Self.label(digit: digit, decade: decade)
          lines.append("<line class=\"grid\" x1=\"\(across)\" y1=\"\(n(Self.top))\" x2=\"\(across)\" y2=\"\(n(bottom))\"/>")
          lines.append("<line class=\"grid\" x1=\"\(n(Self.left))\" y1=\"\(up)\" x2=\"\(n(right))\" y2=\"\(up)\"/>")
          lines.append("<text class=\"small\" x=\"\(across)\" y=\"\(n(bottom + 20))\" text-anchor=\"middle\">\(label)</text>")
          lines.append("<text class=\"small\" x=\"\(n(Self.left - 10))\" y=\"\(n(y(place) + 4))\" text-anchor=\"end\">\(label)</text>")
        }
        let length = isLabelled ? 6.0 : 3
        lines.append("<line class=\"tick\" x1=\"\(across)\" y1=\"\(n(bottom))\" x2=\"\(across)\" y2=\"\(n(bottom + length))\"/>")
        lines.append("<line class=\"tick\" x1=\"\(n(Self.left - length))\" y1=\"\(up)\" x2=\"\(n(Self.left))\" y2=\"\(up)\"/>")
      }
    }
    lines.append(
      "<rect class=\"frame\" x=\"\(n(Self.left))\" y=\"\(n(Self.top))\" width=\"\(n(Self.side))\" height=\"\(n(Self.side))\"/>")
    lines.append("<text x=\"\(n(Self.left + Self.side / 2))\" y=\"\(n(bottom + 46))\" text-anchor=\"middle\">measured step time</text>")
    lines.append(
      "<text x=\"20\" y=\"\(n(Self.top + Self.side / 2))\" text-anchor=\"middle\""
        + " transform=\"rotate(-90 20 \(n(Self.top + Self.side / 2)))\">predicted step time</text>")
    return lines
  }

  private var points: [String] {
    // Of large sets first, which would hide small ones.
    let order = clouds.indices.sorted { (clouds[$1].rows.count, $0) < (clouds[$0].rows.count, $1) }
    return order.map { clouds[$0] }.flatMap { cloud -> [String] in
      let rows = cloud.rows.map { row in
        // A picture, not the table again: a point says which row it is and how far off.
        "<use href=\"#\(cloud.shape)\" x=\"\(n(x(log10(row.measured))))\" y=\"\(n(y(log10(row.predicted))))\"><title>\(Self.escaped(row.id)):"
          + " \(RowsText.signed(row.predicted / row.measured - 1))</title></use>"
      }
      return ["<g class=\"\(cloud.style)\">"] + rows + ["</g>"]
    }
  }

  private var legend: [String] {
    let start = Self.left + Self.side + 28
    func line(_ place: Int) -> Double { Self.top + 14 + 22 * Double(place) }
    var lines: [String] = []
    for (i, cloud) in clouds.enumerated() {
      lines.append("<g class=\"\(cloud.style)\"><use href=\"#m\(cloud.series)\" x=\"\(n(start))\" y=\"\(n(line(i) - 4))\"/></g>")
      lines.append(
        "<text class=\"small\" x=\"\(n(start + 14))\" y=\"\(n(line(i)))\">\(Self.escaped(Self.words(cloud)))</text>")
    }
    let next = clouds.count + 1
    lines.append("<line class=\"equal\" x1=\"\(n(start - 8))\" y1=\"\(n(line(next) - 4))\" x2=\"\(n(start + 8))\" y2=\"\(n(line(next) - 4))\"/>")
    lines.append("<text class=\"small\" x=\"\(n(start + 14))\" y=\"\(n(line(next)))\">as measured</text>")
    for (place, (name, words)) in [("narrow", "within 10 %"), ("wide", "within 25 %")].enumerated() {
      let up = line(next + 1 + place)
      // As in the picture the narrow band lies on the wide one.
      for layer in name == "narrow" ? ["wide", "narrow"] : ["wide"] {
        lines.append("<rect class=\"\(layer)\" x=\"\(n(start - 8))\" y=\"\(n(up - 11))\" width=\"16\" height=\"13\"/>")
      }
      lines.append("<text class=\"small\" x=\"\(n(start + 14))\" y=\"\(n(up))\">\(words)</text>")
    }
    return lines
  }

  // MARK: places and words

  private static func words(_ cloud: Cloud) -> String {
    "\(cloud.name): \(counted(cloud.rows.count, "row"))\(cloud.isSearched ? " searched" : ""), mean error \(percent(cloud.mean))"
  }

  private func x(_ log: Double) -> Double { Self.left + (log - low) / (high - low) * Self.side }
  private func y(_ log: Double) -> Double { Self.top + (high - log) / (high - low) * Self.side }

  /// A tenth of a unit is finer than a screen shows.
  private func n(_ value: Double) -> String { String(format: "%.1f", value) }

  /// `20 ms`, `1 s`, `500 s`.
  private static func label(digit: Int, decade: Int) -> String {
    let (unit, power) = decade >= 0 ? ("s", decade) : decade >= -3 ? ("ms", decade + 3) : ("µs", decade + 6)
    return power >= 0 ? "\(digit)" + String(repeating: "0", count: power) + " \(unit)" : "\(digit)e\(decade) s"
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": result += "&amp;"
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "\"": result += "&quot;"
      // XML has no spelling for the other control characters.
      case "\u{0}"..."\u{8}", "\u{B}", "\u{C}", "\u{E}"..."\u{1F}", "\u{FFFE}", "\u{FFFF}": result += "\u{FFFD}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// Colours that keep apart for most eyes (after Okabe and Ito), darker on light pages, and a shape of its own for each.
  private static let series: [(light: String, dark: String, shape: String)] = [
    ("#0072b2", "#56b4e9", "M-4,0a4,4 0 1,0 8,0a4,4 0 1,0 -8,0z"),
    ("#d55e00", "#ff8c42", "M-3.6,-3.6h7.2v7.2h-7.2z"),
    ("#00795a", "#2dd4a0", "M0,-4.8L4.6,3.4H-4.6z"),
    ("#aa3f86", "#e08bc4", "M0,-5.2L5.2,0L0,5.2L-5.2,0z"),
    ("#8a6d00", "#f0d648", "M0,4.8L4.6,-3.4H-4.6z"),
    ("#5b4fc4", "#a79cff", "M-1.6,-5h3.2v3.4h3.4v3.2h-3.4v3.4h-3.2v-3.4h-3.4v-3.2h3.4z"),
    ("#b3202c", "#ff7b84", "M0,-5L4.8,-1.5L2.9,4.1H-2.9L-4.8,-1.5z"),
    ("#2f6f7a", "#7fd3e0", "M-4.8,0L-2.4,-4.2H2.4L4.8,0L2.4,4.2H-2.4z"),
    ("#4d5560", "#b8c0ca", "M0,-5.4L1.5,-1.5L5.4,0L1.5,1.5L0,5.4L-1.5,1.5L-5.4,0L-1.5,-1.5z"),
    ("#6a7f00", "#c3dc3c", "M-4.8,-2.4h9.6v4.8h-9.6z"),
    ("#a0522d", "#e0a070", "M-2.4,-4.8h4.8v9.6h-4.8z"),
    ("#c2185b", "#ff80ab", "M-4.4,-4.4L4.4,-4.4L0,0L4.4,4.4L-4.4,4.4L0,0z"),
  ]
}
