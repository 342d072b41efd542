// SPDX-License-Identifier: GPL-3.0-or-later

/// How much of the communication of a step was hidden behind work.
///
/// Exposed is the time that ranks spend in collectives and in waiting for messages, other ranks' delays included. Hidden is the time in which a message of
/// a rank is on its way while it computes: from when it is sent until the rank finds that it has left. MPI may move the bytes later than that, or only
/// in the wait that follows, so that it is the most that is hidden.
package struct CommunicationOverlap: Equatable, Sendable {
  /// Of all ranks together.
  package private(set) var exposed = 0.0
  package private(set) var hidden = 0.0
  private var ranks = 0

  package init(_ records: [StepRecord]) {
    for record in records {
      exposed += record.exposed
      hidden += record.hidden
    }
    ranks = records.count
  }

  /// The mean over the ranks.
  package var communicationPerRank: Double { ranks == 0 ? 0 : (exposed + hidden) / Double(ranks) }

  /// 0 where there is no communication.
  package var hiddenShare: Double { exposed + hidden > 0 ? hidden / (exposed + hidden) : 0 }
}
