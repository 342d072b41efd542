// SPDX-License-Identifier: GPL-3.0-or-later
import Strategies

/// The tokens that a generation's next step reads: some positions of every sequence, 0 where a sequence has ended.
final class CurrentTokens {
  private let samples: Int
  private var positions = 0..<0
  private var sequences: [[Int32]] = []

  init(samples: Int) { self.samples = samples }

  func set(_ sequences: [[Int32]], positions: Range<Int>) {
    precondition(sequences.count == samples, "\(sequences.count) sequences for \(samples) samples")
    (self.sequences, self.positions) = (sequences, positions)
  }

  /// - Parameter region: samples, and positions from the first that the step reads.
  func copy(_ region: Region, into values: UnsafeMutablePointer<Int32>) {
    var next = values
    for sample in region[0] {
      let sequence = sequences[sample]
      for position in region[1] {
        let place = positions.lowerBound + position
        next.pointee = place < sequence.count ? sequence[place] : 0
        next += 1
      }
    }
  }
}
