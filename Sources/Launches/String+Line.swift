// SPDX-License-Identifier: GPL-3.0-or-later

extension String {
  /// On one line, as a comment holds it: a name with a line's end would go on behind the comment.
  var onOneLine: String { String(unicodeScalars.map { $0.properties.generalCategory == .control ? " " : Character($0) }) }
}
