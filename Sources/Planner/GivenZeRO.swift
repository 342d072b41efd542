// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Strategies

/// The ZeRO stages that a request fixes.
struct GivenZeRO: Hashable, Sendable {
  /// Of all weights that can have it; others have the next lower one that they can.
  var all: ZeROStage?
  /// Of each operator's weights.
  var each: [ZeROStage]?

  /// The stages that are left of those that an operator's weights can have.
  func stages(of op: OperatorID, amongst possible: [ZeROStage]) -> [ZeROStage] {
    guard let given = each?[op] ?? all else { return possible }
    return [possible.last { $0 <= given } ?? .none]
  }
}

extension SearchRequest {
  var givenZeRO: GivenZeRO { GivenZeRO(all: zero, each: zeroOfOperators) }
}
