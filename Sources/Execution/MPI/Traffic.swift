// SPDX-License-Identifier: GPL-3.0-or-later

/// What one rank has sent through its communicators, counted as a plan counts it, so that the two can be compared.
///
/// A group of one rank moves nothing and is not counted. Control messages (`broadcast`, `gather`, `barrier`) are not
/// part of a plan and are not counted either.
package struct Traffic: Equatable, Sendable {
  package enum Kind: Int, CaseIterable, Sendable {
    /// Bytes: the reduced vector, whole. Sums and maxima alike.
    case allReduce
    /// Bytes: the gathered result.
    case allGather
    /// Bytes: the input, whole, as each rank holds it before the call.
    case reduceScatter
    /// Bytes: the buffer that this rank gives, its own part included. Of experts' slots it is the rows that hold tokens, each once for every rank
    /// that gets a part of it, and with 4 bytes for its number; the counts that ranks exchange before are not counted.
    case allToAll
    /// Bytes: what this rank sends. Receives are not counted, so the sum over ranks is the number of messages.
    case sendReceive

    /// As plans and reports name it.
    package var name: String {
      switch self {
      case .allReduce: "all-reduce"
      case .allGather: "all-gather"
      case .reduceScatter: "reduce-scatter"
      case .allToAll: "all-to-all"
      case .sendReceive: "send-receive"
      }
    }
  }

  package struct Amount: Equatable, Sendable {
    package var count = 0
    package var bytes = 0

    package init(count: Int = 0, bytes: Int = 0) {
      self.count = count
      self.bytes = bytes
    }
  }

  private var amounts = [Amount](repeating: Amount(), count: Kind.allCases.count)

  package init() {}

  package subscript(kind: Kind) -> Amount {
    get { amounts[kind.rawValue] }
    set { amounts[kind.rawValue] = newValue }
  }

  package mutating func add(_ kind: Kind, bytes: Int) {
    amounts[kind.rawValue].count += 1
    amounts[kind.rawValue].bytes += bytes
  }

  /// What has been added since `earlier`, which must be an earlier value of the same ledger.
  package func since(_ earlier: Traffic) -> Traffic {
    var difference = Traffic()
    for kind in Kind.allCases {
      difference[kind] = Amount(count: self[kind].count - earlier[kind].count, bytes: self[kind].bytes - earlier[kind].bytes)
    }
    return difference
  }
}

/// The one ledger of a rank: every communicator that descends from the same process writes into it.
package final class TrafficLedger {
  package fileprivate(set) var traffic = Traffic()
  /// The time that this rank has spent in collectives, and waiting for messages: for the bytes, and for ranks that came later.
  package private(set) var seconds = 0.0
  /// Set in a step that is recorded.
  var recorder: StepRecorder?

  func add(_ kind: Traffic.Kind, bytes: Int) { traffic.add(kind, bytes: bytes) }

  /// - Parameter start: `MonotonicClock.now` before the call.
  func addTime(since start: Double) { seconds += MonotonicClock.now - start }

  /// A message is about to be sent.
  /// - Returns: its number in the step that is recorded; nil where none is.
  func beginTransfer(bytes: Int) -> Int? { recorder?.beginTransfer(bytes: bytes, communication: seconds) }

  /// This rank has found that the message has left.
  func endTransfer(_ number: Int?) {
    if let number { recorder?.endTransfer(number, communication: seconds) }
  }
}
