// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation

/// A colour of a screen, as style sheets write it.
package struct Colour: Hashable, Sendable, CustomStringConvertible {
  package let red: UInt8
  package let green: UInt8
  package let blue: UInt8

  package init(_ code: UInt32) {
    (red, green, blue) = (UInt8(code >> 16 & 255), UInt8(code >> 8 & 255), UInt8(code & 255))
  }

  package var description: String { "#" + [red, green, blue].map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }

  /// So much of this colour over another one.
  func over(_ other: Colour, share: Double) -> Colour {
    func mix(_ a: UInt8, _ b: UInt8) -> UInt32 { UInt32((Double(a) * share + Double(b) * (1 - share)).rounded()) }
    return Colour(mix(red, other.red) << 16 | mix(green, other.green) << 8 | mix(blue, other.blue))
  }

  /// Relative luminance (WCAG 2.1).
  package var luminance: Double {
    func linear(_ value: UInt8) -> Double {
      let share = Double(value) / 255
      return share <= 0.04045 ? share / 12.92 : pow((share + 0.055) / 1.055, 2.4)
    }
    return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
  }

  /// The contrast ratio of two colours, from 1 to 21 (WCAG 2.1).
  package func contrast(to other: Colour) -> Double {
    let (light, dark) = (max(luminance, other.luminance), min(luminance, other.luminance))
    return (light + 0.05) / (dark + 0.05)
  }
}

/// The colours of a light or a dark page.
package struct Palette: Sendable {
  let page: Colour
  let card: Colour
  let text: Colour
  let quiet: Colour
  let line: Colour
  let link: Colour
  /// Where something goes on beyond an edge.
  let shadow: Colour
  private let isLight: Bool
  private let tintShare: Double

  subscript(hue: Hue) -> Colour { hue.colour(isLight: isLight) }
  /// Text on a hue: black or white, whichever is read better.
  func ink(on hue: Hue) -> Colour {
    let (black, white) = (Colour(0x000000), Colour(0xffffff))
    return self[hue].contrast(to: black) > self[hue].contrast(to: white) ? black : white
  }
  /// The background of what a hue stands for, with text on it.
  func tint(_ hue: Hue) -> Colour { self[hue].over(card, share: tintShare) }

  package static let light = Palette(
    page: Colour(0xf6f7f9), card: Colour(0xffffff), text: Colour(0x1b2026), quiet: Colour(0x525b66), line: Colour(0xd3d9e0),
    link: Colour(0x0b57b8), shadow: Colour(0xb9c2cc), isLight: true, tintShare: 0.13)
  package static let dark = Palette(
    page: Colour(0x0f1318), card: Colour(0x171c23), text: Colour(0xe8edf3), quiet: Colour(0xa9b4c0), line: Colour(0x39424d),
    link: Colour(0x82b8ff), shadow: Colour(0x4b5665), isLight: false, tintShare: 0.2)

  /// Every text colour with each background that it stands on.
  package var textPairs: [(name: String, text: Colour, background: Colour)] {
    var pairs = [page, card].flatMap { background in
      [("text", text, background), ("quiet", quiet, background), ("link", link, background)] as [(String, Colour, Colour)]
    }
    for hue in Hue.allCases {
      pairs += [
        ("ink on \(hue)", ink(on: hue), self[hue]), ("text on tint of \(hue)", text, tint(hue)),
        ("quiet on tint of \(hue)", quiet, tint(hue)),
      ]
    }
    return pairs.map { (name: $0.0, text: $0.1, background: $0.2) }
  }

  /// What has to be told from its surroundings without being read.
  package var shapePairs: [(name: String, shape: Colour, background: Colour)] {
    Hue.allCases.flatMap { [(name: "\($0) on card", shape: self[$0], background: card), (name: "\($0) on page", shape: self[$0], background: page)] }
  }

  /// The custom properties of a style sheet.
  var properties: String {
    let own = [("page", page), ("card", card), ("text", text), ("quiet", quiet), ("line", line), ("link", link), ("shadow", shadow)]
    return (own + Hue.allCases.flatMap { [("\($0)", self[$0]), ("\($0)-tint", tint($0)), ("\($0)-ink", ink(on: $0))] }).map { "--\($0.0):\($0.1)" }
      .joined(separator: ";")
  }
}
