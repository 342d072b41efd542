// SPDX-License-Identifier: GPL-3.0-or-later
import Planner
import Quantities
import Strategies

/// Why nothing fits, by how much, and what would help.
struct Infeasibility {
  let text: String

  init(_ request: SearchRequest, _ shortfall: PlanOutcome.Infeasible) {
    guard let memory = shortfall.memory else {
      text = "no plan is possible: the pinned and forbidden strategies, or the fixed choices, leave some operator without a split on any mesh"
      return
    }
    var lines = [
      "no plan fits: the closest needs at least \(memory.least) on a device that has \(memory.limit), \(memory.least - memory.limit) too much"
    ]
    let repairs = Planner.repairs(request)
    if let best = repairs.first {
      lines.append("the cheapest change that makes it fit: \(best.change) (step \(best.step))")
      for other in repairs.dropFirst() { lines.append("also: \(other.change) (step \(other.step))") }
    } else {
      lines.append("none of these makes it fit: more devices of this cluster, a smaller batch, --optimizer sgd, a 16-bit --dtype")
    }
    text = lines.joined(separator: "\n")
  }
}
