// SPDX-License-Identifier: GPL-3.0-or-later
import Testing

@testable import Report

@Suite struct MarkupTests {
  @Test("No text can become markup, in an element or in an attribute")
  func escaping() {
    let nasty = "</title><script>alert('x' + \"y\" & z)</script>"
    let markup = tag("p", ["title": nasty]) { nasty }.markup
    let escaped = "&lt;/title&gt;&lt;script&gt;alert(&#39;x&#39; + &quot;y&quot; &amp; z)&lt;/script&gt;"
    #expect(markup == "<p title=\"\(escaped)\">\(escaped)</p>")
  }

  @Test("Characters that no page may contain are replaced; letters of all scripts stay")
  func characters() {
    #expect(tag("p") { "a\u{0}b\u{1B}[31mc\td\u{7F}" }.markup == "<p>a\u{FFFD}b\u{FFFD}[31mc\td\u{FFFD}</p>")
    #expect(tag("p") { "µs × 2 – 模型" }.markup == "<p>µs × 2 – 模型</p>")
  }

  @Test("Attributes without a value are left out; elements close as HTML and SVG want it")
  func elements() {
    #expect(tag("p", ["class": nil, "id": "x"]).markup == "<p id=\"x\"></p>")
    #expect(tag("meta", ["charset": "utf-8"]).markup == "<meta charset=\"utf-8\">")
    #expect(tag("svg") { tag("g") { tag("rect", ["x": "1"]) } }.markup == "<svg><g><rect x=\"1\"/></g></svg>")
  }

  @Test(
    "Coordinates have one digit after the point at most",
    arguments: [(0, "0"), (1, "1"), (-0.04, "0"), (0.25, "0.3"), (-0.25, "-0.3"), (-12.34, "-12.3"), (99.96, "100"), (1e6, "1000000")])
  func numbers(value: Double, text: String) { #expect(value.short == text) }

  @Test("A narrow part of a bar keeps 2 px, is over its neighbour, and has no gap beside it")
  func bar() throws {
    let parts = [0.5, 0.002, 0.3].map { Bar.Part(hue: .blue, share: $0, text: "\($0)") }
    let markup = Bar(parts: parts).html(nil).markup
    let titles = markup.matches(of: /<title>([\d.]+)<\/title>/).map { String($0.1) }
    #expect(titles == ["0.3", "0.002", "0.5"] && markup.matches(of: /max\(2px,0.2%\)/).count == 1 && !markup.contains("class=\"gap\""))
    let even = Bar(parts: [0.5, 0.5].map { .init(hue: .blue, share: $0, text: "") }).html(nil).markup
    #expect(even.matches(of: /<line x1="50%" x2="50%"[^>]*class="gap"/).count == 1)
  }

  @Test("What stands between backticks is code; names in a row are joined as in a sentence")
  func words() {
    #expect(tag("p") { prose("see `a <b>` there") }.markup == "<p>see <code>a &lt;b&gt;</code> there</p>")
    #expect([[], ["0"], ["0", "1"], ["0", "1", "2"]].map(enumerated) == ["", "0", "0 and 1", "0, 1 and 2"])
  }

  @Test("Oracle: contrasts of the WCAG's own examples")
  func contrast() {
    let (black, white) = (Colour(0x000000), Colour(0xffffff))
    #expect(abs(black.contrast(to: white) - 21) < 1e-9 && abs(white.contrast(to: white) - 1) < 1e-9)
    // The lightest grey that passes on white, and the next one, which does not.
    #expect(Colour(0x767676).contrast(to: white) >= 4.5 && Colour(0x777777).contrast(to: white) < 4.5)
    #expect("\(Colour(0x0b70af))" == "#0b70af")
  }

  @Test("Every text can be read on every background that it stands on, and every shape be told from its surroundings", arguments: [true, false])
  func palette(isLight: Bool) {
    let palette = isLight ? Palette.light : Palette.dark
    for pair in palette.textPairs {
      let contrast = pair.text.contrast(to: pair.background)
      #expect(contrast >= 4.5, "\(pair.name): \(contrast)")
    }
    for pair in palette.shapePairs {
      let contrast = pair.shape.contrast(to: pair.background)
      #expect(contrast >= 3, "\(pair.name): \(contrast)")
    }
  }

  @Test("What lies beside each other in one picture differs in lightness too, so that it is told apart in grey", arguments: [true, false])
  func grey(isLight: Bool) {
    let palette = isLight ? Palette.light : Palette.dark
    let neighbours: [(Hue, Hue)] = [
      (.forward, .backward), (.laterForward, .laterBackward), (.backward, .sync), (.computing, .collective), (.sync, .update),
      (.computing, .recompute),
      (.weights, .gradients), (.gradients, .optimizerState), (.optimizerState, .activations), (.activations, .activationGradients),
      (.activations, .recomputed),
    ]
    for (a, b) in neighbours { #expect(palette[a].contrast(to: palette[b]) >= 1.25, "\(a) and \(b): \(palette[a].contrast(to: palette[b]))") }
    for count in [2, 4, 8] {
      let stages = (0..<count).map { palette[.ofStage($0, of: count)].luminance }
      #expect(zip(stages, stages.dropFirst()).allSatisfy { $0 < $1 }, "stages get lighter")
    }
  }
}
