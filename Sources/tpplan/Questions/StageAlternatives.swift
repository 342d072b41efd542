// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Plans
import Quantities
import Report
import Search

/// A pipeline stage: what it takes beside the others, and what the step takes where it holds a layer more or less.
struct StageAlternatives {
  /// A layer that a stage gives another.
  struct Move: Hashable {
    let from: Int
    let to: Int
  }

  let plan: Plan
  let stage: Int
  let alternatives: [Alternative<Move>]

  /// - Parameter stage: of the virtual stages, in the model's order.
  /// - Throws: `UsageError` where the plan has no such stage; what a search throws.
  init(_ plan: Plan, stage: Int, seconds: Double, stop: StopCondition, progress: @escaping @Sendable (Int, Int) -> Void) throws {
    let decision = plan.decision
    guard decision.stages.indices.contains(stage) else {
      throw UsageError("stage \(stage): the plan has \(counted(decision.stages.count, "stage")), numbered from 0")
    }
    (self.plan, self.stage) = (plan, stage)
    let request = try plan.request(LayerKinds(decision))
    let layers = request.stageLayers ?? []
    var moves: [(choice: Move, request: SearchRequest)] = []
    for other in [stage - 1, stage + 1] where layers.indices.contains(other) {
      for move in [Move(from: stage, to: other), Move(from: other, to: stage)] where layers[move.from] > 1 {
        var moved = layers
        moved[move.from] -= 1
        moved[move.to] += 1
        var request = request
        request.stageLayers = moved
        moves.append((move, request))
      }
    }
    alternatives = Alternative.sortedByResult(try Alternative.compare(moves, seconds: seconds, stop: stop, progress: progress))
  }

  private var step: Seconds { plan.prediction.step }

  func lines(_ style: TextStyle) -> [String] {
    let stages = plan.prediction.stages
    let own = stages[stage]
    let slowest = stages.indices.max { stages[$0].forward + stages[$0].backward < stages[$1].forward + stages[$1].backward } ?? stage
    let (time, most) = (own.forward + own.backward, stages[slowest].forward + stages[slowest].backward)
    var lines = [
      style.heading("Stage \(stage)") + " of \(stages.count), \(counted(plan.decision.layersOfStages[stage], "layer"))",
      "  a micro-batch  forward \(own.forward), backward \(own.backward), of it collectives \(own.communication)",
      "  once a step    gradient sync \(own.gradientSync), optimizer \(own.update)",
      "  memory         \(own.memory.total): weights \(own.memory.weights), gradients \(own.memory.gradients), optimizer \(own.memory.optimizerState), activations \(own.memory.activations)"
        + " of \(counted(own.memory.microBatchesInFlight, "micro-batch", plural: "micro-batches")), transient \(own.memory.transient)",
      stage == slowest
        ? "  It takes longest of all stages, so that the others wait for it."
        : "  Stage \(slowest) takes longest, \(most) a micro-batch; this one waits \(percent((most - time) / most)) of that.",
    ]
    if alternatives.isEmpty { return lines + ["  It has no neighbour that a layer could go to."] }
    lines += ["", style.heading("A layer more or less") + ", the operators as suits it best, beside a step of \(step)"]
    var table = TextTable([("move", .left), ("layers", .left), ("step", .right), ("difference", .right), ("", .left)])
    for item in alternatives {
      let (time, difference, note) = item.result.cells(beside: step)
      table.add(
        "one from stage \(item.choice.from) to \(item.choice.to)",
        item.decision.map { $0.layersOfStages.map(String.init).joined(separator: " ") } ?? "", time,
        difference, note)
    }
    return lines + table.lines(style) + Alternative.unfinishedLines(alternatives)
  }

  var json: JSON {
    [
      "stage": .int(stage), "step_seconds": .double(step.value),
      "alternatives": .array(
        alternatives.map { item in
          var object = JSON.Object([("from_stage", .int(item.choice.from)), ("to_stage", .int(item.choice.to))])
          for (key, value) in item.result.members(beside: step) { object[key] = value }
          return .object(object)
        }),
    ]
  }
}
