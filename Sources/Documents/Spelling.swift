// SPDX-License-Identifier: GPL-3.0-or-later

/// The candidate most like `word`, the first of equals, or nil if none is close enough to be a slip of the pen: at most a third
/// of its characters changed, without regard to case and punctuation, or one a beginning of the other.
package func nearestSpelling(to word: String, among candidates: some Sequence<String>) -> String? {
  var best: (distance: Int, candidate: String)?
  for candidate in candidates {
    let (a, b) = (folded(word), folded(candidate))
    let isCutShort = a.count != b.count && min(a.count, b.count) >= 4 && (a.starts(with: b) || b.starts(with: a))
    let distance = isCutShort ? 1 : editDistance(a, b)
    guard distance <= max(1, word.count / 3), distance < best?.distance ?? .max else { continue }
    best = (distance, candidate)
  }
  return best?.candidate
}

private func folded(_ word: String) -> [Character] {
  Array(word.lowercased().filter { $0.isLetter || $0.isNumber })
}

/// Levenshtein's distance: the fewest insertions, deletions and substitutions that turn one into the other.
package func editDistance(_ a: [Character], _ b: [Character]) -> Int {
  var row = Array(0...b.count)
  for i in a.indices {
    var diagonal = row[0]
    row[0] = i + 1
    for j in b.indices {
      let substituted = diagonal + (a[i] == b[j] ? 0 : 1)
      diagonal = row[j + 1]
      row[j + 1] = min(substituted, row[j] + 1, diagonal + 1)
    }
  }
  return row[b.count]
}
