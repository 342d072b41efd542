// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import ModelGraph
import Quantities
import Strategies

extension Pricing {
  /// Attention around a ring (Liu et al. 2023, §3): p steps, each with the keys and values of another rank, while those of the next step arrive.
  ///
  /// A step takes the longer of its own work and its own transfer. Forward, the last step waits for nothing. Backward, the gradients of a block
  /// follow it one step behind, since they are sent once the rank's own share is added: none travel in the first step, no keys and values in the
  /// last, and after that the gradients take one more hop, home, which nothing hides.
  func price(
    _ ring: OperatorRule.Ring, of op: OperatorID, _ strategy: Strategy, _ block: AttentionBlock, isCausal: Bool, queries: Int,
    into cost: inout OperatorCost
  ) {
    let operands = graph.operators[op].operands
    let axes = strategy.meshAxes(on: ring.axis)
    let ranks = axes.reduce(1) { $0 * mesh[$1] }
    let passed = ring.operands.map { (tensor: operands[$0], bytes: bytes(operands[$0], strategy.operands[$0].forward)) }
    let values = passed.reduce(Bytes.zero) { $0 + $1.bytes }
    let gradients = passed.reduce(Bytes.zero) { needsGradient[$1.tensor] ? $0 + $1.bytes : $0 }
    let (value, gradient) = (hop(values, axes: axes), hop(gradients, axes: axes))
    let (own, other) = causalShares(isCausal, of: op, queries: queries, ranks: ranks, strategy)

    func add(_ compute: (Double) -> Seconds, _ transfers: [Seconds], home: Seconds, to time: inout Seconds, waiting: inout Seconds) {
      var (working, total) = (Seconds.zero, home)
      if sharers == nil {
        for (step, transfer) in transfers.enumerated() {
          let work = compute(step == 0 ? own : other)
          working += work
          total += max(work, transfer)
        }
      } else {
        // What every step takes at least is not less than what all work takes at once.
        working = compute(Double(ranks) * other)
        total = max(working, transfers.reduce(home, +))
      }
      time += total
      waiting += total - working
    }
    let last = ranks - 1
    add(
      { block.forward(rates, share: $0) }, (0..<ranks).map { $0 < last ? value : .zero }, home: .zero, to: &cost.forward, waiting: &cost.interior)
    // The block that is worked on and the one that arrives.
    cost.transient += values * 2
    guard hasBackward(op) else { return }
    let both = hop(values + gradients, axes: axes)
    add(
      { block.backward(rates, share: $0) }, (0..<ranks).map { $0 == 0 ? value : $0 < last ? both : gradient }, home: gradient, to: &cost.backward,
      waiting: &cost.backwardInterior)
    // Gradients: of this step's block, of the one before on its way, and those that arrive.
    cost.transient += gradients * 3
  }

  /// The part of its own block's scores, and of each other block's, that the rank with most of them computes.
  ///
  /// Zig-zag, two chunks of four see each other wherever they are from. Of contiguous chunks the last has most, and sees all keys of the others.
  private func causalShares(
    _ causal: Bool, of op: OperatorID, queries: Int, ranks: Int, _ strategy: Strategy
  ) -> (own: Double, other: Double) {
    guard causal else { return (1, 1) }
    if isBalanced(op, queries: queries, strategy) { return (0.5, 0.5) }
    return (Double(ranks) * causalShare(of: op, queries: queries, strategy) - Double(ranks - 1), 1)
  }
}
