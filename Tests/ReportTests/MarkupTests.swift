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
}
