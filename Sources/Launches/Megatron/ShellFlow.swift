// SPDX-License-Identifier: GPL-3.0-or-later

/// Which commands of a script run: those in branches of `if` and clauses of `case` that are taken, and of those behind `&&` and `||` what is reached.
///
/// Loops run once, and a command that is no test succeeds.
struct ShellFlow {
  enum Kind: Hashable {
    case branch, clause
    /// What stands in brackets, braces or a loop.
    case group
  }

  private struct Block {
    let kind: Kind
    var isTaken: Bool
    /// Whether no further branch or clause counts.
    var isDecided: Bool
    /// Of a `case` what patterns are compared with; nil where the script does not tell it.
    var subject: String?
    /// Of a `case` the patterns before the next `)`; nil within a clause.
    var patterns: [String]?
    /// How it stood where the block began.
    let before: (isReached: Bool, hasSucceeded: Bool)
  }

  private var blocks: [Block] = []
  /// Of a list of `&&` and `||` whether its next command runs, whether the last that ran succeeded, and whether one is still due.
  private var (isReached, hasSucceeded, awaitsCommand) = (true, true, false)

  /// Whether the next command runs.
  var isActive: Bool { isReached && blocks.allSatisfy(\.isTaken) }
  /// Whether patterns of a `case` come next.
  var readsPatterns: Bool { blocks.last?.patterns != nil }
  /// Whether the next branch, or the next clause, runs where its condition holds.
  var mayTake: Bool { blocks.last.map { !$0.isDecided } ?? false && blocks.dropLast().allSatisfy(\.isTaken) }

  // MARK: - Blocks

  /// - Parameter subject: of a `case`.
  mutating func begin(_ kind: Kind, subject: String? = nil) {
    blocks.append(
      Block(
        kind: kind, isTaken: kind == .group && isReached, isDecided: !isReached, subject: subject, patterns: kind == .clause ? [] : nil,
        before: (isReached, hasSucceeded)))
    beginList()
  }

  /// Ends the last block of a kind, and what was left open in it; a group only where nothing is.
  mutating func end(_ kind: Kind) {
    guard let place = kind == .group ? blocks.indices.last : blocks.lastIndex(where: { $0.kind == kind }), blocks[place].kind == kind else { return }
    (isReached, hasSucceeded) = blocks[place].before
    hasSucceeded = hasSucceeded || isReached
    awaitsCommand = false
    blocks.removeSubrange(place...)
  }

  /// Enters the next branch or clause, where none before it was taken.
  mutating func take(_ holds: Bool) {
    guard let last = blocks.indices.last else { return }
    blocks[last].isTaken = holds && !blocks[last].isDecided
    blocks[last].isDecided = blocks[last].isDecided || holds
    beginList()
  }

  /// - Parameter isLast: whether a `)` follows, and the clause.
  mutating func read(patterns: [String], isLast: Bool) {
    guard let last = blocks.indices.last, let known = blocks[last].patterns else { return }
    blocks[last].patterns = isLast ? nil : known + patterns
    guard isLast else { return }
    // Other signs of a shell's patterns than `*` stand for themselves.
    let subject = blocks[last].subject
    take((known + patterns).contains { pattern in pattern == "*" || subject.map { PatternMatching.globs.matches(pattern, $0) } ?? false })
  }

  // MARK: - Lists

  private mutating func beginList() { (isReached, hasSucceeded, awaitsCommand) = (true, true, false) }

  /// Goes on behind a separator.
  ///
  /// - Parameters:
  ///   - isEmpty: whether nothing stands before it.
  ///   - succeeded: whether the command before it did; nil where none ran.
  mutating func pass(_ separator: String, isEmpty: Bool, succeeded: Bool?) {
    if let succeeded { hasSucceeded = succeeded }
    awaitsCommand = awaitsCommand && isEmpty
    switch separator {
    case "&&": (isReached, awaitsCommand) = (hasSucceeded, true)
    case "||": (isReached, awaitsCommand) = (!hasSucceeded, true)
    case "|": awaitsCommand = true
    case "(": begin(.group)
    case ")": end(.group)
    case ";;":
      if let last = blocks.indices.last, blocks[last].kind == .clause { (blocks[last].isTaken, blocks[last].patterns) = (false, []) }
      beginList()
    default: if !awaitsCommand { beginList() }
    }
  }
}
