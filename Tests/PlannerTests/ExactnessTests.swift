// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Hardware
import Plans
import Quantities
import Search
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Differential: the search against exhaustive enumeration.
@Suite struct ExactnessTests {
  /// Without a limit that binds, then under limits that leave only a part of all decisions, then under one that leaves none.
  @Test(arguments: 0..<24) func searchFindsTheCheapestDecision(seed: Int) throws {
    var hardware = TinyHardware()
    let request = try tinyRequest(seed: seed, hardware: &hardware)
    let all = try Enumeration(request)
    let sizes = all.entries.map(\.memory).sorted()
    let limits = [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0], Bytes(sizes[0].value - 1)]
    for limit in limits {
      try expectSame(request, hardware, all, limit: limit)
    }
  }

  /// With the constants of a calibrated processor core: no bound may leave out what they add.
  @Test(arguments: 0..<12) func searchFindsTheCheapestDecisionOnACalibratedMachine(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 700)
    var hardware = TinyHardware()
    var request = try tinyRequest(seed: seed, hardware: &hardware)
    hardware.efficiency = KernelEfficiency(
      gemm: 0.9, gemmHalfDepth: random.pick([1, 8]), gemmHalfRows: random.pick([2, 16]), gemmHalfColumns: random.pick([1, 4]), attention: 0.5,
      attentionBackward: 0.25, attentionBlock: 64, exponentials: random.pick([1e6, 1e8]), memory: 0.5, optimizer: random.pick([0.25, 1]), source: nil)
    for pattern in CommunicationPattern.allCases { hardware.patterns[pattern] = random.pick([0.25, 0.5, 1]) }
    request.cluster = try hardware.cluster()
    let all = try Enumeration(request)
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 3]] { try expectSame(request, hardware, all, limit: limit) }
  }

  /// Where the host takes longer to hand kernels over than the device to run them, in none, some or all segments.
  @Test(arguments: 0..<16) func searchFindsTheCheapestDecisionWhereTheHostHoldsUp(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 800)
    var hardware = TinyHardware()
    var request = try tinyRequest(seed: seed + 40, hardware: &hardware)
    hardware.efficiency = KernelEfficiency(
      gemm: 1, gemmHalfDepth: 0, gemmUnaligned: random.pick([0.3, 1]), fusesBias: seed % 2 == 0, attention: 1, memory: 1,
      dispatch: Seconds(random.pick([2e-7, 1e-6, 3e-6, 1e-5])), source: nil)
    if seed % 4 == 3 { (hardware.firstNodes, hardware.peakShare) = (1, 0.5) }
    request.cluster = try hardware.cluster()
    let all = try Enumeration(request)
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20]] { try expectSame(request, hardware, all, limit: limit) }
  }

  /// What is gathered again takes its time beside the host's: the search and the price from scratch, which it is compared with, agree.
  @Test(arguments: [2, 4, 8]) func gatheringAgainComesOnTopOfTheHostsTime(devices: Int) throws {
    var request = try Shipped.request("gpt2", on: Shipped.hardware("dgx_h100_80g_ndr400x8"), devices: devices, batch: 4, sequence: 64)
    (request.mesh, request.recompute, request.microBatches) = ([devices], .gathered, 2)
    request.form = MegatronForm(dataAxes: [], tensorAxes: [0], isSequenceParallel: true)
    let plan = try #require(try Planner.search(request).plan)
    #expect(plan.decision.recompute.contains(.gathered))
    // The host holds the layers up, so that less to compute makes no difference, and more to gather does.
    request.recompute = Recompute.none
    let kept = try #require(try Planner.search(request).plan)
    #expect(plan.prediction.step > kept.prediction.step)
  }

  /// On a given mesh of three axes, and with it among all that the devices can be laid out in.
  @Test(arguments: 0..<8) func searchFindsTheCheapestDecisionOnThreeMeshAxes(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 600)
    // The number of decisions is the product over operators of powers of three, so models are as small as can be.
    var model = TinyModel(block: seed % 2 == 0 ? .single : .linear, layers: random.pick([1, 2]), batch: random.pick([2, 4]))
    (model.hidden, model.inner, model.vocabulary) = (random.pick([2, 4]), random.pick([2, 4]), random.pick([2, 4, 9]))
    let mesh = random.pick([[2, 2, 2], [2, 2, 2], [2, 3, 2], [2, 2, 3]])
    var hardware = TinyHardware(
      devices: mesh.reduce(1, *), devicesPerNode: random.pick([2, 4, 12]), innerBandwidth: random.pick([1e7, 1e8, 1e9]),
      outerBandwidth: random.pick([1e6, 1e7, 1e8]))
    hardware.latency = random.pick([1e-8, 1e-6, 1e-5])
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32,
      mode: random.pick([.train, .forward]), optimizer: .adamw)
    (request.layersMayDiffer, request.microBatches) = (false, random.pick([1, 1, 2]))
    (request.zero, request.recompute, request.mostMeshAxes) = (random.pick([ZeROStage.none, .weights]), Recompute.none, 3)
    if model.block == .linear {
      request.mesh = mesh
      // What the block's neighbours do is given, so that all that the block does can be tried.
      for (pattern, words) in [("embedding", ["vocab", "replicate"]), ("*oss*", ["data", "replicate"])] {
        request.constraints.append(
          StrategyConstraint(pattern: pattern, words: [random.pick(words), "replicate", "replicate"], isForbidden: false))
      }
    } else if seed % 4 == 0 {
      request.mesh = mesh
    }
    let all = try Enumeration(request)
    #expect(all.entries.contains { $0.decision.mesh.count == 3 })
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0]] { try expectSame(request, hardware, all, limit: limit) }
  }

  /// Device counts of all kinds, where a plan may leave devices idle: latencies, uneven layers and whole nodes make fewer devices better at times.
  @Test(arguments: 0..<12) func searchFindsTheBestNumberOfDevices(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 300)
    // Two mesh axes square the number of strategies, so only the smallest model is searched on them.
    let isSmall = seed % 3 > 0
    var model = TinyModel(block: isSmall ? .single : .linear, layers: random.pick([1, 2, 3]), batch: random.pick([2, 3, 4]))
    (model.hidden, model.inner) = (random.pick([4, 6]), random.pick([4, 9]))
    var hardware = TinyHardware(
      devices: isSmall ? random.pick([5, 6, 7]) : 3, devicesPerNode: random.pick([2, 3, 4, 8]), innerBandwidth: random.pick([1e7, 1e8, 1e9]),
      outerBandwidth: random.pick([1e6, 1e7, 1e8]))
    hardware.latency = random.pick([1e-8, 1e-6, 1e-5])
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32,
      mode: random.pick([.train, .forward]), optimizer: .adamw)
    (request.mayLeaveIdle, request.layersMayDiffer, request.zero) = (true, false, ZeROStage.none)
    request.recompute = Recompute.none
    let all = try Enumeration(request)
    #expect(Set(all.entries.map(\.decision.ranks)) == Set(1...hardware.devices))
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0]] { try expectSame(request, hardware, all, limit: limit) }
  }

  /// Two kinds of devices: a stage has its own kind's rates and memory, or the slower one's where it has both.
  @Test(arguments: 0..<10) func searchFindsTheCheapestDecisionOnMixedDevices(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 400)
    let isSmall = seed % 2 > 0
    var model = TinyModel(
      block: isSmall ? .single : random.pick([.linear, .tanhAtEnd, .mlp]), layers: random.pick([2, 3, 4]), batch: random.pick([2, 4]))
    (model.hidden, model.inner) = (random.pick([4, 8]), random.pick([8, 16]))
    var hardware = TinyHardware(
      devices: isSmall ? 4 : random.pick([2, 3]), devicesPerNode: isSmall ? random.pick([1, 2]) : 1, innerBandwidth: random.pick([1e8, 1e9]),
      outerBandwidth: random.pick([1e7, 1e8, 1e9]))
    (hardware.firstNodes, hardware.peak) = (hardware.devicesPerNode == 2 ? 1 : random.pick([1, 1, 2]), random.pick([1e7, 1e8]))
    (hardware.peakShare, hardware.memoryShare) = (random.pick([0.25, 0.5, 2, 4]), random.pick([0.5, 1]))
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32,
      mode: random.pick([.train, .train, .forward]), optimizer: .adamw)
    (request.mayLeaveIdle, request.layersMayDiffer, request.zero) = (random.pick([false, true]), false, ZeROStage.none)
    request.recompute = random.pick([Recompute.none, .full])
    let all = try Enumeration(request)
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0], Bytes(sizes[0].value - 1)] {
      try expectSame(request, hardware, all, limit: limit)
    }
  }

  /// Every operator's weights choose their ZeRO stage by themselves, and the layers what they compute again.
  @Test(arguments: 0..<8) func searchFindsTheCheapestZeROStagesAndRecompute(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 100)
    var model = TinyModel(block: random.pick([.linear, .mlp, .residual]), layers: random.pick([1, 2]), batch: random.pick([2, 4]))
    model.hidden = random.pick([4, 5, 8])
    let hardware = TinyHardware(
      devices: random.pick([2, 4]), innerBandwidth: random.pick([1e8, 1e9]), outerBandwidth: random.pick([1e7, 1e8]))
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: random.pick([.fp32, .bf16]),
      mode: .train, optimizer: random.pick([.adamw, .sgd]))
    request.mesh = [hardware.devices / random.pick(model.layers == 2 ? [1, 2] : [1])]
    request.layersMayDiffer = false
    let all = try Enumeration(request)
    let kinds = Set(all.entries.flatMap { $0.decision.zero })
    let mesh = request.mesh?[0] ?? 1
    #expect(kinds.count == (mesh > 1 && mesh <= model.batch ? 4 : 1))
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0], Bytes(sizes[0].value - 1)] {
      try expectSame(request, hardware, all, limit: limit)
    }
  }

  /// The first layers of each stage may be of another kind than the rest: other splits, ZeRO stages and recompute.
  @Test(arguments: 0..<16) func searchFindsTheCheapestMixOfLayers(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 200)
    var model = TinyModel(block: random.pick([.linear, .tanhAtEnd, .mlp]), layers: random.pick([2, 3, 4]), batch: random.pick([2, 4]))
    model.hidden = random.pick([4, 5, 8])
    model.inner = random.pick([4, 16])
    var hardware = TinyHardware(
      devices: random.pick([1, 2]), innerBandwidth: random.pick([1e8, 1e9]), outerBandwidth: random.pick([1e7, 1e8]))
    hardware.latency = random.pick([1e-8, 1e-6])
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: random.pick([.fp32, .bf16]),
      mode: .train, optimizer: random.pick([.adamw, .sgd]))
    request.microBatches = random.pick([1, 2])
    request.zero = hardware.devices > 1 ? random.pick([ZeROStage.none, .weights]) : nil
    if hardware.devices > 1 && model.block != .linear { request.mesh = [random.pick([1, 2])] }
    let all = try Enumeration(request)
    let differing = all.entries.filter { Set($0.decision.recompute.dropFirst().dropLast()).count > 1 }
    #expect(!differing.isEmpty)
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 2], sizes[sizes.count / 8], sizes[sizes.count / 40], sizes[0], Bytes(sizes[0].value - 1)] {
      try expectSame(request, hardware, all, limit: limit)
    }
  }

  /// So may they where stages are on devices of two kinds, of which one has less memory.
  @Test(arguments: 0..<4) func searchFindsTheCheapestMixOfLayersOnMixedDevices(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 500)
    var model = TinyModel(block: .linear, layers: random.pick([3, 4, 5]), batch: random.pick([2, 4]))
    (model.hidden, model.vocabulary) = (random.pick([4, 5, 8]), random.pick([4, 40]))
    var hardware = TinyHardware(devices: 2, devicesPerNode: 1, outerBandwidth: random.pick([1e7, 1e9]), latency: random.pick([1e-8, 1e-6]))
    (hardware.firstNodes, hardware.peakShare, hardware.memoryShare) = (1, random.pick([0.25, 0.5, 2]), random.pick([0.5, 0.75]))
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32, mode: .train,
      optimizer: random.pick([.adamw, .sgd]))
    (request.mesh, request.pipelineDegree, request.zero) = ([1], 2, ZeROStage.none)
    let all = try Enumeration(request)
    #expect(all.entries.contains { Set($0.decision.recompute.dropFirst().dropLast()).count > 1 })
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9)] + [2, 3, 8, 40].map({ sizes[sizes.count / $0] }) + [sizes[0], Bytes(sizes[0].value - 1)] {
      try expectSame(request, hardware, all, limit: limit)
    }
  }

  /// So may the first layers of each chunk, where all chunks hold as many.
  @Test(arguments: 0..<3) func searchFindsTheCheapestMixOfChunks(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 300)
    var model = TinyModel(block: .linear, layers: 8, batch: random.pick([2, 4]))
    (model.hidden, model.vocabulary) = (random.pick([4, 5, 8]), random.pick([4, 40]))
    let hardware = TinyHardware(devices: 2, innerBandwidth: random.pick([1e7, 1e9]), latency: random.pick([1e-8, 1e-6]))
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: random.pick([.fp32, .bf16]),
      mode: .train, optimizer: random.pick([.adamw, .sgd]))
    (request.mesh, request.zero, request.chunks) = ([1], ZeROStage.none, 2)
    let all = try Enumeration(request)
    #expect(all.entries.contains { Set($0.decision.recompute.dropFirst().dropLast()).count > 1 })
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9)] + [3, 8, 40].map({ sizes[sizes.count / $0] }) + [sizes[0], Bytes(sizes[0].value - 1)] {
      try expectSame(request, hardware, all, limit: limit)
    }
  }

  /// Frozen weights have no gradient, and what only they depend on has none either.
  @Test(arguments: 0..<8) func searchFindsTheCheapestDecisionOfFrozenModels(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 200)
    var model = TinyModel(block: random.pick([.linear, .mlp, .residual]), layers: random.pick([1, 2]), batch: random.pick([2, 4]))
    (model.hidden, model.hasProjection) = (random.pick([4, 5, 8]), seed % 4 > 1 && model.block == .linear)
    let frozen = [["embedding", "up"], ["embedding", "block"], ["head", "down"], ["embedding", "block", "head"]][seed % 4]
    let graph = try model.graph().freezing { name in frozen.contains { name.contains($0) } }
    let hardware = TinyHardware(devices: random.pick([2, 4]), innerBandwidth: random.pick([1e8, 1e9]), outerBandwidth: random.pick([1e7, 1e8]))
    var request = SearchRequest(
      graph: graph, cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: random.pick([.fp32, .bf16]), mode: .train,
      optimizer: .adamw)
    request.mesh = [hardware.devices / random.pick(model.layers == 2 ? [1, 2] : [1])]
    request.layersMayDiffer = false
    let all = try Enumeration(request)
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0]] { try expectSame(request, hardware, all, limit: limit) }
  }

  /// Which stages hold a weight that several layers share follows from the cut.
  @Test(arguments: [2, 3, 4], [Mode.train, .forward]) func layersThatShareAWeight(layers: Int, mode: Mode) throws {
    var model = TinyModel(layers: layers)
    (model.sharesWeights, model.isUnfolded) = (true, true)
    for devices in 2...layers {
      let hardware = TinyHardware(devices: devices, innerBandwidth: 1e9)
      var request = SearchRequest(
        graph: try model.graph(), cluster: try hardware.cluster(), batch: 4, sequence: nil, precision: .fp32, mode: mode, optimizer: .adamw)
      request.mesh = [1]
      request.layersMayDiffer = false
      let all = try Enumeration(request)
      for limit in Set(all.entries.map(\.memory)).sorted() { try expectSame(request, hardware, all, limit: limit) }
    }
  }

  /// Several chunks on each stage, chosen together with everything else, and by themselves.
  @Test(arguments: 0..<12) func searchFindsTheCheapestChunks(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 200)
    let stages = random.pick([2, 2, 3])
    let perStage = stages == 3 ? 1 : random.pick([1, 2])
    var model = TinyModel(block: random.pick([.linear, .mlp]), layers: stages == 3 ? 6 : random.pick([4, 5, 6]), batch: random.pick([6, 12]))
    (model.hidden, model.vocabulary) = (random.pick([4, 5, 8]), random.pick([4, 40]))
    model.hasProjection = perStage == 1 && random.pick([false, true])
    // Slow links, over which messages weigh as much as passes; three stages lie unevenly on nodes of two devices.
    let hardware = TinyHardware(
      devices: stages * perStage, devicesPerNode: random.pick([1, 2]), innerBandwidth: random.pick([1e7, 1e8, 1e9]),
      outerBandwidth: random.pick([1e6, 1e8]), latency: random.pick([1e-8, 1e-6]))
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: random.pick([.fp32, .bf16]),
      mode: .train, optimizer: random.pick([.adamw, .sgd]))
    (request.mesh, request.zero, request.recompute) = ([perStage], ZeROStage.none, random.pick([Recompute.none, .full]))
    request.layersMayDiffer = false
    for schedule in [nil, Schedule.Kind.interleaved] {
      request.schedule = schedule
      let all = try Enumeration(request)
      #expect(all.entries.contains { $0.decision.schedule.kind == .interleaved })
      #expect(all.entries.contains { $0.decision.schedule.kind != .interleaved } == (schedule == nil))
      let sizes = all.entries.map(\.memory).sorted()
      for limit in [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0], Bytes(sizes[0].value - 1)] {
        try expectSame(request, hardware, all, limit: limit)
      }
    }
  }

  /// On a real model, no plan that differs in one or two operators from the one found is better.
  @Test(arguments: 0..<2) func noNeighbourOfGPT2sPlanIsBetter(seed: Int) throws {
    var random = SeededGenerator(seed: seed)
    var request = try Shipped.request("gpt2", on: Shipped.hardware("derecho"), devices: 4, batch: 4, sequence: 256)
    (request.mesh, request.microBatches) = ([[4], [2, 2]][seed], 1)
    let plan = try #require(try Planner.search(request).plan)
    let rules = plan.decision.graph.operators.indices.map { OperatorRules.rule(for: $0, in: plan.decision.graph) }
    let same = try Enumeration(request, frame: plan.decision, assignments: plan.decision.assignments)
    #expect(same.entries.first?.objective == plan.prediction.step.picoseconds)
    var compared = 0
    for _ in 0..<60 {
      var assignments = plan.decision.assignments
      for _ in 0..<Int.random(in: 1...2, using: &random) {
        let op = Int.random(in: assignments.indices, using: &random)
        assignments[op] = random.pick(same.assignments(rules[op], plan.decision.mesh))
      }
      guard let entry = try Enumeration(request, frame: plan.decision, assignments: assignments).entries.first else { continue }
      compared += 1
      #expect(
        entry.objective + Outcome.tolerance(of: entry.objective) >= plan.prediction.step.picoseconds || entry.memory > plan.prediction.memoryLimit)
    }
    #expect(compared > 20)
  }

  /// What the search checks its answer with is not blind: another decision has another price, and one that cannot be carried out has none.
  @Test func pricingADecisionNoticesWhatIsWrongWithIt() throws {
    var request = try Shipped.request("gpt2", on: Shipped.hardware("derecho"), devices: 4, batch: 1, sequence: 1024)
    (request.pipelineDegree, request.mesh) = (1, [4])
    let plan = try #require(try Planner.search(request).plan)
    let space = try Space(request)
    let pricing = try space.pricing(.init(stages: 1, mesh: [4], microBatches: 1), on: space.placed(stages: 1, mesh: [4]))
    func objective(_ decision: Decision) throws -> Int64 { try DecisionPricing.predict(decision, pricing: pricing, links: nil).objective }
    #expect(try objective(plan.decision) == plan.prediction.step.picoseconds)
    #expect(plan.decision.conversions.count > 2)
    for index in plan.decision.conversions.indices {
      var lacking = plan.decision
      lacking.conversions.remove(at: index)
      #expect(throws: PlannerError.self) { try objective(lacking) }
      var cut = plan.decision
      cut.conversions[index].steps.removeLast()
      #expect(throws: PlannerError.self) { try objective(cut) }
    }
    var other = plan.decision
    other.schedule = .gpipe
    other.job.microBatches = 2
    #expect(try objective(other) > plan.prediction.step.picoseconds)
  }

  func expectSame(_ request: SearchRequest, _ hardware: TinyHardware, _ all: Enumeration, limit: Bytes) throws {
    var request = request
    var hardware = hardware
    // A device with a share of this has just what an entry takes: rounding must not take a byte away.
    hardware.memory = limit.value * (1 + 1e-12)
    request.cluster = try hardware.cluster()
    switch try Planner.search(request) {
    case .planned(let plan):
      let best = try #require(all.best(memory: limit), "the search found a plan within \(limit) where enumeration finds none")
      let found = plan.prediction.step.picoseconds
      #expect(found >= best.objective)
      #expect(found - best.objective <= 2 * Outcome.tolerance(of: best.objective), "limit \(limit), of \(all.entries.count): \(best.decision)")
      #expect(plan.certificate.status == .optimal)
      #expect(plan.certificate.lowerBound.picoseconds <= best.objective)
      #expect(plan.prediction.memory <= limit)
    case .infeasible(let why):
      #expect(all.best(memory: limit) == nil, "the search found nothing within \(limit)")
      let memory = try #require(why.memory)
      #expect(memory.limit.value == limit.value.rounded(.down))
      #expect(memory.least > limit)
      #expect(memory.least <= all.entries.map(\.memory).min()!)
    case .timeLimit: Issue.record("no time limit was set")
    }
  }
}
