// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities

/// Memory over time as areas on each other, with the limit and the instant at which most is there.
struct MemoryDrawing {
  struct Layer {
    var name: String
    var hue: Hue
    /// At equal distances in time.
    var values: [Bytes]
  }

  let layers: [Layer]
  let limit: Bytes
  let end: Seconds
  let peak: (time: Seconds, bytes: Bytes)

  /// Up to the limit, unless less than half of that would be used.
  private var scale: (top: Bytes, step: Bytes, showsLimit: Bool) {
    let showsLimit = limit <= peak.bytes * 2
    let least = showsLimit ? max(limit, peak.bytes) : peak.bytes
    if least <= .zero { return (Bytes(1), Bytes(1), false) }
    // Of the unit in which the largest is written, so that marks are round numbers of it.
    var unit = 1.0
    while least.value / unit >= 1023.5 { unit *= 1024 }
    let step = Bytes(roundStep(least.value / unit, parts: 4) * unit)
    return (step * (least / step).rounded(.up), step, showsLimit)
  }

  func picture(_ label: String) -> HTML {
    let (width, height) = (1000.0, 200.0)
    let count = layers.first?.values.count ?? 0
    let (top, step, showsLimit) = scale
    func y(_ bytes: Bytes) -> Double { height - bytes / top * height }
    func x(_ index: Int) -> Double { Double(index) / Double(max(1, count)) * width }
    var drawing = Drawing(width: width, height: height)
    var below = [Bytes](repeating: .zero, count: count)
    for layer in layers {
      let above = zip(below, layer.values).map { $0 + $1 }
      if layer.values.contains(where: { $0 > .zero }) {
        var path = Path()
        path.move(0, y(below[0]))
        // Values hold until the next one; equal ones are one step.
        func walk(_ line: [Bytes], _ indices: some Sequence<Int>, isBack: Bool) {
          var last: Bytes?
          for index in indices where line[index] != last {
            if isBack {
              path.line(x(index + 1), y(last ?? line[index]))
              path.line(x(index + 1), y(line[index]))
            } else {
              path.line(x(index), y(last ?? line[index]))
              path.line(x(index), y(line[index]))
            }
            last = line[index]
          }
          path.line(isBack ? 0 : width, y(last ?? .zero))
        }
        walk(above, 0..<count, isBack: false)
        walk(below, (0..<count).reversed(), isBack: true)
        path.close()
        drawing.path(path, "f-\(layer.hue)", title: layer.name)
      }
      below = above
    }
    if showsLimit { drawing.line(0, max(1, y(limit)), width, max(1, y(limit)), "limit") }
    let instant = end > .zero ? peak.time / end * width : 0
    drawing.line(instant, 0, instant, height, "limit")
    let marks = Int((top / step).rounded())
    return tag("div") {
      tag("p", ["class": "note", "aria-hidden": "true", "style": "margin:2px 0;font-size:12px"]) {
        "Upright line: the peak, \(peak.bytes) at \(peak.time). "
          + (showsLimit ? "Level line: the limit, \(limit)." : "↑ The limit, \(limit), is far above.")
      }
      tag("div", ["class": "rows"]) {
        tag("div", ["class": "memory-axis", "aria-hidden": "true", "style": "height:\(height.short)px"]) {
          // The middle of each line, 16 pixels high, is at its value.
          for mark in (0...marks).reversed() { tag("span", ["style": "top:\((y(step * mark) - 8).short)px"]) { mark == 0 ? "0" : "\(step * mark)" } }
        }
        tag("div", ["class": "row-boxes"]) {
          drawing.stretched(label)
          timeAxis
        }
      }
    }
  }

  /// Marks at round times, each under its place.
  private var timeAxis: HTML {
    let step = Seconds(roundStep(end.value, parts: 5))
    let marks = end > .zero ? Array(0...Int(end / step)) : [0]
    return tag("div", ["class": "axis", "aria-hidden": "true", "style": "display:block;position:relative;height:20px"]) {
      for mark in marks {
        let share = end > .zero ? step * mark / end : 0
        // A mark near the end stands before its place, so that it is not cut.
        let shift = mark == 0 ? "0" : share > 0.94 ? "-100%" : "-50%"
        tag("span", ["style": "position:absolute;white-space:nowrap;left:\((share * 100).short)%;transform:translateX(\(shift))"]) {
          mark == 0 ? "0" : "\(step * mark)"
        }
      }
    }
  }
}

/// The least of 1, 2, 2.5 and 5 times a power of ten that divides up to a value into at most so many parts, the last perhaps shorter.
func roundStep(_ value: Double, parts: Int) -> Double {
  guard value > 0, value.isFinite else { return 1 }
  var power = 1.0
  while power * 10 <= value / Double(parts) { power *= 10 }
  while power > value / Double(parts) { power /= 10 }
  return [1, 2, 2.5, 5, 10].map { $0 * power }.first { value / $0 <= Double(parts) + 1e-9 } ?? power * 10
}
