// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import ModelGraph
import Plans
import Quantities
import Search
import Strategies

/// The whole flow from a request to a proven plan.
package enum PlanOutcome: Sendable {
  case planned(Planned)
  /// Nothing fits.
  case infeasible(Infeasible)
  /// The time limit struck before any plan was found.
  case timeLimit(lowerBound: Seconds)

  package struct Planned: Sendable {
    package let decision: Decision
    package let prediction: Prediction
    package internal(set) var certificate: Certificate
    /// The next best configurations, each with its own best plan, as many as were asked for.
    package let others: [Other]
    let candidate: PlanSearch.Candidate
    /// Whether the plan is for the request's devices in reverse order of their kinds.
    package internal(set) var isReversed = false
  }

  package struct Other: Sendable {
    package let decision: Decision
    package let prediction: Prediction
  }

  package struct Infeasible: Sendable {
    /// No plan needs less than `least` on its fullest device, which has `limit`; nil where the constraints alone exclude everything.
    package let memory: (least: Bytes, limit: Bytes)?
  }
}

package enum Planner {
  /// Searches the modelled space.
  ///
  /// - Parameter monitor: hears how the search gets on, and may end it.
  /// - Throws: `PlannerError`, `HardwareError` for an impossible request; `SearchError` where the solver failed.
  package static func search(_ request: SearchRequest, _ monitor: SearchMonitor? = nil) throws -> PlanOutcome {
    let monitor = monitor ?? SearchMonitor(stop: StopCondition(after: request.timeLimit.map { .seconds($0) }))
    if request.top > 1 { return try searchDistinct(request, monitor) }
    if request.reversed != nil { return try searchOrders(request, monitor) }
    return try outcome(explore(request, monitor))
  }

  /// The plan of a request whose choices are made: one that fits, else what it would be if memory had no end; nil where no split of all operators is so.
  ///
  /// - Throws: as `search`.
  package static func price(_ fixed: SearchRequest) throws -> PlanOutcome.Planned? {
    var fixed = fixed
    for ignoresMemoryLimit in [false, true] {
      fixed.ignoresMemoryLimit = ignoresMemoryLimit
      if case .planned(let planned) = try search(fixed) { return planned }
    }
    return nil
  }

  /// Runs a search.
  ///
  /// - Parameter below: plans that take this long or longer are of no interest.
  static func explore(_ request: SearchRequest, _ monitor: SearchMonitor, below: Seconds? = nil) throws -> (PlanSearch, Space) {
    var space = try Space(request)
    while true {
      do {
        let coarser = try searchedOnCoarserMeshes(space, monitor, below: below)
        var search = try PlanSearch(space, monitor, below: below, found: coarser.found)
        search.priced = coarser.priced
        try search.run()
        return (search, space)
      } catch SearchError.sumOutOfRange where space.tick.value < 1 {
        // Slow links can make sums larger than the estimate: a coarser unit holds them.
        space = try Space(request, tick: space.tick * 100)
      }
    }
  }

  /// First plans on a given mesh of more than two axes, without which no strategy could be left out: the best of those that treat two neighbouring
  /// axes alike, as if they were one.
  private static func searchedOnCoarserMeshes(
    _ space: Space, _ monitor: SearchMonitor, below: Seconds?
  ) throws -> (found: [PlanSearch.Candidate], priced: Int) {
    // A form leaves few strategies.
    guard let mesh = space.request.mesh, Space.isFine(mesh), space.request.alikeAxis == nil, space.request.form == nil else { return ([], 0) }
    var best: PlanSearch.Candidate?
    var priced = 0
    for axis in 0..<mesh.count - 1 where mesh[axis] > 1 && mesh[axis + 1] > 1 {
      var request = space.request
      (request.alikeAxis, request.top) = (axis, 1)
      let ceiling = best.map { space.tick * Double($0.objective) }
      var search = try PlanSearch(try Space(request, tick: space.tick), monitor, below: ceiling ?? below)
      try search.run()
      priced += search.priced
      best = search.best ?? best
    }
    return (best.map { [$0] } ?? [], priced)
  }

  static func outcome(_ explored: (PlanSearch, Space)) throws -> PlanOutcome { try outcome(explored.0, explored.1) }

  /// What a search came to.
  static func outcome(_ search: PlanSearch, _ space: Space) throws -> PlanOutcome {
    let request = space.request
    let found = try search.found.map { try $0.joiningEqualKinds(space).joiningAlikeAxes(space) }
    guard let best = found.first else {
      if !search.isComplete { return .timeLimit(lowerBound: space.tick * Double(search.lowerBound)) }
      if case .memory(let least, let limit) = search.shortfall {
        return .infeasible(.init(memory: (Bytes(Double(least)), Bytes(Double(limit)))))
      }
      return .infeasible(.init(memory: nil))
    }
    let (decision, prediction) = try priced(best, space)
    let certificate = Certificate(
      status: request.form != nil ? .given : search.isComplete ? .optimal : .timeLimit, objective: prediction.step,
      lowerBound: space.tick * Double(search.lowerBound),
      priced: search.priced, pruned: search.pruned, infeasible: search.infeasible,
      tolerance: "max(\(space.tick.value <= 1e-12 ? "1 ps" : "\(space.tick)"), 10^-6 × objective)",
      space: space.dimensions)
    return .planned(
      .init(
        decision: decision, prediction: prediction, certificate: certificate,
        others: try found.dropFirst().map { candidate in
          let (decision, prediction) = try priced(candidate, space)
          return .init(decision: decision, prediction: prediction)
        }, candidate: best))
  }

  /// A candidate written out, with its prices.
  static func written(_ candidate: PlanSearch.Candidate, _ space: Space) throws -> (decision: Decision, prices: StagePrices) {
    let written = WrittenModel(candidate, space)
    let prices = try StagePrices(
      candidate.frame, space,
      Pricing.Model(
        written.graph.sized(batch: space.request.batch / candidate.frame.microBatches, sequence: space.request.sequence), space.request.mode))
    return (decide(candidate, written, prices, space), prices)
  }

  /// The same, priced from scratch.
  private static func priced(_ candidate: PlanSearch.Candidate, _ space: Space) throws -> (Decision, Prediction) {
    let (decision, prices) = try written(candidate, space)
    let (prediction, objective, _) = try prices.predict(decision)
    guard objective == candidate.objective else {
      throw PlannerError.inconsistent("the search says \(candidate.objective) ticks, pricing its plan from scratch gives \(objective)")
    }
    guard prediction.memory <= space.request.memoryLimit ?? prediction.memoryLimit || space.request.ignoresMemoryLimit else {
      throw PlannerError.inconsistent("the plan needs \(prediction.memory), more than the \(prediction.memoryLimit) that the search allowed")
    }
    return (decision, prediction)
  }

  /// What a search of the request looks at, in words.
  ///
  /// - Throws: `PlannerError.usage` for an impossible request.
  package static func space(_ request: SearchRequest) throws -> [Certificate.Dimension] {
    try Space(request).dimensions + (request.reversed != nil && request.top == 1 ? [dimension(request)] : [])
  }

  /// What a decision takes on the first devices of a cluster.
  ///
  /// - Throws: `PlannerError`, `HardwareError` where the cluster does not fit the decision.
  package static func predict(_ decision: Decision, on cluster: Cluster) throws -> Prediction {
    try prices(decision, on: cluster).predict(decision).prediction
  }

  /// The same instruction by instruction: when each of a step's is predicted to begin and to end.
  ///
  /// - Throws: as `predict`.
  package static func predictStep(_ decision: Decision, on cluster: Cluster) throws -> PredictedStep {
    try PredictedStep(decision, prices(decision, on: cluster))
  }

  private static func prices(_ decision: Decision, on cluster: Cluster) throws -> StagePrices {
    var request = SearchRequest(
      graph: decision.graph, cluster: cluster, batch: decision.job.batch, sequence: decision.job.sequence, precision: decision.job.precision,
      mode: decision.job.mode, optimizer: decision.job.optimizer)
    request.software = decision.job.software
    (request.isZigzag, request.shares) = (decision.isZigzag, decision.shares?.samples ?? [])
    var frame = Space.Frame(stages: decision.groups, mesh: decision.mesh, microBatches: decision.job.microBatches)
    (frame.runs, frame.shares) = (Space.runs(decision.stageMeshes), decision.shares?.samples ?? [])
    if frame.runs.isEmpty { (request.mesh, request.pipelineDegree) = (decision.mesh, decision.groups) }
    return try StagePrices(frame, Space(request), Pricing.Model(decision.graph, decision.job.mode))
  }

  /// The last ILP of a plan: the choice of strategies in its configuration, with every chain of the schedule that can be the longest.
  package static func program(of planned: PlanOutcome.Planned, _ request: SearchRequest) throws -> (problem: Problem, names: [String]) {
    var request = request
    if planned.isReversed, let cluster = request.reversed { request.cluster = cluster }
    let space = try Space(request)
    let (candidate, decision) = (planned.candidate, planned.decision)
    let frame = candidate.frame
    guard var model = try space.operators(frame, space.ties(frame, cut: candidate.cut, first: candidate.first)) else {
      throw PlannerError.inconsistent("the plan's configuration leaves an operator without a strategy")
    }
    model.connect(variants: frame.first == nil ? nil : space.variants?.segments)
    let configuration = Configuration(frame, candidate.schedule, candidate.cut, first: candidate.first, space: space)
    var paths = PipelineTimeline.bounds(stages: frame.stages, schedule: decision.schedule, microBatches: frame.microBatches, mode: request.mode)
    let (_, _, timeline) = try StagePrices(frame, space, .init(decision.graph, request.mode)).predict(decision)
    if !paths.contains(timeline.critical) { paths.append(timeline.critical) }
    return (try configuration.problem(model, paths: paths, limit: try space.fastestRates().usable.wholeWithin), model.nodeNames)
  }

  /// Writes a candidate out: stages with their copies, and the conversions that its layouts ask for.
  private static func decide(_ best: PlanSearch.Candidate, _ written: WrittenModel, _ prices: StagePrices, _ space: Space) -> Decision {
    let pricing = prices.pricings[0]
    let strategies = written.origins.map { best.strategies[$0] }
    var decision = Decision(
      graph: pricing.graph, job: pricing.job, mesh: best.frame.mesh, schedule: best.schedule, stages: written.stages,
      assignments: strategies.map(\.assignment), zero: written.origins.map { best.zero[$0] }, recompute: written.recompute, conversions: [])
    decision.stageMeshes = best.frame.runs.flatMap { [[Int]](repeating: $0.mesh, count: $0.stages) }
    decision.shares = space.batchShares(best.frame)
    decision.conversions = conversions(of: strategies, decision, prices)
    decision.orders = pricing.graph.axes.indices.map { prices.order(ofAxis: $0, under: strategies, decision) }
    return decision
  }

  private static func conversions(of strategies: [Strategy], _ decision: Decision, _ prices: StagePrices) -> [Conversion] {
    let (graph, pricing) = (decision.graph, prices.pricings[0])
    let resharders = prices.resharders(decision)
    var result: [Conversion] = []
    func add(_ tensor: TensorID, _ from: Layout, _ to: Layout, _ resharder: Resharder) {
      if from == to || result.contains(where: { $0.tensor == tensor && $0.from == from && $0.to == to }) { return }
      guard let path = resharder.path(tensor, from: from, to: to) else { preconditionFailure("the search chose a conversion that does not exist") }
      result.append(Conversion(tensor: tensor, from: from, to: to, steps: path.steps))
    }
    for tensor in graph.tensors.indices where graph.tensors[tensor].isActivation {
      guard let segment = graph.segment(ofActivation: tensor) else { continue }
      let resharder = resharders[segment]
      for source in graph.sources(of: tensor) where decision.mesh(ofOperator: source) == decision.mesh(ofSegment: segment) {
        for site in graph.consumers[tensor] {
          let use = strategies[site.op].operands[site.operand]
          add(tensor, strategies[source].result, use.forward, resharder)
          if pricing.needsGradient[tensor] { add(tensor, use.gradient, strategies[source].resultGradient, resharder) }
        }
      }
    }
    return result
  }
}

