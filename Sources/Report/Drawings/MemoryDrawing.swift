// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities

/// Memory over time as areas on each other, with the limit.
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

  func picture(_ label: String) -> HTML {
    let (width, height) = (1000.0, 200.0)
    let count = layers.first?.values.count ?? 0
    let totals = (0..<count).map { index in layers.reduce(Bytes.zero) { $0 + $1.values[index] } }
    let top = max(limit, totals.max() ?? .zero)
    func y(_ bytes: Bytes) -> Double { height - (top > .zero ? bytes / top : 0) * height }
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
    drawing.line(0, max(1, y(limit)), width, max(1, y(limit)), "limit")
    return tag("div", ["class": "rows"]) {
      tag("div", ["class": "memory-axis", "aria-hidden": "true", "style": "height:\(height.short)px"]) {
        tag("span") { "\(top)" }
        tag("span") { "\(top / 2)" }
        tag("span") { "0" }
      }
      tag("div", ["class": "row-boxes"]) {
        drawing.stretched(label)
        tag("div", ["class": "axis", "aria-hidden": "true"]) { for share in [0.0, 0.25, 0.5, 0.75, 1] { tag("span") { "\(end * share)" } } }
      }
    }
  }
}
