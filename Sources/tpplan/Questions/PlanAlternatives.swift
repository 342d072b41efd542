// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Planner
import Plans
import Quantities
import Report
import Search
import Strategies

/// A plan's choices around its operators, one at a time: what the best plan with another value takes, all else being free.
struct PlanAlternatives {
  /// Another value of one choice.
  struct Choice: Hashable {
    enum Dimension: String, CaseIterable {
      case devices
      case stages
      case mesh
      case schedule
      case microBatches = "micro-batches"
      case zero = "ZeRO"
      case recompute
    }

    let dimension: Dimension
    let value: String

    /// Whether a plan is one of those that the choice leaves. What is shared out and computed again must be one for all weights and layers to be told so.
    func isMade(by decision: Decision) -> Bool {
      switch dimension {
      case .devices: return value == "\(decision.ranks)"
      case .stages: return value == "\(decision.groups)"
      case .mesh:
        let axes = decision.mesh.filter { $0 > 1 }
        return decision.stageMeshes.isEmpty && value == PlanAlternatives.text(axes.isEmpty ? [1] : axes)
      case .schedule: return value == decision.schedule.kind.rawValue
      case .microBatches: return value == "\(decision.job.microBatches)"
      case .zero:
        let graph = decision.graph
        let weights = graph.operators.indices.filter { op in graph.operators[op].operands.contains { graph.tensors[$0].isParameter } }
        return weights.allSatisfy { value == "\(decision.zero[$0].rawValue)" }
      case .recompute:
        let layers = decision.graph.segments.indices.filter { decision.graph.holdsLayers($0) }
        return layers.allSatisfy { value == decision.recompute[$0].rawValue }
      }
    }
  }

  let plan: Plan
  let chosen: [Choice]
  let alternatives: [Alternative<Choice>]
  /// Where the step's time goes on each stage.
  private let stages: [StageTime]

  /// - Parameters:
  ///   - seconds: wall-clock time for all alternatives.
  ///   - stop: ends the comparison before that.
  ///   - progress: called with the number of alternatives that are known and their whole number.
  /// - Throws: what a search throws.
  init(_ plan: Plan, seconds: Double, stop: StopCondition, progress: @escaping @Sendable (Int, Int) -> Void) throws {
    self.plan = plan
    let step = try Planner.predictStep(plan.decision, on: plan.hardware.cluster(devices: plan.decision.ranks))
    stages = StageTime.ofGroups(plan.decision, plan.prediction, step)
    let choices = try Self.choices(plan)
    chosen = choices.chosen
    let found = try Alternative.compare(choices.others, seconds: seconds, stop: stop, progress: progress)
    alternatives = found.map { Self.bounded($0, by: found) }
  }

  /// An alternative that was not searched to the end, with the fastest of the others' plans that make its choice too.
  private static func bounded(_ item: Alternative<Choice>, by all: [Alternative<Choice>]) -> Alternative<Choice> {
    if item.result.isFinal { return item }
    var best = item
    for other in all {
      guard case .step(let time, _) = other.result, let decision = other.decision, item.choice.isMade(by: decision) else { continue }
      if case .step(let known, _) = best.result, known <= time { continue }
      best = Alternative(choice: item.choice, result: .step(time, isProven: false), decision: decision)
    }
    return best
  }

  /// The plan's own choices, and a request for each other one.
  private static func choices(_ plan: Plan) throws -> (chosen: [Choice], others: [(choice: Choice, request: SearchRequest)]) {
    let decision = plan.decision
    let devices = decision.ranks + plan.idleDevices
    let free = try plan.freeRequest(devices: devices)
    var chosen: [Choice] = []
    var others: [(choice: Choice, request: SearchRequest)] = []
    func add(_ dimension: Choice.Dimension, own: String, _ values: [(String, (inout SearchRequest) throws -> Void)]) throws {
      guard values.count > 0 else { return }
      chosen.append(Choice(dimension: dimension, value: own))
      for (value, fix) in values where value != own {
        var request = free
        try fix(&request)
        others.append((Choice(dimension: dimension, value: value), request))
      }
    }
    let fewer = (0..<63).map { 1 << $0 }.prefix { $0 < devices }
    try add(
      .devices, own: "\(decision.ranks)",
      fewer.map { count in
        ("\(count)", { request in (request.cluster, request.mayLeaveIdle) = (try plan.hardware.cluster(devices: count), false) })
      } + [("\(devices)", { $0.mayLeaveIdle = false })])
    let degrees = (1...devices).filter { devices % $0 == 0 && $0 <= decision.layersOfStages.reduce(0, +) }
    try add(.stages, own: "\(decision.groups)", degrees.map { degree in ("\(degree)", { $0.pipelineDegree = degree }) })
    if decision.stageMeshes.isEmpty {
      let size = decision.mesh.reduce(1, *)
      let shapes = (1...size).filter { size % $0 == 0 }.map { first in first == 1 || first == size ? [size] : [first, size / first] }
      let own = decision.mesh.filter { $0 > 1 }
      try add(
        .mesh, own: text(own.isEmpty ? [1] : own),
        Set(shapes.map { $0.filter { $0 > 1 } }).sorted { ($0.count, $0.first ?? 0) < ($1.count, $1.first ?? 0) }.map { shape in
          (
            text(shape.isEmpty ? [1] : shape),
            { request in (request.mesh, request.pipelineDegree) = (shape.isEmpty ? [1] : shape, decision.groups) }
          )
        })
    }
    if decision.groups > 1 {
      try add(
        .schedule, own: decision.schedule.kind.rawValue,
        Schedule.Kind.allCases.map { kind in (kind.rawValue, { request in (request.schedule, request.pipelineDegree) = (kind, decision.groups) }) })
    }
    let job = decision.job
    if !decision.graph.couplesBatch {
      let counts = (0..<63).map { 1 << $0 }.prefix { $0 <= job.batch }.filter { job.batch % $0 == 0 }
      try add(.microBatches, own: "\(job.microBatches)", counts.map { count in ("\(count)", { $0.microBatches = count }) })
    }
    guard job.mode == .train else { return (chosen, others) }
    if decision.ranks > 1 {
      try add(
        .zero, own: decision.zeroText(withNone: true) ?? "0",
        ZeROStage.allCases.map { stage in ("\(stage.rawValue)", { $0.zero = stage }) })
    }
    try add(
      .recompute, own: decision.recomputeText ?? Recompute.none.rawValue,
      Recompute.allCases.map { kind in (kind.rawValue, { $0.recompute = kind }) })
    return (chosen, others)
  }

