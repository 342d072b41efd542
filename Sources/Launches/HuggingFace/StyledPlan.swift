// SPDX-License-Identifier: GPL-3.0-or-later
import ModelGraph
import Planner
import Plans
import Quantities
import Strategies

/// A plan as styles of modules, with the degrees around them: what they mean is planned again for the plan's own job, and is the plan.
struct StyledPlan {
  let styles: [ModuleStyle]
  let degrees: MegatronDegrees

  /// - Throws: `Inexpressible`, which names the first module, operator or stage that no style gives; `HardwareError`.
  init(of plan: Plan, matching: PatternMatching = .names) throws {
    let decision = plan.decision
    let mesh = try StyledMesh(decision)
    var degrees = MegatronDegrees()
    (degrees.data, degrees.tensor, degrees.pipeline) = (mesh.data, mesh.tensor, decision.groups)
    degrees.zero = decision.zeroStages.first { $0 != .none } ?? .none
    (degrees.schedule, degrees.chunks, degrees.stageLayers) = (decision.schedule.kind, decision.schedule.chunks, decision.searchedLayers)
    degrees.recompute = try Self.recompute(decision)
    let parts = decision.job.microBatches * mesh.data
    guard decision.job.batch % parts == 0 else {
      throw Inexpressible("the micro-batches", "are not shared out evenly over \(counted(mesh.data, "replica"))")
    }
    degrees.microBatchSize = decision.job.batch / parts
    var reader = StyleReader(decision, mesh.tensorAxis)
    styles = try reader.styles()
    self.degrees = degrees
    try check(plan, mesh.tensorAxis, matching)
  }

  private static func recompute(_ decision: Decision) throws -> Recompute {
    let graph = decision.graph
    let layers = graph.segments.indices.filter(graph.holdsLayers)
    let first = layers.first.map { decision.recompute[$0] } ?? .none
    for segment in graph.segments.indices where decision.recompute[segment] != (layers.contains(segment) ? first : .none) {
      let place = layers.contains(segment) ? "layer \(graph.copies(of: segment).lowerBound)" : graph.segments[segment].name
      throw Inexpressible(place, "computes \(decision.recompute[segment].rawValue) again, and other layers \(first.rawValue)")
    }
    return first
  }

  private func check(_ plan: Plan, _ tensorAxis: Int?, _ matching: PatternMatching) throws {
    let decision = plan.decision
    if let tensorAxis {
      let split = StyledSplit(decision.graph, styles, degree: degrees.tensor, matching: matching)
      if let finding = split.findings.first(where: { $0.severity == .illegal }) { throw Inexpressible(finding.place, finding.text) }
      for op in decision.graph.operators.indices where split.axes[op] != decision.assignments[op][tensorAxis] {
        let rule = OperatorRules.rule(for: op, in: decision.graph)
        func word(_ axis: Int?) -> String { axis.flatMap { rule.iteration[$0].words.first } ?? "replicate" }
        throw Inexpressible(
          decision.graph.operators[op].name,
          "is split \(word(decision.assignments[op][tensorAxis])) over tensor-parallel devices; from the styles of the modules around it follows \(word(split.axes[op]))"
        )
      }
    }
    do {
      var request = try degrees.fix(plan.request(), styles, matching)
      (request.recompute, request.recomputeOfSegments, request.ignoresMemoryLimit) = (nil, decision.recompute, true)
      guard case .planned(let planned) = try Planner.search(request) else { throw Inexpressible("the styles", "leave some operator without a split") }
      if let difference = decision.difference(from: planned.decision) { throw difference }
    } catch PlannerError.usage(let text) {
      throw Inexpressible("the styles", text)
    }
  }
}

/// Which mesh axis of a plan splits samples, and which the inside of layers.
struct StyledMesh {
  private(set) var data = 1
  private(set) var tensor = 1
  private(set) var tensorAxis: Int?

  init(_ decision: Decision) throws {
    if decision.stageMeshes.contains(where: { $0 != decision.mesh }) { throw Inexpressible("the mesh", "differs from stage to stage") }
    if let shares = decision.shares {
      throw Inexpressible("mesh axis \(shares.axis)", "its devices have unequal shares of a micro-batch")
    }
    let graph = decision.graph
    for axis in decision.mesh.indices where decision.mesh[axis] > 1 {
      let other = graph.operators.indices.first { op in
        let rule = OperatorRules.rule(for: op, in: graph)
        guard let batch = rule.iteration.firstIndex(where: { $0.role == .batch && $0.isSplittable }) else { return false }
        return decision.assignments[op][axis] != batch
      }
      guard let other else {
        if tensorAxis != nil {
          throw Inexpressible("mesh axis \(axis)", "splits samples inside of an axis that splits layers; data parallelism stands outside")
        }
        data *= decision.mesh[axis]
        if decision.mesh[..<axis].contains(where: { $0 > 1 }) {
          throw Inexpressible("mesh axis \(axis)", "is the second one that splits samples; there is one for data parallelism")
        }
        continue
      }
      if tensorAxis != nil {
        throw Inexpressible(
          "mesh axis \(axis)", "splits \(graph.operators[other].name) otherwise than by samples, as another axis does; styles have one tensor axis")
      }
      (tensor, tensorAxis) = (decision.mesh[axis], axis)
    }
  }
}