extension Graph {
  /// The operators that a tensor comes from: its producer, or across a seam for what comes in from the copy before.
  func sources(of tensor: TensorID) -> [OperatorID] {
    if let producer = producer[tensor] { return [producer] }
    return segments.enumerated().flatMap { index, segment -> [OperatorID] in
      guard let position = segment.entries.firstIndex(of: tensor) else { return [] }
      return [
        index > 0 ? producer[segments[index - 1].exits[position]] : nil, segment.repeats > 1 ? producer[segment.exits[position]] : nil,
      ].compactMap { $0 }
    }
  }
}

extension Space {
  /// The searched space in words.
  package var dimensions: [Certificate.Dimension] {
    func list(_ values: [some CustomStringConvertible]) -> String { values.map(\.description).joined(separator: " ") }
    let shapes = Set(pipelineDegrees.flatMap { sizes(stages: $0) }).sorted().flatMap { meshes(size: $0) }.map {
      $0.map(String.init).joined(separator: "x")
    }
    var dimensions: [Certificate.Dimension] = []
    func add(_ name: String, _ values: String) { dimensions.append(.init(name: name, values: values)) }
    add("operators", "every assignment of mesh axes to iteration axes")
    if Pricing.Model(request.graph, request.mode).reorderable.contains(true) {
      add("causal sequences", request.isZigzag ? "split in zig-zag order where their length allows" : "split into contiguous parts")
    }
    add("layers of one block", kindsInWords)
    add("devices used", list(deviceCounts))
    add("pipeline degrees", list(pipelineDegrees.isEmpty ? [givenRuns.reduce(0) { $0 + $1.stages }] : pipelineDegrees))
    add("meshes", givenRuns.isEmpty ? list(shapes) : "given: " + givenRuns.map(\.description).joined(separator: ", then "))
    if request.mayHaveSubMeshes { add("meshes of one pipeline", subMeshesInWords) }
    add("micro-batches", list(microBatchCounts))
    if let sharesInWords { add("samples of a rank", sharesInWords) }
    add("schedules", list(schedules.map(\.rawValue)))
    add("chunks per stage", chunksInWords)
    add("cuts", request.stageLayers.map { "given: " + list($0) } ?? cutsInWords)
    add(
      "ZeRO stages",
      request.zero.map { "given: \($0.rawValue)" } ?? (request.zeroOfOperators == nil ? "0 1 2 3, each operator's weights by themselves" : "given"))
    add("recompute", request.recomputeOfSegments.map { "given: " + list($0.map(\.rawValue)) } ?? list(recomputes.map(\.rawValue)))
    add("layouts of one tensor held at once", "at most \(FoldedModel.mostUses)")
    return dimensions
  }

