// SPDX-License-Identifier: GPL-3.0-or-later
import Documents

/// A way in which ranks exchange data; its raw value is its name in files.
package enum CommunicationPattern: String, CaseIterable, Sendable {
  case allReduce = "all-reduce"
  case allGather = "all-gather"
  case reduceScatter = "reduce-scatter"
  case allToAll = "all-to-all"
  /// From one rank to another.
  case message
}

/// The fraction of a level's rate that each kind of communication reaches: programs move the bytes of one through more copies than those of another.
package struct PatternEfficiency: Hashable, Sendable {
  private var allReduce = 1.0
  private var allGather = 1.0
  private var reduceScatter = 1.0
  private var allToAll = 1.0
  private var message = 1.0

  /// All at the level's rate.
  package static let even = PatternEfficiency()

  package init() {}

  /// In (0, 1].
  package subscript(pattern: CommunicationPattern) -> Double {
    get {
      switch pattern {
      case .allReduce: allReduce
      case .allGather: allGather
      case .reduceScatter: reduceScatter
      case .allToAll: allToAll
      case .message: message
      }
    }
    set {
      precondition(newValue > 0 && newValue <= 1)
      switch pattern {
      case .allReduce: allReduce = newValue
      case .allGather: allGather = newValue
      case .reduceScatter: reduceScatter = newValue
      case .allToAll: allToAll = newValue
      case .message: message = newValue
      }
    }
  }

  func worst(_ other: Self) -> Self { merged(other, min) }
  func best(_ other: Self) -> Self { merged(other, max) }

  private func merged(_ other: Self, _ choose: (Double, Double) -> Double) -> Self {
    var result = self
    for pattern in CommunicationPattern.allCases { result[pattern] = choose(self[pattern], other[pattern]) }
    return result
  }
}

extension PatternEfficiency {
  init(decoding node: Node) throws(DocumentError) {
    let o = try node.object(keys: CommunicationPattern.allCases.map(\.rawValue))
    self.init()
    for pattern in CommunicationPattern.allCases {
      if let fraction = try o.doubleIfPresent(pattern.rawValue, .fraction) { self[pattern] = fraction }
    }
    try o.finish()
  }

  var json: JSON {
    .object(JSON.Object(CommunicationPattern.allCases.filter { self[$0] != 1 }.map { ($0.rawValue, .double(self[$0])) }))
  }
}
