// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Plans
import Quantities
import Strategies

/// A decision with one choice made otherwise and all others as they are, priced again: no search, so that it says what this choice is worth here, not
/// what the best plan with the other choice would be.
package struct SingleChange: Hashable, Sendable {
  package enum Choice: Hashable, Sendable {
    case microBatches(Int)
    case schedule(Schedule.Kind)
    /// Of all layers.
    case recompute(Recompute)
    /// Of all weights that leave a choice.
    case zero(ZeROStage)
  }

  package let choice: Choice
  package let prediction: Prediction
}

extension Planner {
  /// Every choice of a decision that can be made otherwise by itself. Those that change nothing are left out.
  ///
  /// - Throws: as `predict`.
  package static func singleChanges(_ decision: Decision, on cluster: Cluster) throws -> [SingleChange] {
    var seen = [try predict(decision, on: cluster).summary]
    var changes: [SingleChange] = []
    for (choice, changed) in decision.alternatives {
      let prediction = try predict(changed, on: cluster)
      if seen.contains(prediction.summary) { continue }
      seen.append(prediction.summary)
      changes.append(SingleChange(choice: choice, prediction: prediction))
    }
    return changes
  }
}

extension Prediction {
  /// What tells the changes of a plan apart.
  fileprivate var summary: [Double] { [step.value, bubble] + (0..<groups).map { memory(ofGroup: $0).total.value } }
}

extension Decision {
  fileprivate var alternatives: [(SingleChange.Choice, Decision)] {
    var found: [(SingleChange.Choice, Decision)] = []
    func add(_ choice: SingleChange.Choice, _ change: (inout Decision) -> Void) {
      var changed = self
      change(&changed)
      if changed != self { found.append((choice, changed)) }
    }
    for count in [job.microBatches / 2, job.microBatches * 2] where canHave(microBatches: count) {
      add(.microBatches(count)) {
        $0.job.microBatches = count
        $0.graph = graph.sized(batch: job.batch / count, sequence: job.sequence)
      }
    }
    if groups > 1, schedule.chunks == 1, job.mode == .train {
      add(.schedule(.gpipe)) { $0.schedule = .gpipe }
      add(.schedule(.oneForwardOneBackward)) { $0.schedule = .oneForwardOneBackward }
    }
    guard job.mode == .train else { return found }
    for kind in Recompute.allCases {
      add(.recompute(kind)) { changed in
        for segment in graph.segments.indices where graph.holdsLayers(segment) { changed.recompute[segment] = kind }
      }
    }
    let needsGradient = Pricing.Model(graph, job.mode).needsGradient
    for stage in ZeROStage.allCases {
      add(.zero(stage)) { changed in
        for op in graph.operators.indices {
          let strategy = Strategy(assignment: assignments[op], rule: OperatorRules.rule(for: op, in: graph))
          let possible = ZeROStage.possible(op, strategy, in: graph, mesh: mesh(ofOperator: op), needsGradient: needsGradient)
          if possible.contains(stage) { changed.zero[op] = stage }
        }
      }
    }
    return found
  }

  /// Whether every rank still has a part of the smaller micro-batches, and the schedule can carry them out.
  private func canHave(microBatches count: Int) -> Bool {
    guard count > 0, job.batch % count == 0, shares == nil, !graph.couplesBatch, !graph.isPerMicroBatch,
      schedule.isPossible(stages: groups, microBatches: count)
    else { return false }
    let sized = graph.sized(batch: job.batch / count, sequence: job.sequence)
    return sized.operators.indices.allSatisfy { op in
      let rule = OperatorRules.rule(for: op, in: sized)
      let parts = Strategy(assignment: assignments[op], rule: rule).parts(rule, mesh: mesh(ofOperator: op))
      return zip(rule.iteration, parts).allSatisfy { $0.extent >= $1 }
    }
  }
}
