// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Quantities
import Strategies

/// What the weights of one operator cost, beyond the operator's own work: their place in memory, their gradients' synchronisation, the optimizer.
package struct WeightsCost: Sendable {
  /// Per micro-batch: gathering weights, and scattering gradients, that are shared out; the updates of `passing` too.
  package var forward: Seconds = .zero
  package var backward: Seconds = .zero
  /// Once per step: summing gradients over data replicas, and gathering updated weights.
  package var gradientSync: Seconds = .zero
  /// Once per step: the optimizer.
  package var update: Seconds = .zero
  /// The same of weights that are updated in the backward pass, whose time this is part of.
  package var passing: (gradientSync: Seconds, update: Seconds) = (.zero, .zero)
  /// Weights as kernels read them, gradients, master weights and optimizer state.
  package var weights: Bytes = .zero
  package var gradients: Bytes = .zero
  package var optimizerState: Bytes = .zero
  /// Gathered weights and whole gradients that only live while the operator runs.
  package var transient: Bytes = .zero
  package var collectives: [Collective] = []

  package var resident: Bytes { weights + gradients + optimizerState }

  /// One collective on one weight.
  package struct Collective: Hashable, Sendable {
    package let operand: Int
    package let kind: CollectiveKind
    package let axes: [Int]
    package let bytes: Bytes
    package let time: Seconds
    package let occasion: Occasion
  }

  package enum Occasion: Hashable, Sendable {
    case forward
    case backward
    /// Once per step, before the optimizer.
    case beforeUpdate
    /// Once per step, after the optimizer.
    case afterUpdate
  }
}

extension Pricing {
  /// The ZeRO stages that a strategy leaves to the weights of an operator.
  package func zeroStages(_ op: OperatorID, _ strategy: Strategy) -> [ZeROStage] {
    ZeROStage.possible(op, strategy, in: graph, mesh: mesh, needsGradient: needsGradient)
  }

  /// What the weights of an operator cost under a strategy.
  ///
  /// - Parameters:
  ///   - ownsParameter: for each operand; false for a parameter that another operator's cost already counts (a tie).
  ///   - listsCollectives: whether they are wanted one by one.
  package func weights(
    _ op: OperatorID, _ strategy: Strategy, _ zero: ZeROStage, ownsParameter: [Bool], listsCollectives: Bool = true
  ) -> WeightsCost {
    var cost = WeightsCost()
    let operands = graph.operators[op].operands
    let trains = job.mode == .train && needsGradient[graph.operators[op].result]
    for (position, tensor) in operands.enumerated() where isParameter(tensor) && ownsParameter[position] {
      let use = strategy.operands[position]
      let count = largestCount(shape(tensor), use.forward)
      guard trains, needsGradient[tensor] else {
        cost.weights += Bytes(count * Double(precision.elementBytes))
        continue
      }
      let axes = use.sharingSet(mesh: mesh)
      let sharers = placements[axes].size
      let shard = self.sharers == nil ? (count / Double(sharers)).rounded(.up) : count / Double(sharers)
      func held(_ level: ZeROStage) -> Double { zero >= level ? shard : count }
      cost.weights += Bytes(held(.weights) * Double(precision.elementBytes))
      let resident = Bytes(held(.gradients) * Double(gradientBytesHeld))
      let isPassing = job.updatesInBackward(tensor, of: graph)
      // Then the gradient is there while the operator runs.
      if isPassing { cost.transient += resident } else { cost.gradients += resident }
      cost.optimizerState += Bytes(held(.optimizer) * Double(stateBytes))
      let update = update(Bytes(held(.optimizer) * Double(bytesPerUpdate)))
      if isPassing { cost.passing.update += update } else { cost.update += update }
      guard axes != 0 else { continue }
      let whole = Bytes(count * Double(precision.elementBytes))
      let gradient = Bytes(count * Double(gradientBytesSent))
      // What the weight's own products hide, in each pass.
      var (hiddenForward, hiddenBackward) = job.software.overlap == .weights ? products(on: position, of: op, use) : (.zero, .zero)
      func exposed(_ time: Seconds, behind hidden: inout Seconds) -> Seconds {
        let part = min(time, hidden)
        hidden = hidden - part
        return time - part
      }
      func add(_ kind: CollectiveKind, _ bytes: Bytes, _ occasion: WeightsCost.Occasion) {
        let time = collective(kind, bytes: bytes, over: axes)
        switch occasion {
        case .forward: cost.forward += exposed(time, behind: &hiddenForward)
        case .backward: cost.backward += exposed(time, behind: &hiddenBackward)
        case .beforeUpdate where isPassing: cost.passing.gradientSync += exposed(time, behind: &hiddenBackward)
        case .afterUpdate where isPassing: cost.passing.gradientSync += exposed(time, behind: &hiddenForward)
        case .beforeUpdate: cost.gradientSync += exposed(time, behind: &hiddenBackward)
        case .afterUpdate: cost.gradientSync += exposed(time, behind: &hiddenForward)
        }
        if listsCollectives {
          cost.collectives.append(
            .init(operand: position, kind: kind, axes: use.sharingAxes(mesh: mesh), bytes: bytes, time: time, occasion: occasion))
        }
      }
      switch zero {
      case .none: add(.allReduce, gradient, .beforeUpdate)
      case .optimizer:
        add(.reduceScatter, gradient, .beforeUpdate)
        add(.allGather, whole, .afterUpdate)
      case .gradients:
        add(.reduceScatter, gradient, .backward)
        add(.allGather, whole, .afterUpdate)
        cost.transient += gradient
      case .weights:
        add(.allGather, whole, .forward)
        add(.allGather, whole, .backward)
        add(.reduceScatter, gradient, .backward)
        cost.transient += whole + gradient
      }
    }
    cost.backward += cost.passing.gradientSync + cost.passing.update
    return cost
  }

