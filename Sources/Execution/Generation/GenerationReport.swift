// SPDX-License-Identifier: GPL-3.0-or-later

/// What was generated; the same on every rank but for `verification`, which rank 0 has.
package struct GenerationReport: Sendable {
  /// For each prompt its tokens and those that follow.
  package internal(set) var sequences: [[Int32]] = []
  /// Tokens that were generated.
  package internal(set) var newTokens = 0
  /// The first step, over the positions that all prompts have; the longest time of a rank.
  package internal(set) var firstSeconds = 0.0
  /// Positions of each prompt in the first step.
  package internal(set) var firstPositions = 0
  /// Each later step, of one position.
  package internal(set) var stepSeconds: [Double] = []
  /// For each rank its part of keys and values, and the most that buffers and parameters have taken.
  package internal(set) var cacheBytes: [Int] = []
  package internal(set) var peakBufferBytes: [Int] = []
  package internal(set) var verification: GenerationVerification?
}

/// How far the logits by which tokens were chosen lie from those of one rank that reads the whole sequences at once.
package struct GenerationVerification: Sendable, Equatable {
  /// Positions whose logits were compared.
  package let comparedPositions: Int
  package let maximumRelativeError: Double
  package let tolerance: Double
  package var holds: Bool { maximumRelativeError <= tolerance }
}
