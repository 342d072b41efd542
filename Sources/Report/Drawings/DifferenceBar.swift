// SPDX-License-Identifier: GPL-3.0-or-later

/// How much less, to the left, or more, to the right, something is than what it is set beside; cut at half as much.
struct DifferenceBar {
  /// 0 is as much.
  let share: Double
  let hue: Hue

  private static let most = 0.5

  /// A table beside it says all.
  var html: HTML {
    let height = 12.0
    let shown = min(Self.most, max(-Self.most, share))
    func x(_ share: Double) -> String { "\(((share + Self.most) * 100).short)%" }
    let isCut = share > Self.most
    // What is cut ends in an open piece.
    let end = isCut ? Self.most * 0.9 : shown
    return tag("svg", ["class": "bar", "width": "100%", "height": height.short, "aria-hidden": "true"]) {
      tag(
        "rect",
        ["x": x(min(0, end)), "y": "0", "width": "\((abs(end) * 100).short)%", "height": height.short, "class": "f-\(hue)"])
      if isCut { tag("rect", ["x": x(end), "y": "0", "width": "5%", "height": height.short, "class": "s-\(hue) wait"]) }
      tag("line", ["x1": x(0), "x2": x(0), "y1": "0", "y2": height.short, "class": "limit", "style": "stroke-dasharray:none"])
    }
  }
}
