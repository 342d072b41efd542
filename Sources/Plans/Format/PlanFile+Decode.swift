// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Quantities
import Strategies

extension PlanFile {
  /// The plan that a parsed file describes, checked against the model and the hardware that it holds.
  ///
  /// - Throws: as `read`.
  package static func decode(_ document: Document) throws -> Plan {
    let root = try document.root(format: format)
    let (graph, modelSHA256) = try embedded(root.node("model")) { try ModelReader.decode($0) }
    let (hardware, hardwareSHA256) = try embedded(root.node("hardware")) {
      try HardwareFile(decoding: Document(file: "\($0.file): \($0.path)", value: $0.value))
    }
    let mesh = try mesh(root.node("mesh"))
    var reader = DecisionReader(
      graph: graph, job: try job(root.node("job"), graph), mesh: mesh, stageMeshes: try stageMeshes(root.nodeIfPresent("stage_meshes"), first: mesh))
    let schedule = try reader.schedule(root)
    let stages = try reader.stages(root.node("stages"), schedule)
    reader.shares = try reader.shares(root.nodeIfPresent("batch_shares"), stages)
    let operators = try reader.operators(root.node("operators"))
    var decision = Decision(
      graph: graph, job: reader.job, mesh: mesh, schedule: schedule, stages: stages, assignments: operators.map(\.assignment),
      zero: operators.map(\.zero),
      recompute: try reader.recompute(root.node("recompute")),
      conversions: try reader.conversions(root.node("conversions")), orders: try reader.orders(root.nodeIfPresent("zigzag_pairs")))
    (decision.stageMeshes, decision.shares) = (reader.stageMeshes, reader.shares)
    try check(decision, hardware, root)
    let prediction = try Prediction(reading: root.node("predicted"), operators: operators.map(\.predicted), for: decision)
    let plan = Plan(
      decision: decision, prediction: prediction, certificate: try Certificate(reading: root.node("certificate"), step: prediction.step),
      hardware: hardware,
      idleDevices: try idle(root.nodeIfPresent("idle"), decision, hardware), modelSHA256: modelSHA256, hardwareSHA256: hardwareSHA256,
      assumptions: try root.elements("assumptions").map { try $0.string() })
    try root.finish()
    return plan
  }

  /// A document inside the plan, whose hash is compared with the one that the plan states, and the hash of its source.
  private static func embedded<Value>(_ node: Node, decode: (Node) throws -> Value) throws -> (value: Value, sourceSHA256: String) {
    let object = try node.object()
    let source = try hash(object.node("source_sha256"))
    let stated = try object.node("sha256")
    let document = try object.node("document")
    try object.finish()
    let (expected, actual) = (try hash(stated), document.value.sha256)
    if expected != actual { throw PlanError.anotherDocument(file: node.file, path: stated.path, stated: expected, actual: actual) }
    return (try decode(document), source)
  }

  private static func hash(_ node: Node) throws(DocumentError) -> String {
    let text = try node.string()
    if text.count != 64 || !text.allSatisfy({ "0"..."9" ~= $0 || "a"..."f" ~= $0 }) {
      throw node.invalid(expected: "a SHA-256 of 64 digits from 0 to 9 and a to f")
    }
    return text
  }

  private static func mesh(_ node: Node) throws(DocumentError) -> [Int] {
    let mesh = try node.ints(.within(1, HardwareFile.deviceLimit))
    var devices = 1
    // Each factor is at most the limit, so the product cannot overflow before it is found too large.
    for extent in mesh where devices <= HardwareFile.deviceLimit { devices *= extent }
    guard 1...Layout.maximumAxes ~= mesh.count, devices <= HardwareFile.deviceLimit else {
      throw node.invalid(expected: "1 to \(Layout.maximumAxes) mesh axes with at most \(HardwareFile.deviceLimit) devices together")
    }
    return mesh
  }

