// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Planner
import Plans
import Quantities
import Report
import Search

/// A pipeline stage, with all chunks that it holds: what it takes beside the others, and what the step takes where a chunk has a layer more or less.
struct StageAlternatives {
  /// A layer that a chunk gives another: both by their numbers in the model's order.
  struct Move: Hashable {
    let from: Int
    let to: Int
  }

  let plan: Plan
  let stage: Int
  let alternatives: [Alternative<Move>]

  /// - Parameter stage: a group of devices, which holds a chunk of the model or several.
  /// - Throws: `UsageError` where the plan has no such stage; what a search throws.
  init(_ plan: Plan, stage: Int, seconds: Double, stop: StopCondition, progress: @escaping @Sendable (Int, Int) -> Void) throws {
    let decision = plan.decision
    guard 0..<decision.groups ~= stage else {
      throw UsageError("stage \(stage): the plan has \(counted(decision.groups, "stage")), numbered from 0")
    }
    (self.plan, self.stage) = (plan, stage)
    let request = try plan.request(LayerKinds(decision))
    let layers = request.stageLayers ?? []
    var moves: [(choice: Move, request: SearchRequest)] = []
    for chunk in Self.chunks(decision, stage) {
      for other in [chunk - 1, chunk + 1] where layers.indices.contains(other) {
        for move in [Move(from: chunk, to: other), Move(from: other, to: chunk)] where layers[move.from] > 1 {
          if moves.contains(where: { $0.choice == move }) { continue }
          var moved = layers
          moved[move.from] -= 1
          moved[move.to] += 1
          var request = request
          request.stageLayers = moved
          moves.append((move, request))
        }
      }
    }
    alternatives = Alternative.sortedByResult(try Alternative.compare(moves, seconds: seconds, stop: stop, progress: progress))
  }

  /// The chunks that a stage holds, by their numbers in the model's order.
  private static func chunks(_ decision: Decision, _ stage: Int) -> [Int] {
    Array(stride(from: stage, to: decision.stages.count, by: decision.groups))
  }

  private var step: Seconds { plan.prediction.step }

  /// What all chunks of a stage take together.
  private func sum(_ stage: Int, _ part: KeyPath<Prediction.StagePart, Seconds>) -> Seconds {
    Self.chunks(plan.decision, stage).reduce(.zero) { $0 + plan.prediction.stages[$1][keyPath: part] }
  }

  func lines(_ style: TextStyle) -> [String] {
    let decision = plan.decision
    func passes(_ stage: Int) -> Seconds { sum(stage, \.forward) + sum(stage, \.backward) }
    let slowest = (0..<decision.groups).max { passes($0) < passes($1) } ?? stage
    let (time, most) = (passes(stage), passes(slowest))
    let memory = plan.prediction.memory(ofGroup: stage)
    let layers = Self.chunks(decision, stage).reduce(0) { $0 + decision.layersOfStages[$1] }
    let chunks = decision.schedule.chunks
    var lines = [
      style.heading("Stage \(stage)") + " of \(decision.groups), \(counted(layers, "layer"))" + (chunks > 1 ? " in \(counted(chunks, "chunk"))" : ""),
      "  a micro-batch  forward \(sum(stage, \.forward)), backward \(sum(stage, \.backward)), of it collectives \(sum(stage, \.communication))",
      "  once a step    gradient sync \(sum(stage, \.gradientSync)), optimizer \(sum(stage, \.update))",
      "  memory         \(memory.total): weights \(memory.weights), gradients \(memory.gradients), optimizer \(memory.optimizerState), activations \(memory.activations)"
        + ", transient \(memory.transient)",
      decision.groups == 1
        ? "  It is the only one."
        : stage == slowest
          ? "  Its passes take longest of all stages, so that the others wait for it."
          : "  The passes of stage \(slowest) take longest, \(most) a micro-batch; this one waits \(percent((most - time) / most)) of that.",
    ]
    if alternatives.isEmpty {
      return lines + [
        "  " + (decision.stages.count > 1 ? "Neither it nor a neighbour has a layer to spare." : "It has no neighbour that a layer could go to.")
      ]
    }
    lines += ["", style.heading("A layer more or less") + ", the operators as suits it best, beside a step of \(step)"]
    var table = TextTable([("move", .left), ("layers", .left), ("step", .right), ("difference", .right), ("", .left)])
    for item in alternatives {
      let (time, difference, note) = item.result.cells(beside: step)
      table.add(
        "one from \(chunks > 1 ? "chunk" : "stage") \(decision.name(ofStage: item.choice.from)) to \(decision.name(ofStage: item.choice.to))",
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
