// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

extension MegatronDegrees {
  /// The degrees that mean a plan: what they mean is planned again for the plan's own job, and is the plan, operator by operator.
  ///
  /// - Throws: `Inexpressible`, which names the first layer, operator or stage that no degrees give; `HardwareError`.
  package init(of plan: Plan) throws {
    let decision = plan.decision
    self.init()
    try readMesh(decision)
    try readJob(decision)
    try readRecompute(decision)
    pipeline = decision.groups
    chunks = decision.schedule.chunks
    schedule = decision.schedule.kind
    stageLayers = decision.searchedLayers
    // Of a plan whose weights differ, the stage of any of them may be the best for all.
    var nearest: (degrees: MegatronDegrees, meant: PlanOutcome.Planned, difference: Inexpressible)?
    let stages = decision.zeroStages
    for stage in stages.isEmpty ? [.none] : stages {
      zero = stage
      let meant = try planned(again: plan)
      guard let difference = decision.difference(from: meant.decision) else { return }
      func rank(_ meant: PlanOutcome.Planned) -> (Int, Seconds) {
        (meant.prediction.memory <= meant.prediction.memoryLimit ? 0 : 1, meant.prediction.step)
      }
      if let known = nearest?.meant, rank(known) <= rank(meant) { continue }
      nearest = (self, meant, difference)
    }
    guard let nearest else { return }
    var difference = nearest.difference
    difference.reason += "; " + nearest.degrees.advice(nearest.meant, beside: plan)
    throw difference
  }

  /// What to plan with instead: the nearest degrees, as options of `estimate`, with what they take.
  private func advice(_ meant: PlanOutcome.Planned, beside plan: Plan) -> String {
    var named = self
    named.stageLayers = MegatronFlags.unevenLayers(self)
    var options = LaunchEdits(.torch, from: MegatronDegrees(), to: named).edits.compactMap { $0.text(.torch) }
    if pipeline > 1, schedule == .gpipe { options.append("--schedule gpipe") }
    let (step, own) = (meant.prediction.step, plan.prediction.step)
    let fits = meant.prediction.memory <= meant.prediction.memoryLimit
    let difference = step >= own ? "\(percent(step / own - 1)) more" : "\(percent(1 - step / own)) less"
    return "`tpplan estimate` with \(options.joined(separator: " ")) plans what they mean: a step of \(step), \(difference)"
      + (fits ? "" : ", which does not fit")
  }

  /// What the degrees mean for a plan's job. What layers compute again is the plan's: `readRecompute` has looked at that.
  private func planned(again plan: Plan) throws -> PlanOutcome.Planned {
    var request: SearchRequest
    do {
      request = try fix(plan.request())
    } catch PlannerError.usage(let text) {
      throw Inexpressible("the degrees", text)
    }
    (request.recompute, request.recomputedLayers, request.recomputeOfSegments) = (nil, nil, plan.decision.recompute)
    if request.mesh != plan.decision.mesh {
      throw Inexpressible("the mesh", "is \(Self.text(plan.decision.mesh)); the degrees make it \(Self.text(request.mesh ?? []))")
    }
    request.ignoresMemoryLimit = true
    let outcome: PlanOutcome
    do {
      outcome = try Planner.search(request)
    } catch PlannerError.usage(let text) {
      throw Inexpressible("the degrees", text)
    }
    guard case .planned(let planned) = outcome else {
      throw Inexpressible("the degrees", try obstacle(plan.request()) ?? "leave some operator without a split")
    }
    return planned
  }

  static func text(_ mesh: [Int]) -> String { mesh.map(String.init).joined(separator: "x") }
}

// MARK: - What a plan's parts mean

extension MegatronDegrees {
  /// What a mesh axis does for most operators.
  private enum Role: Int {
    case data, expert, context, tensor

    var inWords: String {
      switch self {
      case .data: "samples"
      case .expert: "experts"
      case .context: "sequences"
      case .tensor: "what is inside the layers"
      }
    }
  }

