// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import ModelGraph
import Quantities
import Strategies

/// Reads the parts of a decision, each checked by itself against the model, the job and the meshes. Stages come first: they say which mesh an
/// operator has.
struct DecisionReader {
  let graph: Graph
  let job: Job
  /// The first stage's.
  let mesh: [Int]
  /// For each group of devices its mesh; empty where all have the same.
  let stageMeshes: [[Int]]
  /// For each segment that of its stages.
  private var meshes: [[Int]]
  /// How ranks share the batch out; nil where evenly.
  var shares: BatchShares?

  init(graph: Graph, job: Job, mesh: [Int], stageMeshes: [[Int]]) {
    (self.graph, self.job, self.mesh, self.stageMeshes) = (graph, job, mesh, stageMeshes)
    meshes = graph.segments.map { _ in mesh }
  }

  // MARK: - Operators

  /// The assignment and the predicted figures of every operator, in the model's order.
  func operators(_ node: Node) throws -> [(assignment: [Int?], zero: ZeROStage, predicted: Prediction.OperatorPart)] {
    let entries = try node.elements()
    guard entries.count == graph.operators.count else {
      throw node.invalid(expected: "one entry for each of the model's \(graph.operators.count) operators, in the model's order")
    }
    return try entries.enumerated().map { id, entry in
      let object = try entry.object()
      try object.node("name").expectDerived(.string(graph.operators[id].name), "the operator at this place of the model")
      let rule = OperatorRules.rule(for: id, in: graph)
      let mesh = meshes[graph.segmentOfOperator[id]]
      let strategy = Strategy(assignment: try assignment(object.node("assignment"), rule, on: mesh), rule: rule)
      try checkShares(of: strategy, rule, object.node("assignment"))
      try object.node("strategy").expectDerived(.string(strategy.words(rule).joined(separator: ",")), "what the assignment is called")
      try checkUses(object, graph.operators[id], strategy)
      let zero = try zeroStage(object, id, strategy)
      let predicted = try Prediction.OperatorPart(reading: object.node("predicted"), op: id)
      try object.finish()
      return (strategy.assignment, zero, predicted)
    }
  }

  /// One of the stages that the strategy leaves to the operator's weights; none where it is not given.
  private func zeroStage(_ object: ObjectReader, _ op: OperatorID, _ strategy: Strategy) throws(DocumentError) -> ZeROStage {
    guard let node = object.nodeIfPresent("zero") else { return .none }
    let needsGradient = job.mode == .train ? graph.reachesLoss() : [Bool](repeating: false, count: graph.tensors.count)
    let mesh = meshes[graph.segmentOfOperator[op]]
    let possible = ZeROStage.possible(op, strategy, in: graph, mesh: mesh, needsGradient: needsGradient)
    guard let stage = ZeROStage(rawValue: try node.int()), stage != .none, possible.contains(stage) else {
      throw node.invalid(
        expected: possible.count > 1
          ? "1, 2 or 3" : "no ZeRO stage: no ranks hold the same weight for different data, or several operators read it")
    }
    return stage
  }

  /// For each mesh axis the name of an iteration axis that may be split, or null.
  private func assignment(_ node: Node, _ rule: OperatorRule, on mesh: [Int]) throws(DocumentError) -> [Int?] {
    let entries = try node.elements()
    guard entries.count == mesh.count else { throw node.invalid(expected: "one axis, or null, for each of the \(mesh.count) mesh axes") }
    var parts = [Int](repeating: 1, count: rule.iteration.count)
    var assignment: [Int?] = []
    for (axis, entry) in entries.enumerated() {
      if entry.value == .null {
        assignment.append(nil)
        continue
      }
      if mesh[axis] == 1 { throw entry.invalid(expected: "null: the mesh axis has one device") }
      let name = try entry.string()
      // Self-attention's keys have the name of its queries, and are not split.
      guard let index = rule.iteration.indices.first(where: { rule.iteration[$0].name == name && rule.iteration[$0].isSplittable }) else {
        let known = rule.iteration.filter(\.isSplittable).map { "\"\($0.name)\"" }
        throw entry.invalid(expected: "null or an axis that the operator may split: " + known.joined(separator: ", "))
      }
      // Below the limit of devices, so this cannot overflow.
      for loop in rule.iteration[index].splits {
        parts[loop] *= mesh[axis]
        if rule.iteration[loop].extent < parts[loop] {
          throw entry.invalid(
            expected: "an axis of at least \(parts[loop]) entries, one for each part; \"\(rule.iteration[loop].name)\" has "
              + "\(rule.iteration[loop].extent)")
        }
      }
      assignment.append(index)
    }
    return assignment
  }

