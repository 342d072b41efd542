// SPDX-License-Identifier: GPL-3.0-or-later
import Documents
import Hardware
import ModelGraph
import Plans
import Quantities
import Strategies
import Testing

@testable import Planner

/// Requests that nothing satisfies, make no sense, or are as small as can be.
@Suite struct RequestTests {
  private func request(_ model: TinyModel = TinyModel(layers: 4), devices: Int = 4, change: (inout SearchRequest) -> Void = { _ in }) throws
    -> SearchRequest
  {
    var request = SearchRequest(
      graph: try model.graph(), cluster: try TinyHardware(devices: devices).cluster(), batch: model.batch, sequence: nil, precision: .fp32,
      mode: .train, optimizer: .adamw)
    change(&request)
    return request
  }

  private func pin(_ pattern: String, _ words: String..., forbid: Bool = false) -> StrategyConstraint {
    StrategyConstraint(pattern: pattern, words: words, isForbidden: forbid)
  }

  @Test("The best configurations: each listed once, the better first, and each as good as a search of it alone finds")
  func rankedConfigurations() throws {
    let request = try request { $0.top = 4 }
    guard case .planned(let planned) = try Planner.search(request) else {
      Issue.record("no plan")
      return
    }
    let all = [(planned.decision, planned.prediction)] + planned.others.map { ($0.decision, $0.prediction) }
    #expect(all.count == 4)
    let steps = all.map(\.1.step.value)
    #expect(steps == steps.sorted())
    let names = all.map { decision, _ in
      "\(decision.mesh) \(decision.groups) \(decision.schedule) \(decision.job.microBatches) \(decision.recompute)"
    }
    #expect(Set(names).count == names.count, "\(names)")
    for (decision, prediction) in all {
      var alone = request
      (alone.top, alone.mesh, alone.microBatches, alone.schedule) = (1, decision.mesh, decision.job.microBatches, decision.schedule.kind)
      alone.pipelineDegree = decision.groups
      let best = try #require(try Planner.search(alone).plan)
      #expect(best.prediction.step <= prediction.step)
    }
  }

  @Test("Meshes of three axes are listed where they are asked for, and the space says what it leaves out on them")
  func spaceOfThreeMeshAxes() throws {
    func values(_ name: String, _ change: (inout SearchRequest) -> Void) throws -> String {
      try #require(try Planner.space(try request(devices: 8, change: change)).first { $0.name == name }).values
    }
    func meshes(_ axes: Int) throws -> [String] { try values("meshes") { $0.mostMeshAxes = axes }.split(separator: " ").map(String.init) }
    #expect(try meshes(1) == ["2", "4", "8"])
    #expect(try meshes(2) == ["2", "2x2", "4", "2x4", "4x2", "8"])
    #expect(try meshes(3) == ["2", "2x2", "4", "2x2x2", "2x4", "4x2", "8"])
    let remark = "on meshes of three axes all alike"
    #expect(try values("layers of one block") { $0.mostMeshAxes = 3 }.contains(remark))
    #expect(try values("layers of one block") { $0.mesh = [2, 2, 2] }.contains(remark))
    #expect(try !values("layers of one block") { $0.mesh = [2, 4] }.contains(remark))
  }

