// SPDX-License-Identifier: GPL-3.0-or-later

/// A picture under construction, in user units that are pixels where it is not scaled.
struct Drawing {
  let width: Double
  let height: Double
  private(set) var elements: [HTML] = []

  init(width: Double, height: Double) { (self.width, self.height) = (width, height) }

  enum Anchor: String {
    case start
    case middle
    case end
  }

  /// - Parameter title: what a pointer that rests on it is told.
  mutating func rectangle(
    _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ style: String, round: Double = 0, title: String? = nil
  ) {
    elements.append(
      tag(
        "rect",
        [
          "x": x.short, "y": y.short, "width": max(0, width).short, "height": max(0, height).short, "class": style,
          "rx": round > 0 ? round.short : nil,
        ]
      ) { if let title { tag("title") { title } } })
  }

  mutating func text(_ text: String, _ x: Double, _ y: Double, _ style: String = "t", anchor: Anchor = .start) {
    elements.append(tag("text", ["x": x.short, "y": y.short, "class": style, "text-anchor": anchor == .start ? nil : anchor.rawValue]) { text })
  }

  mutating func line(_ x1: Double, _ y1: Double, _ x2: Double, _ y2: Double, _ style: String) {
    elements.append(tag("line", ["x1": x1.short, "y1": y1.short, "x2": x2.short, "y2": y2.short, "class": style]))
  }

  /// - Parameter thickness: of its line, where the style has none of its own.
  mutating func path(_ path: Path, _ style: String, thickness: Double? = nil, title: String? = nil) {
    if path.data.isEmpty { return }
    elements.append(tag("path", ["d": path.data, "class": style, "stroke-width": thickness?.short]) { if let title { tag("title") { title } } })
  }

  /// The picture at its own size.
  /// - Parameter label: what it shows, for who does not see it.
  func picture(_ label: String) -> HTML {
    tag(
      "svg",
      [
        "viewBox": "0 0 \(width.short) \(height.short)", "width": width.short, "height": height.short, "role": "img", "aria-label": label,
      ]
    ) { elements }
  }

  /// A piece of a picture that has a name as a whole.
  var part: HTML {
    tag("svg", ["viewBox": "0 0 \(width.short) \(height.short)", "width": width.short, "height": height.short, "aria-hidden": "true"]) { elements }
  }

  /// The picture as wide as what it stands in, and as high as it is; nothing in it keeps its proportions.
  func stretched(_ label: String) -> HTML {
    tag(
      "svg",
      [
        "viewBox": "0 0 \(width.short) \(height.short)", "width": "100%", "height": height.short, "preserveAspectRatio": "none", "role": "img",
        "aria-label": label,
      ]
    ) { elements }
  }
}

/// The outline of a figure.
struct Path {
  private(set) var data = ""

  mutating func move(_ x: Double, _ y: Double) { data += "M\(x.short) \(y.short)" }
  mutating func line(_ x: Double, _ y: Double) { data += "L\(x.short) \(y.short)" }

  /// An S from where the path is, upright at both ends.
  mutating func curve(from start: (x: Double, y: Double), to end: (x: Double, y: Double)) {
    let middle = ((start.y + end.y) / 2).short
    data += "C\(start.x.short) \(middle) \(end.x.short) \(middle) \(end.x.short) \(end.y.short)"
  }

  /// A box that is closed by itself.
  mutating func box(_ x: Double, _ y: Double, _ width: Double, _ height: Double) {
    data += "M\(x.short) \(y.short)h\(width.short)v\(height.short)h\((-width).short)z"
  }

  mutating func close() { data += "z" }
}

extension Double {
  /// With one digit after the point, or none where it is 0.
  var short: String {
    let tenths = Int((self * 10).rounded())
    if tenths % 10 == 0 { return "\(tenths / 10)" }
    return (tenths < 0 ? "-" : "") + "\(abs(tenths) / 10).\(abs(tenths) % 10)"
  }
}
