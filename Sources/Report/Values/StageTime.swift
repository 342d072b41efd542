// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

/// Where a step's time goes on the devices of one stage: the figures of a plan's stages, over all micro-batches.
package struct StageTime: Hashable {
  /// Passes without collectives.
  package private(set) var computing = Seconds.zero
  /// Of `computing`, what passes take longer than their operators because the host hands kernels over more slowly than the devices run them.
  package private(set) var heldUp = Seconds.zero
  /// Of `computing`, forward passes that the backward pass carries out again.
  package private(set) var recomputing = Seconds.zero
  /// Collectives within passes, those inside operators included.
  package private(set) var collectives = Seconds.zero
  /// Of `collectives`, those of weights and their gradients (ZeRO 2 and 3).
  package private(set) var ofWeights = Seconds.zero
  /// Once per step.
  package private(set) var gradientSync = Seconds.zero
  package private(set) var update = Seconds.zero
  /// For other stages and their messages.
  package private(set) var waiting = Seconds.zero
  /// Of `waiting`, what comes after the stage has done all that it has to do.
  package private(set) var waitingAtEnd = Seconds.zero

  /// Of each group of devices.
  package static func ofGroups(_ decision: Decision, _ prediction: Prediction, _ step: PredictedStep) -> [StageTime] {
    let shares = PassShares(decision, prediction)
    return (0..<decision.groups).map { group in
      var time = StageTime()
      let microBatches = decision.job.microBatches
      for index in stride(from: group, to: prediction.stages.count, by: prediction.groups) {
        let stage = prediction.stages[index]
        time.computing += (stage.forward + stage.backward - stage.communication) * microBatches
        time.collectives += stage.communication * microBatches
        time.gradientSync += stage.gradientSync
        time.update += stage.update
        for unit in decision.stages[index].units {
          time.recomputing += shares.recomputing[unit.segment] * (unit.copies.count * microBatches)
          time.heldUp += step.parts[group].heldUp[unit.segment] * (unit.copies.count * microBatches)
        }
        time.ofWeights += min(shares.ofWeights(decision.stages[index]), stage.communication) * microBatches
      }
      time.heldUp = min(time.heldUp, time.computing)
      time.recomputing = min(time.recomputing, time.computing - time.heldUp)
      if prediction.groups > 1 {
        time.waiting = max(.zero, prediction.step - time.computing - time.collectives - time.gradientSync - time.update)
      }
      return time
    }
  }

  /// For each virtual stage, what collectives within its passes take for one micro-batch: those of activations, and those of weights and their gradients.
  static func collectivesOfStages(_ decision: Decision, _ prediction: Prediction) -> [(ofActivations: Seconds, ofWeights: Seconds)] {
    let shares = PassShares(decision, prediction)
    return decision.stages.indices.map { index in
      let all = prediction.stages[index].communication
      let ofWeights = min(shares.ofWeights(decision.stages[index]), all)
      return (all - ofWeights, ofWeights)
    }
  }

  /// - Parameter end: when the stage's last pass ends.
  func ending(at end: Seconds, step: Seconds) -> StageTime {
    var time = self
    time.waitingAtEnd = min(waiting, max(.zero, step - end - gradientSync - update))
    return time
  }

  package var computingOnce: Seconds { computing - recomputing - heldUp }
  package var ofActivations: Seconds { collectives - ofWeights }
  /// All that is exchanged of weights and their gradients, whenever it is.
  package var ofParameters: Seconds { gradientSync + ofWeights }
  package var waitingBefore: Seconds { waiting - waitingAtEnd }

  var whole: Seconds { computing + collectives + gradientSync + update + waiting }

  typealias Part = (name: String, hue: Hue, look: Bar.Look, value: KeyPath<StageTime, Seconds> & Sendable)

  static let parts: [Part] = [
    ("computing", .computing, .filled, \.computingOnce), ("computing again", .recompute, .filled, \.recomputing),
    ("held up by the host", .computing, .hatched, \.heldUp),
    ("collectives", .collective, .filled, \.ofActivations), ("gradient sync", .sync, .filled, \.ofParameters),
    ("optimizer", .update, .filled, \.update), ("waiting", .grey, .hatched, \.waitingBefore),
    ("waiting at the end", .grey, .outlined, \.waitingAtEnd),
  ]
}

/// What of the passes of one copy of each segment, for one micro-batch, is done again, and what is exchange of weights.
private struct PassShares {
  private(set) var recomputing: [Seconds]
  private var ofWeights: [Seconds]

  func ofWeights(_ stage: Stage) -> Seconds { stage.units.reduce(.zero) { $0 + ofWeights[$1.segment] * $1.copies.count } }

  init(_ decision: Decision, _ prediction: Prediction) {
    let graph = decision.graph
    recomputing = graph.segments.map { _ in .zero }
    ofWeights = recomputing
    var parts: [OperatorID: [Prediction.CollectivePart]] = [:]
    for part in prediction.collectives { parts[part.op, default: []].append(part) }
    for op in graph.operators.indices {
      let segment = graph.segmentOfOperator[op]
      let own = parts[op] ?? []
      let exchanges = own.filter { [.weights, .parts].contains($0.cause) }
      let all = exchanges.reduce(Seconds.zero) { $0 + $1.time * $1.calls }
      ofWeights[segment] += decision.job.software.overlap == .none ? all : min(all, Self.unhidden(own, of: prediction.operators[op]))
      let rule = OperatorRules.rule(for: op, in: graph)
      guard decision.job.mode == .train, decision.recompute[segment].repeats(rule) else { continue }
      // Of a forward pass the collectives are no computing: of the weights those that are called twice, and the interior ones.
      let gathering = exchanges.filter { $0.cause == .weights && $0.calls == 2 }.reduce(Seconds.zero) { $0 + $1.time }
      let strategy = Strategy(assignment: decision.assignments[op], rule: rule)
      let interior = zip(own.filter { $0.cause == .interior && $0.kind != nil }, rule.interior.filter { !strategy.meshAxes(on: $0.axis).isEmpty })
        .reduce(Seconds.zero) { $0 + $1.0.time * $1.1.count }
      recomputing[segment] += max(.zero, prediction.operators[op].forward - gathering - interior)
    }
  }

  /// What an operator spends in collectives other than conversions and those inside it.
  private static func unhidden(_ parts: [Prediction.CollectivePart], of op: Prediction.OperatorPart) -> Seconds {
    let others = parts.reduce(Seconds.zero) { sum, part in
      switch part.cause {
      case .interior where part.kind != nil: sum + part.time * part.calls
      case .forward, .backward: sum + part.time * part.calls
      default: sum
      }
    }
    return max(.zero, op.communication - others)
  }
}
