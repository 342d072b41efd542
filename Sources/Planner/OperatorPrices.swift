// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import ModelGraph
import Strategies

/// What operators and their weights take on one mesh, under each of their strategies, once it was asked for: frames that differ only in what their
/// layers compute again share it.
final class OperatorPrices {
  /// How the weights of an operator may be held.
  struct WeightsOption {
    /// The uses of the operator's parameters, in order; empty where the weights have no choice of their own.
    let uses: [Strategy.Use]
    let zero: ZeROStage
    let cost: WeightsCost
  }

  struct Weights {
    /// Whether the weights have a choice of their own; else the options are those of the operator's strategies.
    let hasChoice: Bool
    let options: [WeightsOption]
  }

  private var costs: [OperatorID: [OperatorCost]] = [:]
  private var weights: [OperatorID: (ties: Ties, weights: Weights)] = [:]

  func costs(_ op: OperatorID, _ price: () -> [OperatorCost]) -> [OperatorCost] {
    if let known = costs[op] { return known }
    let made = price()
    costs[op] = made
    return made
  }

  func weights(_ op: OperatorID, _ ties: Ties, _ price: () -> Weights) -> Weights {
    if let known = weights[op], known.ties == ties { return known.weights }
    let made = price()
    weights[op] = (ties, made)
    return made
  }
}