  /// Each stage's mesh, where they have several; the first is `mesh`.
  private static func stageMeshes(_ node: Node?, first: [Int]) throws(DocumentError) -> [[Int]] {
    guard let node else { return [] }
    var meshes: [[Int]] = []
    for element in try node.elements() { meshes.append(try mesh(element)) }
    guard meshes.first == first, meshes.contains(where: { $0 != first }) else {
      throw node.invalid(expected: "a mesh for each stage, the first as in \"mesh\", and not all alike; leave it out where they are")
    }
    guard meshes.reduce(0, { min($0, HardwareFile.deviceLimit) + $1.reduce(1, *) }) <= HardwareFile.deviceLimit else {
      throw node.invalid(expected: "at most \(HardwareFile.deviceLimit) devices together")
    }
    return meshes
  }

  /// How many devices stay idle: those that come after the plan's.
  private static func idle(_ node: Node?, _ decision: Decision, _ hardware: HardwareFile) throws -> Int {
    guard let node else { return 0 }
    let object = try node.object()
    try object.node("first_device").expectDerived(.int(decision.ranks), "the plan uses \(counted(decision.ranks, "device"))")
    let devices = try object.int("devices", .within(1, max(1, (hardware.deviceCount ?? HardwareFile.deviceLimit) - decision.ranks)))
    try object.finish()
    return devices
  }

  private static func job(_ node: Node, _ graph: Graph) throws -> Job {
    let object = try node.object()
    let extent = Bound<Int>.within(1, GraphBuilder.largestExtent)
    let batch = try object.node("batch")
    let sequence = object.nodeIfPresent("sequence")
    let mode = try object.node("mode")
    var job = Job(
      batch: try batch.int(.within(1, 1 << 48)), microBatches: try object.int("micro_batches", extent), sequence: try sequence?.int(extent),
      mode: try mode.choice(of: Mode.self), optimizer: try object.choice("optimizer", of: OptimizerKind.self),
      precision: try object.choice("dtype", of: Precision.self))
    job.software.attention = try object.choiceIfPresent("attention", of: AttentionKernel.self) ?? .fused
    job.software.crossEntropy = try object.choiceIfPresent("cross_entropy", of: CrossEntropyKernel.self) ?? .fused
    job.software.gradients = try object.choiceIfPresent("gradients", of: GradientStorage.self) ?? .accumulated
    job.software.boundaries = try object.choiceIfPresent("boundaries", of: BoundaryMessages.self) ?? .whole
    job.software.updates = try object.choiceIfPresent("updates", of: WeightUpdates.self) ?? .afterBackward
    job.software.overlap = try object.choiceIfPresent("overlap", of: Overlap.self) ?? .none
    try object.finish()

    func inconsistent(_ node: Node, _ problem: String) -> PlanError { .inconsistent(file: node.file, path: node.path, problem: problem) }
    for axis in graph.axes {
      switch axis.role {
      // Extents and counts are at most 2^24.
      case .batch where axis.extent * job.microBatches != job.batch, .candidates where axis.extent * job.microBatches != job.batch:
        throw inconsistent(batch, "\(job.batch) sequences are not \(job.microBatches) micro-batches of the model's \(axis.extent)")
      case .sequence where graph.choosesSequence && job.sequence != axis.extent:
        throw inconsistent(
          sequence ?? node, "the model's axis \(axis.name) has \(axis.extent) positions, the job \(job.sequence.map(String.init) ?? "none")")
      default: break
      }
    }
    if graph.couplesBatch && job.microBatches > 1 {
      throw inconsistent(
        try object.node("micro_batches"), "the model has an operator that couples the samples of the whole batch, so a step has one micro-batch")
    }
    if !graph.choosesSequence, let sequence { throw inconsistent(sequence, "the model's number of positions is fixed; leave it out") }
    if job.mode == .train && graph.loss == nil { throw inconsistent(mode, "the model \(graph.name) has no loss, so it cannot be trained") }
    return job
  }
}
