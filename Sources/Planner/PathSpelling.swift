// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A path as somebody typed it, to be compared part by part with the paths that there are.
///
/// The distance is that of the cheapest alignment of the parts (Wagner & Fischer 1974 over parts in place of characters): two parts differ by the share
/// of their characters that must change, a beginning of a part by less; what stands before the first typed part may be left out for little, since ends of
/// paths are what people remember; `*` stands for any parts, and a number for `{i}`.
struct PathSpelling {
  private let parts: [String]

  private static let leftOutBefore = 0.05
  private static let leftOut = 0.5
  private static let tooMuch = 1.0
  private static let beginning = 0.2
  /// Parts that are the same but for case and punctuation.
  private static let punctuation = 0.02
  /// Of each typed part so much may be wrong on average, and of a single one twice that.
  private static let most = 0.34

  init(_ path: String) { parts = Self.split(path) }

  private static func split(_ path: String) -> [String] { path.split(separator: ".").map(String.init) }

  /// How far a path is from what was typed; nil where it is too far to be meant.
  func distance(to path: String) -> Double? {
    let names = Self.split(path)
    let named = parts.filter { $0 != "*" }
    if named.isEmpty { return nil }
    // row[n]: the typed parts so far, aligned with the first n parts of the path.
    var row = (0...names.count).map { Double($0) * Self.leftOutBefore }
    for part in parts {
      var next = [row[0] + (part == "*" ? 0 : Self.tooMuch)]
      for (n, name) in names.enumerated() {
        if part == "*" {
          next.append(min(row[n + 1], row[n], next[n]))
        } else {
          next.append(min(row[n] + Self.difference(part, name), row[n + 1] + Self.tooMuch, next[n] + Self.leftOut))
        }
      }
      row = next
    }
    let distance = row[names.count]
    // Of all that was left out before the first part nothing is wrong.
    let wrong = distance - Double(max(0, names.count - named.count)) * Self.leftOutBefore
    return wrong <= Self.most * Double(named.count) + (named.count == 1 ? Self.most / 2 : 0) ? distance : nil
  }

  private static func difference(_ typed: String, _ name: String) -> Double {
    if typed == name || name == "{i}" && Int(typed) != nil { return 0 }
    // Both stand for no name that could be misspelt.
    if name == "{i}" || typed == "{i}" { return tooMuch }
    let (a, b) = (folded(typed), folded(name))
    if a == b { return punctuation }
    if a.isEmpty || b.isEmpty { return tooMuch }
    if a.count > 1, b.starts(with: a) || b.count > 1 && a.starts(with: b) { return beginning }
    return Double(editDistance(a, b)) / Double(max(a.count, b.count))
  }

  private static func folded(_ part: String) -> [Character] { Array(part.lowercased().filter { $0.isLetter || $0.isNumber }) }
}
