// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Quantities

/// Round values along a range of time, and where they stand in it.
struct TimeAxis {
  /// As shares of the range.
  let ticks: [(place: Double, text: String)]

  /// - Parameter most: of the ticks.
  init(from start: Seconds = .zero, to end: Seconds, most: Int = 6) {
    let length = (end - start).value
    guard length > 0 else {
      ticks = [(0, "0")]
      return
    }
    let (unit, name) = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs")].first { end.value >= $0.0 } ?? (1e-9, "ns")
    let rough = length / Double(most)
    let power = pow(10, log10(rough).rounded(.down))
    let step = [1, 2, 5, 10].map { $0 * power }.first { $0 >= rough * (1 - 1e-9) } ?? rough
    let digits = max(0, -Int(log10(step / unit * (1 + 1e-9)).rounded(.down)))
    var ticks: [(place: Double, text: String)] = []
    for number in Int((start.value / step - 1e-9).rounded(.up))...max(0, Int((end.value / step + 1e-9).rounded(.down))) {
      let value = Double(number) * step
      ticks.append(((value - start.value) / length, number == 0 ? "0" : String(format: "%.\(digits)f ", value / unit) + name))
    }
    self.ticks = ticks
  }

  /// Under a picture as wide as the page.
  var html: HTML {
    tag("div", ["class": "ticks", "aria-hidden": "true"]) {
      for tick in ticks {
        // What would stand out on the right stands left of its place.
        tag("span", ["style": tick.place > 0.96 ? "right:0" : "left:\((tick.place * 100).short)%", "class": tick.place == 0 ? "first" : nil]) {
          tick.text
        }
      }
    }
  }
}