  /// Each with a part of the message that says what is wrong.
  @Test func senselessRequestsAreUsageErrors() throws {
    try expectUsage("3 micro-batches do not divide the batch of 4") { $0.microBatches = 3 }
    try expectUsage("micro-batches of 3 do not divide") { $0.microBatchSize = 3 }
    try expectUsage("1048577 micro-batches are more than the 1048576") { ($0.batch, $0.microBatches) = (1_048_577, 1_048_577) }
    try expectUsage("--micro-batch 0") { $0.microBatchSize = 0 }
    try expectUsage("parts of 4 sequences") { ($0.microBatches, $0.microBatchSize) = (2, 4) }
    try expectUsage("3 stages do not divide 4 devices") { $0.pipelineDegree = 3 }
    try expectUsage("--pp 0") { $0.pipelineDegree = 0 }
    try expectUsage("--pp -2") { $0.pipelineDegree = -2 }
    try expectUsage("--stages 3,2: the model has 4 layers") { $0.stageLayers = [3, 2] }
    try expectUsage("--stages 2,0,1,1") { $0.stageLayers = [2, 0, 1, 1] }
    try expectUsage("--stages names no stage") { $0.stageLayers = [] }
    try expectUsage("--stages names 2 stages and --pp 4") { ($0.stageLayers, $0.pipelineDegree) = ([2, 2], 4) }
    try expectUsage("--vpp 0") { $0.chunks = 0 }
    try expectUsage("--vpp 2: only the interleaved schedule has several chunks on a stage; leave --schedule 1f1b out") {
      ($0.chunks, $0.schedule) = (2, .oneForwardOneBackward)
    }
    try expectUsage("--vpp 1: the interleaved schedule has at least two chunks") { ($0.chunks, $0.schedule) = (1, .interleaved) }
    try expectUsage("--pp 1: the interleaved schedule needs several stages") { ($0.chunks, $0.pipelineDegree) = (2, 1) }
    try expectUsage("--pp 2 --vpp 3: 6 chunks are more than the model's 4 layers") { ($0.chunks, $0.pipelineDegree) = (3, 2) }
    try expectUsage("--pp 4: 8 chunks are more than the model's 4 layers") { ($0.schedule, $0.pipelineDegree) = (.interleaved, 4) }
    try expectUsage("no number of stages divides 4 devices and leaves each 5 chunks") { $0.chunks = 5 }
    try expectUsage("micro-batches: 1 is no multiple of 2 stages, which the interleaved schedule needs") {
      ($0.chunks, $0.pipelineDegree, $0.microBatches) = (2, 2, 1)
    }
    try expectUsage("the interleaved schedule is for training") { ($0.chunks, $0.mode) = (2, .forward) }
    try expectUsage("--stages names the layers of 3 chunks, in the model's order; --pp 2 --vpp 2 has another number") {
      ($0.chunks, $0.pipelineDegree, $0.stageLayers) = (2, 2, [1, 1, 2])
    }
    try expectUsage("--mesh 8x3") { $0.mesh = [8, 3] }
    try expectUsage("--mesh :") { $0.mesh = [] }
    try expectUsage("--mesh 0x4") { $0.mesh = [0, 4] }
    try expectUsage("a mesh of 3 = 3 devices") { $0.mesh = [3] }
    try expectUsage("--batch 0") { $0.batch = 0 }
    try expectUsage("--forbid lm_head=row: no operator of tiny") { $0.constraints = [pin("lm_head", "row", forbid: true)] }
    try expectUsage("--pin up=row: no operator of tiny has such a name; did you mean block.{i}.up?") { $0.constraints = [pin("up", "row")] }
    try expectUsage("all copies of a block are split alike; write {i} for the number: block.{i}.up") { $0.constraints = [pin("block.2.up", "row")] }
    try expectUsage("--pin block.*.upp=row: no operator of tiny has such a name; did you mean block.{i}.up?") {
      $0.constraints = [pin("block.*.upp", "row")]
    }
  }

  /// A loss over pairs of the whole batch leaves one micro-batch; its model says so where another number is asked for.
  @Test func aLossThatCouplesTheBatchHasOneMicroBatch() throws {
    var request = SearchRequest(
      graph: try Shipped.fixture("clip"), cluster: try TinyHardware(devices: 2).cluster(), batch: 8, sequence: 10, precision: .fp32, mode: .train,
      optimizer: .adamw)
    #expect(try Space(request).microBatchCounts == [1])
    request.microBatches = 2
    #expect(throws: PlannerError.self) { try Space(request) }
    request.microBatches = nil
    request.constraints = [pin("similarity", "data"), pin("image_embeds", "data")]
    let plan = try #require(try Planner.search(request).plan)
    #expect(plan.decision.job.microBatches == 1)
    // All images meet each device's texts.
    let gathered = plan.decision.conversions.filter { plan.decision.graph.tensors[$0.tensor].name == "image_embeds" }
    #expect(gathered.contains { $0.steps.map(\.action) == [.allGather(dimension: 0)] })
    #expect(gathered.contains { $0.steps.map(\.action) == [.reduceScatter(dimension: 0)] })

    // Asked for, the loss is each micro-batch's, and one rank is to compute the same.
    guard case .object(var file) = ModelReader.encode(request.graph) else { return }
    file["per_microbatch"] = true
    request.graph = try ModelReader.decode(Document(file: "model.json", value: .object(file)).root)
    #expect(try Space(request).microBatchCounts == [1, 2, 4, 8])
    request.microBatches = 4
    let parts = try #require(try Planner.search(request).plan).decision
    #expect(parts.onOneRank().job.microBatches == 4 && plan.decision.onOneRank().job.microBatches == 1)
  }

  private func expectUsage(_ message: String, change: (inout SearchRequest) -> Void) throws {
    let request = try request(change: change)
    do {
      _ = try Planner.search(request)
      Issue.record("accepted; expected: \(message)")
    } catch PlannerError.usage(let text) {
      #expect(text.contains(message))
    }
  }

  /// What comes before the layers, and what comes after them, may be stages of their own.
  @Test func theEmbeddingAndTheHeadMayBeAlone() throws {
    for layers in [[0, 4], [4, 0]] {
      let request = try request { $0.stageLayers = layers }
      let stages = try #require(try Planner.search(request).plan).decision.stages
      #expect(stages.map { stage in stage.units.contains { $0.copies.count > 0 && request.graph.holdsLayers($0.segment) } } == layers.map { $0 > 0 })
    }
  }

  /// Given numbers of layers are those of chunks where several are asked for, and of stages where nothing is said.
  @Test func givenLayersAreThoseOfChunks() throws {
    let chunks = try #require(try Planner.search(request { ($0.schedule, $0.stageLayers, $0.microBatches) = (.interleaved, [1, 1, 1, 1], 4) }).plan)
    #expect(chunks.decision.schedule == .interleaved(chunks: 2) && chunks.decision.groups == 2)
    let stages = try #require(try Planner.search(request { ($0.stageLayers, $0.microBatches) = ([1, 1, 1, 1], 4) }).plan)
    #expect(stages.decision.schedule.chunks == 1 && stages.decision.groups == 4)
  }

