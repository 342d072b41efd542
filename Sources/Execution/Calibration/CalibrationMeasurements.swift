// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware

/// What was timed on a machine, with as many ranks as there are busy at once: plain numbers, from which constants are fitted without a clock.
package struct CalibrationMeasurements: Equatable, Sendable {
  /// A matrix product of [rows, depth] and [depth, columns].
  package struct Product: Equatable, Sendable {
    package var rows: Int
    package var columns: Int
    package var depth: Int
    package var seconds: Double

    package init(rows: Int, columns: Int, depth: Int, seconds: Double) {
      (self.rows, self.columns, self.depth, self.seconds) = (rows, columns, depth, seconds)
    }

    /// A multiply-add counts as two.
    var operations: Double { 2 * Double(rows) * Double(columns) * Double(depth) }
  }

  /// Attention, forward or backward.
  package struct Attention: Equatable, Sendable {
    /// Of all scores, those under a causal mask included: 4 · samples · heads · queries · keys · depth, backward 2.5 times that.
    package var operations: Double
    package var keys: Int
    package var isCausal: Bool
    package var isBackward: Bool
    package var seconds: Double

    package init(operations: Double, keys: Int, isCausal: Bool, isBackward: Bool, seconds: Double) {
      (self.operations, self.keys, self.isCausal, self.isBackward, self.seconds) = (operations, keys, isCausal, isBackward, seconds)
    }
  }

  /// A kernel over whole arrays.
  package struct Stream: Equatable, Sendable {
    package enum Kind: Equatable, Sendable {
      /// Bound by memory.
      case plain
      /// With an exponential for each element.
      case exponential
      case optimizer
    }

    package var kind: Kind
    /// What the cost model counts for it.
    package var bytes: Double
    package var exponentials: Double
    package var seconds: Double

    package init(kind: Kind, bytes: Double, exponentials: Double = 0, seconds: Double) {
      (self.kind, self.bytes, self.exponentials, self.seconds) = (kind, bytes, exponentials, seconds)
    }
  }

  /// One call of a collective, or one message to a neighbour while all send one.
  package struct Communication: Equatable, Sendable {
    package var pattern: CommunicationPattern
    /// Of the group; all groups of that size communicate at once.
    package var ranks: Int
    /// As `CollectiveCost` counts them.
    package var bytes: Double
    package var seconds: Double

    package init(pattern: CommunicationPattern, ranks: Int, bytes: Double, seconds: Double) {
      (self.pattern, self.ranks, self.bytes, self.seconds) = (pattern, ranks, bytes, seconds)
    }
  }

  package var products: [Product] = []
  package var attention: [Attention] = []
  package var streams: [Stream] = []
  package var communication: [Communication] = []
  /// A call with next to nothing to do.
  package var callSeconds = 0.0
  /// The part of a message's time that a product hides; nil with one rank.
  package var hidden: Double?
  /// What a process has resident before a plan's tensors.
  package var processBytes = 0.0
  /// (upper − lower quartile) / median of each measurement's repetitions.
  package var spreads: [Double] = []

  package init() {}
}
