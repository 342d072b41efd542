// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Strategies

/// What a group of devices and its neighbours hand on to each other, each message with a tag that its sender uses once.
///
/// A message is numbered by its pass's place in the sender's order. Where tags come round, after very many passes, they cannot meet: a receiver
/// takes messages in nearly the order in which they are sent.
package struct Messages: Sendable {
  /// For the group and its neighbours the order of their passes; empty for the others.
  private let orders: [[Pass]]
  private let places: [[Pass: Int]]
  /// The most tensors that one pass hands on.
  private let most: Int
  private let group: Int

  package init(_ decision: Decision, of group: Int) {
    let groups = decision.groups
    let orders = (0..<groups).map { other in
      [0, 1, groups - 1].contains((other - group + groups) % groups)
        ? decision.schedule.passes(stage: other, stages: groups, microBatches: decision.job.microBatches, mode: decision.job.mode) : []
    }
    self.group = group
    self.orders = orders
    places = orders.map { order in Dictionary(uniqueKeysWithValues: order.enumerated().map { ($1, $0) }) }
    let exits = decision.graph.segments.map(\.exits.count).max() ?? 1
    // Between stages of several meshes a tensor goes once for each layout in which it is read.
    let reads = decision.graph.segments.map { $0.entries.reduce(0) { $0 + decision.graph.consumers[$1].count } }.max() ?? 1
    most = max(1, exits, decision.stageMeshes.isEmpty ? 1 : reads)
  }

  /// The group's own passes.
  var passes: [Pass] { orders[group] }

  /// - Parameters:
  ///   - pass: which way, and of which micro-batch.
  ///   - stage: the virtual stage that it goes through and is sent from.
  ///   - index: the tensor's number among those that the pass hands on.
  func tag(_ pass: Pass, from stage: Int, _ index: Int) -> Int {
    let (sender, chunk) = (stage % orders.count, stage / orders.count)
    let own = pass.isForward ? Pass.forward(pass.microBatch, chunk: chunk) : .backward(pass.microBatch, chunk: chunk)
    guard let place = places[sender][own] else { preconditionFailure("no pass of group \(sender) hands this on") }
    return place * most + index
  }

  /// The pass of the group or of a neighbour that hands on what has this tag.
  package func pass(sending tag: Int, from sender: Int) -> Pass { orders[sender][tag / most] }
}