/// Reads styles off the splits of a plan's operators.
private struct StyleReader {
  let decision: Decision
  let axis: Int?
  private let graph: Graph
  private let rules: [OperatorRule]
  private var order: [String] = []
  private var found: [String: String] = [:]

  init(_ decision: Decision, _ axis: Int?) {
    (self.decision, self.axis, self.graph) = (decision, axis, decision.graph)
    rules = decision.graph.operators.indices.map { OperatorRules.rule(for: $0, in: decision.graph) }
  }

  mutating func styles() throws -> [ModuleStyle] {
    for op in graph.operators.indices {
      guard let target = target(op), let style = try style(op, target) else { continue }
      let module = graph.moduleNames(op)[0]
      if found.updateValue(style, forKey: module) == nil { order.append(module) }
    }
    // Parts of one stored weight have one style.
    for op in graph.operators.indices where graph.operators[op].kind != .bias {
      guard let style = found[graph.moduleNames(op)[0]] else { continue }
      let own = try target(op).flatMap { try self.style(op, $0) }
      if own != style {
        throw Inexpressible(graph.operators[op].name, "is a part of \(graph.moduleNames(op)[0]), which has the style \(style) for another part")
      }
    }
    return order.map { ModuleStyle($0, found[$0]!) }
  }

  /// The axis of an operator's rule that the tensor axis splits.
  private func target(_ op: OperatorID) -> Int? { axis.flatMap { decision.assignments[op][$0] } }

  private func style(_ op: OperatorID, _ target: Int) throws -> String? {
    let iteration = rules[op].iteration[target]
    switch graph.operators[op].kind {
    case .embedding:
      if iteration.role == .vocabulary { return "embedding_rowwise" }
      throw Inexpressible(graph.operators[op].name, "splits \(iteration.name); an embedding's style splits the vocabulary")
    case .layerNorm, .rmsNorm:
      if iteration.role.isPosition { return "sequence_parallel" }
      return graph.ownWeight(op) == nil ? nil : "replicated_with_grad_allreduce"
    case .linear, .expertLinear: return try productStyle(op, target)
    case .crossEntropy where iteration.role == .vocabulary:
      let whole = decision.assignments[op].enumerated().map { $0.offset == axis ? nil : $0.element }
      let words = Strategy(assignment: whole, rule: rules[op]).words(rules[op]).joined(separator: ",")
      throw Inexpressible(
        graph.operators[op].name,
        "splits the vocabulary over tensor-parallel devices, and styles give a loss whole logits; search with --pin \(graph.operators[op].name)=\(words)"
      )
    default: return nil
    }
  }

  private func productStyle(_ op: OperatorID, _ target: Int) throws -> String {
    let (x, weight) = (graph.operators[op].operands[0], graph.operators[op].operands[1])
    let name = rules[op].iteration[target].name
    func has(_ tensor: TensorID) -> Bool { graph.tensors[tensor].dimensions.contains { graph.axes[$0].name == name } }
    guard has(weight), has(x) != has(graph.operators[op].result) else {
      throw Inexpressible(graph.operators[op].name, "splits \(name) over tensor-parallel devices; styles split a product's features")
    }
    if has(x) { return isSplit(x, along: name) ? "rowwise" : "rowwise_split_input" }
    var result = graph.operators[op].result
    if let bias = graph.consumers[result].map(\.op).first(where: { graph.operators[$0].kind == .bias }) { result = graph.operators[bias].result }
    let isTakenSplit = graph.consumers[result].allSatisfy { site in self.target(site.op).map { rules[site.op].iteration[$0].name == name } ?? false }
    return isTakenSplit ? "colwise" : "colwise_gather_output"
  }

  /// Whether a tensor comes split along an axis of this name.
  private func isSplit(_ tensor: TensorID, along name: String) -> Bool {
    guard let op = graph.producer[tensor], let target = target(op) else { return false }
    return rules[op].iteration[target].name == name && !rules[op].isReduced(target)
  }
}
