// SPDX-License-Identifier: GPL-3.0-or-later
import Plans
import Strategies

/// What makes plans for different sizes alike: how operators are split, and by what means, whatever the numbers of devices along the axes.
struct PlanShape: Hashable {
  private let words: [[Set<String>]]
  private let hasStages: Bool
  private let schedule: Schedule.Kind
  private let zero: [ZeROStage]
  private let recompute: [Recompute]

  init(_ decision: Decision) {
    let graph = decision.graph
    let used = decision.mesh.indices.filter { decision.mesh[$0] > 1 }
    words = graph.operators.indices.map { op in
      let rule = OperatorRules.rule(for: op, in: graph)
      return used.map { axis in
        axis < decision.assignments[op].count ? Set(decision.assignments[op][axis].map { rule.iteration[$0].words } ?? []) : []
      }
    }
    (hasStages, schedule) = (decision.groups > 1, decision.schedule.kind)
    (zero, recompute) = (decision.zero, decision.recompute)
  }
}