  /// The layouts that are written for readers are those of the strategy.
  private func checkUses(_ object: ObjectReader, _ op: Operator, _ strategy: Strategy) throws(DocumentError) {
    let operands = try object.node("operands")
    let entries = try operands.elements()
    guard entries.count == op.operands.count else { throw operands.invalid(expected: "\(op.operands.count) operands, as in the model") }
    for (position, entry) in entries.enumerated() {
      let use = strategy.operands[position]
      try checkUse(entry, tensor: op.operands[position], use.forward, use.gradient)
    }
    try checkUse(object.node("result"), tensor: op.result, strategy.result, strategy.resultGradient)
  }

  private func checkUse(_ node: Node, tensor: TensorID, _ layout: Layout, _ gradient: Layout) throws(DocumentError) {
    let object = try node.object()
    try object.node("tensor").expectDerived(.string(graph.tensors[tensor].name), "as in the model")
    try object.node("layout").expectDerived(.string(layout.notation), "the layout that the assignment gives")
    try object.node("gradient").expectDerived(.string(gradient.notation), "the gradient's layout that the assignment gives")
    try object.finish()
  }

  // MARK: - Recompute

  /// What the segments named compute again; the others nothing.
  func recompute(_ node: Node) throws(DocumentError) -> [Recompute] {
    let object = try node.object()
    var result = graph.segments.map { _ in Recompute.none }
    for (id, segment) in graph.segments.enumerated() {
      guard let entry = object.nodeIfPresent(segment.name) else { continue }
      if job.mode == .forward { throw entry.invalid(expected: "nothing: a forward plan has no backward pass") }
      result[id] = try entry.choice(of: Recompute.self)
    }
    try object.finish()
    return result
  }

  // MARK: - Stages

  /// The schedule, with its number of chunks where it has several.
  func schedule(_ root: ObjectReader) throws(DocumentError) -> Schedule {
    let node = try root.node("schedule")
    switch try node.choice(of: Schedule.Kind.self) {
    case .gpipe: return .gpipe
    case .oneForwardOneBackward: return .oneForwardOneBackward
    case .interleaved:
      if job.mode == .forward { throw node.invalid(expected: "\"gpipe\" or \"1f1b\": only training is interleaved") }
      return .interleaved(chunks: try root.int("chunks", .within(2, 1 << 20)))
    }
  }

  /// Virtual stages that hold every copy of every segment once, in the model's order.
  mutating func stages(_ node: Node, _ schedule: Schedule) throws -> [Stage] {
    var next = (segment: 0, copy: 0)
    var stages: [Stage] = []
    let entries = try node.elements()
    let groups = entries.count / schedule.chunks
    if entries.count % schedule.chunks != 0 || schedule.kind == .interleaved && groups < 2 {
      throw node.invalid(expected: "\(schedule.chunks) chunks on each of two or more groups of devices")
    }
    if !schedule.isPossible(stages: groups, microBatches: job.microBatches) {
      throw PlanError.inconsistent(
        file: node.file, path: "$.job.micro_batches",
        problem: "\(job.microBatches) are no multiple of the \(groups) groups of devices, which the interleaved schedule needs")
    }
    try checkMeshes(schedule, groups: groups, file: node.file)
    let sizes = (0..<groups).map { (stageMeshes.isEmpty ? mesh : stageMeshes[$0]).reduce(1, *) }
    var held = [Int?](repeating: nil, count: graph.segments.count)
    for (number, entry) in entries.enumerated() {
      let object = try entry.object()
      let group = schedule.kind == .interleaved ? number % groups : number
      let before = sizes[..<group].reduce(0, +)
      try object.node("first_device").expectDerived(.int(before), "stage \(number) comes after \(group) groups of \(before) devices together")
      try object.node("devices").expectDerived(.int(sizes[group]), "the mesh's number of devices")
      let units = try object.node("units")
      let ranges = try units.elements().map { try unit($0, &next) }
      try object.finish()
      if ranges.isEmpty { throw units.invalid(expected: "at least one segment on every stage") }
      stages.append(Stage(units: ranges))
      for segment in ranges.map(\.segment) {
        if !stageMeshes.isEmpty, let other = held[segment], stageMeshes[other] != stageMeshes[group] {
          throw PlanError.inconsistent(
            file: node.file, path: units.path,
            problem: "segment \"\(graph.segments[segment].name)\" is on stage \(other) too, which has another mesh; its copies there need to be a "
              + "segment of their own")
        }
        held[segment] = group
        if !stageMeshes.isEmpty { meshes[segment] = stageMeshes[group] }
      }
    }
    if next.segment < graph.segments.count {
      throw PlanError.inconsistent(
        file: node.file, path: node.path,
        problem: "no stage holds copy \(next.copy) of segment \"\(graph.segments[next.segment].name)\"; every copy belongs to one stage")
    }
    return stages
  }