  /// What the optimizer keeps of an element of a weight.
  private var stateBytes: Int { precision.masterBytes + (job.optimizer == .adamw ? 8 : 0) }

  /// For each element of a weight the optimizer reads the gradient and its state, and writes state and weight.
  package var bytesPerUpdate: Int { precision.gradientBytes + 2 * stateBytes + 2 * precision.elementBytes }

  private var gradientBytesHeld: Int {
    switch job.software.gradients {
    case .accumulated: precision.gradientBytes
    case .working: precision.elementBytes
    case .both: precision.gradientBytes + (precision.isMixed ? precision.elementBytes : 0)
    }
  }

  /// Of a gradient's element when it is summed over replicas.
  package var gradientBytesSent: Int { job.software.gradients == .working ? precision.elementBytes : precision.gradientBytes }

  /// The time of a micro-batch's products on a weight: one forward; backward one for each gradient that is wanted. What follows from the weight's use
  /// alone, so that all strategies with one use agree: each rank has the tokens that the mesh axes on which the gradient is partial leave it. For a
  /// lower bound the most that it can be: with nothing shared out further.
  private func products(on position: Int, of op: OperatorID, _ use: Strategy.Use) -> (forward: Seconds, backward: Seconds) {
    let rule = rules[op]
    guard case .product(let batch, let m, let n, let k) = rule.work, position == 1 else { return (.zero, .zero) }
    let own = rule.operands[position]
    let tokens = (batch + m + n + k).filter { !own.contains($0) }.reduce(1.0) { $0 * Double(rule.iteration[$1].extent) }
    let sharing = sharers == nil ? use.gradient.partialAxes.reduce(1.0) { $0 * Double(mesh[$1]) } : 1
    let weight = shape(graph.operators[op].operands[position])
    let count = sharers == nil ? largestCount(weight, use.forward) : weight.reduce(1.0) { $0 * Double($1) }
    let depth = k.reduce(1.0) { $0 * Double(rule.iteration[$1].extent) }
    let one = rates.product(FLOPs(2 * count * tokens / sharing), depth: depth, moving: .zero)
    let wanted = graph.operators[op].operands.count { needsGradient[$0] }
    return (one, one * Double(wanted))
  }
}