  private mutating func readMesh(_ decision: Decision) throws {
    if let stage = decision.stageMeshes.indices.dropFirst().first(where: { decision.stageMeshes[$0] != decision.stageMeshes[0] }) {
      throw Inexpressible("stage \(stage)", "has the mesh \(Self.text(decision.stageMeshes[stage])), stage 0 has \(Self.text(decision.mesh))")
    }
    let graph = decision.graph
    let rules = graph.operators.indices.map { OperatorRules.rule(for: $0, in: graph) }
    var last = Role.data
    for axis in decision.mesh.indices where decision.mesh[axis] > 1 {
      let role = Self.role(of: axis, decision, rules)
      let size = decision.mesh[axis]
      if role.rawValue < last.rawValue {
        throw Inexpressible("mesh axis \(axis)", "splits \(role.inWords) inside of an axis that splits \(last.inWords); Megatron-LM has it outside")
      }
      if role == last, role != .tensor, data * expert * context > 1 {
        var mesh = decision.mesh[..<axis].filter { $0 > 1 }
        mesh[mesh.count - 1] *= size
        mesh += decision.mesh[(axis + 1)...].filter { $0 > 1 }
        throw Inexpressible(
          "mesh axis \(axis)",
          "is the second one that splits \(role.inWords); the degrees have one: search with --mesh \(mesh.map(String.init).joined(separator: "x"))")
      }
      switch role {
      case .data: data = size
      case .expert: (expert, data) = (size, data * size)
      case .context:
        context = size
        contextWay = Self.way(of: axis, decision, rules)
      case .tensor:
        tensor *= size
        isSequenceParallel = isSequenceParallel || Self.splitsSequences(axis, decision, rules)
      }
      last = role
    }
  }

  private static func role(of axis: Int, _ decision: Decision, _ rules: [OperatorRule]) -> Role {
    var counts = [0, 0, 0, 0]
    var hasExperts = false
    for (op, rule) in rules.enumerated() where rule.isProduct || rule.isAttention {
      guard let target = decision.assignments[op][axis] else { continue }
      let iteration = rule.iteration[target]
      let copies = decision.graph.segments[decision.graph.segmentOfOperator[op]].repeats
      switch iteration.role {
      case .batch: counts[Role.data.rawValue] += copies
      // Places of tokens are parts of sequences.
      case _ where iteration.role.isPosition || iteration.role == .slots: counts[Role.context.rawValue] += copies
      case .experts where rule.worksOnSlots: hasExperts = true
      default: counts[Role.tensor.rawValue] += copies
      }
    }
    let most = [Role.data, .context, .tensor].max { counts[$0.rawValue] < counts[$1.rawValue] }!
    return hasExperts && most == .data ? .expert : most
  }

  private static func way(of axis: Int, _ decision: Decision, _ rules: [OperatorRule]) -> ContextWay? {
    for (op, rule) in rules.enumerated() where rule.isAttention {
      if let way = ContextWay.allCases.first(where: { $0.isMeant(decision.assignments[op][axis], rule) }) { return way }
    }
    return nil
  }

  private static func splitsSequences(_ axis: Int, _ decision: Decision, _ rules: [OperatorRule]) -> Bool {
    rules.enumerated().contains { op, rule in decision.assignments[op][axis].map { rule.iteration[$0].role.isPosition } ?? false }
  }

  private mutating func readJob(_ decision: Decision) throws {
    if let shares = decision.shares {
      throw Inexpressible("mesh axis \(shares.axis)", "its devices have unequal shares of a micro-batch; the degrees give equal ones")
    }
    let (batch, parts) = (decision.job.batch, decision.job.microBatches * data)
    guard batch % parts == 0 else {
      throw Inexpressible(
        "the micro-batches", "a batch of \(batch) is not \(decision.job.microBatches) × \(counted(data, "replica")) with as many sequences each")
    }
    microBatchSize = batch / parts
  }

  /// Of layers, which the first ones of each virtual stage compute again.
  private mutating func readRecompute(_ decision: Decision) throws {
    let graph = decision.graph
    let hasBackward = graph.segmentsWithBackward()
    func isLayer(_ unit: UnitRange) -> Bool { graph.holdsLayers(unit.segment) && hasBackward[unit.segment] }
    let layers = decision.stages.map { $0.units.filter(isLayer) }
    let kinds = layers.joined().map { decision.recompute[$0.segment] }
    recompute = kinds.max() ?? .none
    for segment in graph.segments.indices where !graph.holdsLayers(segment) && decision.recompute[segment] != .none {
      throw Inexpressible(graph.segments[segment].name, "computes \(decision.recompute[segment].rawValue) again; the degrees are those of layers")
    }
    guard kinds.contains(where: { $0 != recompute }) else { return }
    // Of each virtual stage as many of the first, where it has as many.
    let first = layers.map { units in units.prefix { decision.recompute[$0.segment] == recompute }.reduce(0) { $0 + $1.copies.count } }
    let count = first.max() ?? 0
    recomputedLayers = count
    for (stage, units) in layers.enumerated() {
      var place = 0
      for unit in units {
        for copy in unit.copies {
          let (has, meant) = (decision.recompute[unit.segment], place < count ? recompute : .none)
          place += 1
          if has == meant { continue }
          let layer = graph.copies(of: unit.segment).lowerBound + copy
          throw Inexpressible(
            "layer \(layer)",
            "computes \(has.rawValue) again; where the first \(count) layers of each stage compute \(recompute.rawValue) again, it has "
              + "\(meant.rawValue) (stage \(stage))")
        }
      }
    }
  }
}