  /// Interleaved chunks lie on stages that have the same kinds of devices.
  @Test func chunksAreOnDevicesOfOneKind() throws {
    var hardware = TinyHardware(devices: 4, devicesPerNode: 1)
    (hardware.firstNodes, hardware.peakShare) = (2, 0.5)
    let cluster = try hardware.cluster()
    try expectUsage("the interleaved schedule is planned for stages on devices of one kind") { ($0.cluster, $0.chunks) = (cluster, 2) }
    let space = try Space(request { ($0.cluster, $0.mayLeaveIdle) = (cluster, true) })
    func kinds(stages: Int, mesh: [Int]) -> [Schedule.Kind] { space.schedules(.init(stages: stages, mesh: mesh, microBatches: 2)).map(\.kind) }
    // Both stages on the first kind, and each on one of its own.
    #expect(kinds(stages: 2, mesh: [1]) == [.oneForwardOneBackward, .gpipe, .interleaved])
    #expect(kinds(stages: 2, mesh: [2]) == [.oneForwardOneBackward, .gpipe])
    #expect(space.dimensions.contains { $0.name == "chunks per stage" && $0.values.contains("devices of the same kind") })
    let idle = try #require(try Planner.search(request { ($0.cluster, $0.mayLeaveIdle, $0.chunks) = (cluster, true, 2) }).plan)
    #expect(idle.decision.schedule == .interleaved(chunks: 2) && idle.decision.ranks == 2)
  }

  @Test func moreStagesThanLayersAreAUsageError() throws {
    let request = try request(TinyModel(layers: 2)) { $0.pipelineDegree = 4 }
    #expect(throws: PlannerError.self) { try Planner.search(request) }
  }

  @Test func aModelWithoutLossCannotBeTrained() throws {
    var builder = GraphBuilder(name: "lossless")
    let (b, h) = (builder.axis("batch", 4, .batch), builder.axis("hidden", 4, .feature))
    let v = builder.axis("vocab", 8, .vocabulary)
    builder.begin(segment: "all")
    _ = builder.embedding("embedding", ids: builder.input(.inputIDs, [b]), rows: v, features: h)
    builder.end()
    let graph = try builder.finish()
    var request = try request { $0.graph = graph }
    #expect(throws: PlannerError.self) { try Planner.search(request) }
    // A model of one operator has a plan, on one device and on several.
    request.mode = .forward
    #expect(try Planner.search(request).plan != nil)
    request.cluster = try TinyHardware(devices: 1).cluster()
    let plan = try #require(try Planner.search(request).plan)
    #expect(plan.decision.assignments == [[nil]] && plan.decision.ranks == 1)
  }

  @Test func pinsThatContradictLeaveNothing() throws {
    let pins = [pin("block.{i}.up", "row"), pin("block.*", "column")]
    guard case .infeasible(let why) = try Planner.search(try request { ($0.constraints, $0.mesh) = (pins, [4]) }) else {
      Issue.record("a strategy is row and column at once")
      return
    }
    #expect(why.memory == nil)
  }

  @Test func pinsAndForbidsAreObeyedAndNeverHelp() throws {
    let free = try #require(try Planner.search(try request { $0.mesh = [4] }).plan)
    for word in ["row", "column", "data", "replicate"] {
      let pinned = try #require(try Planner.search(try request { ($0.constraints, $0.mesh) = ([pin("block.{i}.up", word)], [4]) }).plan)
      #expect(pinned.words("block.{i}.up") == [word])
      #expect(pinned.prediction.step >= free.prediction.step)
      let other = try #require(
        try Planner.search(try request { ($0.constraints, $0.mesh) = ([pin("block.{i}.up", word, forbid: true)], [4]) }).plan)
      #expect(other.words("block.{i}.up") != [word])
      #expect(min(pinned.prediction.step, other.prediction.step) == free.prediction.step)
    }
  }

  @Test func noTimeMeansNoPlanButABound() throws {
    let limited = try request { $0.timeLimit = 0 }
    let free = try #require(try Planner.search(try request()).plan)
    switch try Planner.search(limited) {
    case .timeLimit(let bound): #expect(bound <= free.prediction.step)
    case .planned(let plan):
      #expect(plan.certificate.lowerBound <= free.prediction.step)
      #expect(plan.prediction.step >= free.prediction.step)
    case .infeasible: Issue.record("there is a plan")
    }
  }

  @Test func whatDoesNotFitIsReportedWithFigures() throws {
    var hardware = TinyHardware(devices: 2)
    hardware.memory = 100
    let small = try hardware.cluster()
    guard case .infeasible(let why) = try Planner.search(try request { $0.cluster = small }), let memory = why.memory else {
      Issue.record("100 bytes are enough")
      return
    }
    #expect(memory.limit == Bytes(100))
    // With just what is reported missing there is still no plan with a byte less.
    hardware.memory = memory.least.value - 1
    let less = try hardware.cluster()
    #expect(try Planner.search(try request { $0.cluster = less }).plan == nil)
  }
}