  fileprivate static func text(_ mesh: [Int]) -> String { mesh.map(String.init).joined(separator: "x") }
}

extension Plan {
  /// The search that this plan could be the answer to: the model, the job and the devices, nothing else fixed.
  ///
  /// - Throws: `HardwareError`.
  func freeRequest(devices: Int) throws -> SearchRequest {
    let job = decision.job
    var request = SearchRequest(
      graph: decision.graph.joiningParts()?.graph ?? decision.graph, cluster: try hardware.cluster(devices: devices), batch: job.batch,
      sequence: job.sequence, precision: job.precision, mode: job.mode, optimizer: job.optimizer)
    request.software = job.software
    request.mayLeaveIdle = true
    return request
  }
}

extension PlanAlternatives {
  private var step: Seconds { plan.prediction.step }

  func lines(_ style: TextStyle) -> [String] {
    let prediction = plan.prediction
    var lines = [
      style.heading("\(plan.decision.graph.name) on \(counted(plan.decision.ranks, "device")) of \(plan.hardware.name)"),
      "  plan      \(plan.decision.splitText)", "  step      \(step), \(prediction.memory) of \(prediction.memoryLimit) on the fullest device",
      "  takes     \(takes)", "", style.heading("One choice otherwise") + ", all else as is best with it, beside a step of \(step)",
    ].flatMap { style.fit($0, hanging: 12) }
    var table = TextTable([("choice", .left), ("value", .left), ("step", .right), ("difference", .right), ("", .left), ("best plan with it", .left)])
    table.hasRemarks = true
    for choice in chosen {
      table.add(choice.dimension.rawValue, choice.value, "\(step)", "", "the plan's", "")
      for item in Alternative.sortedByResult(alternatives.filter { $0.choice.dimension == choice.dimension }) {
        let (time, difference, note) = item.result.cells(beside: step)
        table.add("", item.choice.value, time, difference, note, item.decision?.splitText ?? "")
      }
    }
    lines += table.lines(style)
    if alternatives.contains(where: { if case .step(let time, _) = $0.result { time < step * (1 - 1e-9) } else { false } }) {
      lines.append("  Plans that are faster than this one are outside of the space that it was searched in, or it was given.")
    }
    return lines + Alternative.unfinishedLines(alternatives)
  }

  /// Where the step's time goes, on the stage that takes longest.
  private var takes: String {
    guard let busiest = stages.min(by: { $0.waiting < $1.waiting }), step > .zero else { return "" }
    let parts = [
      ("kernels", busiest.computingOnce), ("kernels again (recompute)", busiest.recomputing),
      ("the host, which hands kernels over more slowly than they run", busiest.heldUp), ("collectives", busiest.ofActivations),
      ("gradient sync", busiest.ofParameters), ("optimizer", busiest.update), ("waiting for other stages", busiest.waiting),
    ]
    return parts.filter { $0.1 / step > 0.001 }.map { "\($0.0) \(percent($0.1 / step))" }.joined(separator: ", ")
      + (stages.count > 1 ? " (of the stage that takes longest)" : "")
  }

  var json: JSON {
    [
      "step_seconds": .double(step.value), "plan": .string(plan.decision.splitText),
      "chosen": .object(JSON.Object(chosen.map { ($0.dimension.rawValue, .string($0.value)) })),
      "alternatives": .array(
        alternatives.map { item in
          var object = JSON.Object([("choice", .string(item.choice.dimension.rawValue)), ("value", .string(item.choice.value))])
          for (key, value) in item.result.members(beside: step) { object[key] = value }
          object["plan"] = item.decision.map { .string($0.splitText) }
          return .object(object)
        }),
    ]
  }
}