  /// - Throws: where there are not as many meshes as groups of devices, or groups hold several chunks.
  private func checkMeshes(_ schedule: Schedule, groups: Int, file: String) throws(PlanError) {
    if stageMeshes.isEmpty { return }
    func inconsistent(_ problem: String) -> PlanError { .inconsistent(file: file, path: "$.stage_meshes", problem: problem) }
    if schedule.kind == .interleaved { throw inconsistent("stages with several meshes have one chunk each; use \"gpipe\" or \"1f1b\"") }
    if stageMeshes.count != groups {
      throw inconsistent("there are \(counted(stageMeshes.count, "mesh", plural: "meshes")) for \(counted(groups, "stage")); each stage needs one")
    }
  }

  /// The copies that come next in the model's chain.
  private func unit(_ node: Node, _ next: inout (segment: SegmentID, copy: Int)) throws(DocumentError) -> UnitRange {
    guard next.segment < graph.segments.count else { throw node.invalid(expected: "nothing more: every segment is on a stage already") }
    let object = try node.object()
    let segment = graph.segments[next.segment]
    try object.node("segment").expectDerived(.string(segment.name), "the segment that comes next in the model")
    try object.node("first_copy").expectDerived(.int(next.copy), "the copy that comes next")
    let count = try object.int("copies", .within(1, segment.repeats - next.copy))
    try object.finish()
    let range = UnitRange(segment: next.segment, copies: next.copy..<next.copy + count)
    next = range.copies.upperBound == segment.repeats ? (next.segment + 1, 0) : (next.segment, range.copies.upperBound)
    return range
  }

  // MARK: - Conversions

  func conversions(_ node: Node) throws(DocumentError) -> [Conversion] {
    let names = NamedParts(graph)
    var result: [Conversion] = []
    var seen = Set<Conversion>()
    for entry in try node.elements() {
      let conversion = try conversion(entry, names)
      var key = conversion
      key.steps = []
      if !seen.insert(key).inserted { throw entry.invalid(expected: "a conversion that is not listed before") }
      result.append(conversion)
    }
    return result
  }

  private func conversion(_ node: Node, _ names: NamedParts) throws(DocumentError) -> Conversion {
    let object = try node.object()
    let tensorNode = try object.node("tensor")
    let tensor = try names.value(tensorNode)
    if !graph.tensors[tensor].isActivation { throw tensorNode.invalid(expected: "a computed tensor: inputs are brought in any layout") }
    let shape = graph.shape(tensor)
    let mesh = graph.segment(ofActivation: tensor).map { meshes[$0] } ?? mesh
    let from = try Layout(reading: object.node("from"), rank: shape.count, axes: mesh.count)
    let target = try object.node("to")
    let to = try Layout(reading: target, rank: shape.count, axes: mesh.count)
    let stepsNode = try object.node("steps")
    try object.finish()
    if from == to { throw target.invalid(expected: "another layout than \"from\"") }
    var layout = from
    var steps: [ReshardingStep] = []
    for entry in try stepsNode.elements() {
      let step = try step(entry, from: layout, shape: shape, on: mesh)
      try checkShares(of: tensor, step.result, entry)
      steps.append(step)
      layout = step.result
    }
    if layout != to { throw stepsNode.invalid(expected: "steps that end in \(to.notation); these end in \(layout.notation)") }
    return Conversion(tensor: tensor, from: from, to: to, steps: steps)
  }

  /// One of the steps that a layout allows.
  private func step(_ node: Node, from layout: Layout, shape: [Int], on mesh: [Int]) throws(DocumentError) -> ReshardingStep {
    let object = try node.object()
    let kindNode = try object.node("kind")
    let kind = try kindNode.string()
    guard ReshardingStep.kindNames.contains(kind) else {
      throw kindNode.invalid(expected: "one of " + ReshardingStep.kindNames.map { "\"\($0)\"" }.joined(separator: ", "))
    }
    let axes = try object.node("axes").meshAxes(mesh.count)
    let action: ReshardingStep.Action =
      switch CollectiveKind(rawValue: kind) {
      case .allReduce: .allReduce
      case .allGather: .allGather(dimension: try object.int("dimension"))
      case .reduceScatter: .reduceScatter(dimension: try object.int("dimension"))
      case .allToAll: .allToAll(from: try object.int("from_dimension"), to: try object.int("to_dimension"))
      case nil: .slice(dimension: try object.int("dimension"))
      }
    try object.finish()
    let legal = ReshardingStep.steps(from: layout, shape: shape, mesh: mesh)
    guard let step = legal.first(where: { $0.action == action && $0.axes == axes }) else {
      throw node.invalid(expected: "a step that \(layout.notation) allows on a tensor of shape \(shape)")
    }
    return step
  }
}