  private var hasSeveralKinds: Bool { !request.cluster.isUniform }

  private var isInterleaved: Bool { schedules.contains(.interleaved) }

  private var kindsInWords: String {
    if !givenRuns.isEmpty {
      return "those of stages with one mesh alike" + (request.mode == .train ? ", with recompute of their own" : "")
    }
    guard variants != nil else { return "all alike" }
    let kinds =
      request.recomputedLayers.map { "the first \($0) of each stage of a kind of their own" }
      ?? "all alike, or the first 1, 2, … of each stage of a kind of their own; what passes between layers laid out alike"
    let mayBeFine = request.mesh.map(Self.isFine) ?? (request.mostMeshAxes > 2)
    return kinds + (mayBeFine && request.recomputedLayers == nil ? "; on meshes of three axes all alike" : "")
      + (isInterleaved && request.stageLayers == nil ? "; interleaved, of each chunk, where all chunks hold as many" : "")
  }

  private var chunksInWords: String {
    if let chunks = request.chunks {
      return "given: \(chunks)" + (chunks > 1 && hasSeveralKinds ? ", where all stages have devices of the same kind" : "")
    }
    guard isInterleaved else { return "1" }
    return "interleaved, any number from 2 that the layers allow, where the stages divide the micro-batches"
      + (hasSeveralKinds ? " and all have devices of the same kind" : "") + (schedules.count > 1 ? "; else 1" : "")
  }

  private var cutsInWords: String {
    let plain =
      "any number of layers on the first and the last stage, as even as possible between"
      + (hasSeveralKinds ? ", of each kind of devices by itself" : givenRuns.isEmpty ? "" : ", of each mesh by itself")
    let interleaved = "interleaved, within one of even on the first chunk and at most one more on the last"
    return ((schedules == [.interleaved] ? [] : [plain]) + (isInterleaved ? [interleaved] : [])).joined(separator: "; ")
  }
}
