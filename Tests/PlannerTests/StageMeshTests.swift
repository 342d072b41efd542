// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Plans
import Quantities
import Search
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Stages with several meshes.
@Suite struct StageMeshTests {
  private static let shapes: [[[Int]]] = [
    [[2], [1]], [[1], [2]], [[3], [1]], [[2], [3]], [[2, 1], [1, 2]], [[2, 2], [2]], [[1], [2], [2]], [[2], [1], [2]], [[2], [2], [1]],
  ]

  @Test("differential: the search finds the cheapest decision of given meshes", arguments: 0..<18)
  func searchFindsTheCheapestDecision(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 500)
    let meshes = Self.shapes[seed % Self.shapes.count]
    // Small enough to try everything: one operator a layer where both meshes are split.
    let isLarge = meshes.filter { $0.reduce(1, *) > 1 }.count > 1
    let hasTwoAxes = meshes.contains { $0.count > 1 }
    var model = TinyModel(
      block: hasTwoAxes ? .single : isLarge ? random.pick([.single, .linear]) : random.pick([.linear, .tanhAtEnd, .residual]),
      layers: meshes.count + (isLarge ? 0 : random.pick([0, 1])), batch: random.pick([2, 4]))
    (model.hidden, model.inner) = (random.pick([4, 5, 8]), random.pick([4, 9]))
    if model.block == .single && meshes.count == 2 || model.block == .linear && !isLarge { (model.hasProjection, model.isTied) = (true, true) }
    var hardware = TinyHardware(
      devices: meshes.reduce(0) { $0 + $1.reduce(1, *) }, devicesPerNode: random.pick([1, 2, 4]), innerBandwidth: random.pick([1e7, 1e8, 1e9]),
      outerBandwidth: random.pick([1e6, 1e7, 1e8]))
    hardware.latency = random.pick([1e-8, 1e-6])
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: random.pick([.fp32, .bf16]),
      mode: random.pick([.train, .train, .forward]), optimizer: random.pick([.adamw, .sgd]))
    (request.stageMeshes, request.zero) = (meshes, random.pick([ZeROStage.none, .optimizer, .weights]))
    if isLarge { request.recompute = random.pick([Recompute.none, .full]) }
    request.microBatches = isLarge ? random.pick([1, 2]) : nil
    let all = try RunEnumeration(request, meshes)
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0], Bytes(sizes[0].value - 1)] {
      hardware.memory = limit.value
      request.cluster = try hardware.cluster()
      switch try Planner.search(request) {
      case .planned(let plan):
        let best = try #require(all.best(memory: limit), "the search found a plan within \(limit) where enumeration finds none")
        let found = plan.prediction.step.picoseconds
        #expect(found >= best.objective, "of \(all.entries.count)")
        #expect(found - best.objective <= 2 * Outcome.tolerance(of: best.objective), "limit \(limit), of \(all.entries.count): \(best.decision)")
        #expect(plan.decision.stageMeshes == meshes)
        #expect(plan.certificate.status == .optimal && plan.certificate.lowerBound.picoseconds <= best.objective)
      case .infeasible(let why):
        #expect(all.best(memory: limit) == nil)
        let memory = try #require(why.memory)
        #expect(memory.least > limit && memory.least <= all.entries.map(\.memory).min()!)
      case .timeLimit: Issue.record("no time limit was set")
      }
    }
  }

  /// Against every decision of one mesh, and of two meshes in two runs of stages.
  @Test("differential: the search for two meshes finds the cheapest decision of all", arguments: 0..<10)
  func searchFindsTheCheapestMeshes(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 600)
    let devices = random.pick([3, 4, 4])
    var model = TinyModel(
      block: random.pick(devices == 3 ? [.single, .linear] : [.single]), layers: random.pick([2, 3]), batch: random.pick([2, 4]))
    (model.hidden, model.inner) = (random.pick([4, 5, 6]), random.pick([4, 9]))
    var hardware = TinyHardware(
      devices: devices, devicesPerNode: random.pick([1, 2, 4]), innerBandwidth: random.pick([1e7, 1e8, 1e9]),
      outerBandwidth: random.pick([1e6, 1e7, 1e8]))
    hardware.latency = random.pick([1e-8, 1e-6])
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32,
      mode: random.pick([.train, .train, .forward]), optimizer: .adamw)
    (request.mayHaveSubMeshes, request.mayLeaveIdle) = (true, random.pick([false, true]))
    (request.layersMayDiffer, request.zero, request.recompute) = (
      false, random.pick([ZeROStage.none, .weights]), random.pick([Recompute.none, .full])
    )
    if seed % 2 == 0, request.mode == .train { request.schedule = .oneForwardOneBackward }
    var entries = try Enumeration(request).entries
    // The oracle's other schedules are no part of a search that fixes one.
    func counts(_ entry: Enumeration.Entry) -> Bool {
      request.schedule == nil || entry.decision.schedule.kind == request.schedule || entry.decision.groups == 1
    }
    for meshes in twoMeshes(request, layers: model.layers) { entries += try RunEnumeration(request, meshes).entries }
    entries = entries.filter(counts)
    #expect(entries.contains { !$0.decision.stageMeshes.isEmpty })
    let sizes = entries.map(\.memory).sorted()
    for limit in [Bytes(1e9), sizes[sizes.count / 3], sizes[sizes.count / 20], sizes[0], Bytes(sizes[0].value - 1)] {
      hardware.memory = limit.value
      request.cluster = try hardware.cluster()
      let best = entries.filter { $0.memory <= limit }.min { $0.objective < $1.objective }
      let plan = try Planner.search(request).plan
      #expect((plan == nil) == (best == nil), "limit \(limit)")
      guard let plan, let best else { continue }
      let found = plan.prediction.step.picoseconds
      #expect(found >= best.objective, "of \(entries.count): \(plan.decision.stageMeshes)")
      #expect(found - best.objective <= 2 * Outcome.tolerance(of: best.objective), "limit \(limit), of \(entries.count): \(best.decision)")
      #expect(plan.certificate.lowerBound.picoseconds <= best.objective)
    }
  }

  /// Each stage's mesh: one for the first stages, another for the rest.
  private func twoMeshes(_ request: SearchRequest, layers: Int) -> [[[Int]]] {
    let devices = request.cluster.deviceCount
    func shapes(_ size: Int) -> [[Int]] { [[size]] + (2..<max(2, size)).filter { size % $0 == 0 }.map { [$0, size / $0] } }
    var all: [[[Int]]] = []
    for stages in 2...max(2, min(4, layers)) {
      for first in 1..<stages {
        for a in 1...devices {
          for b in 1...devices {
            let used = first * a + (stages - first) * b
            guard request.mayLeaveIdle ? used <= devices : used == devices else { continue }
            for mesh in shapes(a) {
              for other in shapes(b) where other != mesh {
                all.append([[Int]](repeating: mesh, count: first) + [[Int]](repeating: other, count: stages - first))
              }
            }
          }
        }
      }
    }
    return all
  }

  @Test("a better pipeline than any of one mesh: 2 + 4 of 6 devices") func unequalStages() throws {
    // Three layers on two stages: one holds two of them and needs twice the devices.
    var model = TinyModel(block: .mlp, layers: 3, batch: 12)
    (model.hidden, model.inner) = (48, 48)
    let hardware = TinyHardware(devices: 6, devicesPerNode: 2, peak: 1e8, innerBandwidth: 1e9, outerBandwidth: 2e5)
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: 12, sequence: nil, precision: .fp32, mode: .train, optimizer: .sgd)
    (request.layersMayDiffer, request.microBatches) = (false, 6)
    request.pipelineDegree = 2
    let one = try #require(try Planner.search(request).plan)
    request.mayHaveSubMeshes = true
    let two = try #require(try Planner.search(request).plan)
    #expect(two.prediction.step < one.prediction.step)
    #expect(Set(two.decision.stageMeshes.map { $0.reduce(1, *) }) == [2, 4])
    #expect(two.certificate.status == .optimal)
  }

  @Test("a pin that only one of the meshes can follow leaves a plan where its operator is on that mesh", arguments: [0, 1])
  func pins(stage: Int) throws {
    let model = TinyModel(block: .linear, layers: 2, batch: 4, hasProjection: true)
    var request = SearchRequest(
      graph: try model.graph(), cluster: try TinyHardware(devices: 3).cluster(), batch: 4, sequence: nil, precision: .fp32, mode: .train,
      optimizer: .adamw)
    // Of two stages one has two devices, between which the head, or the embedding, can be split.
    request.constraints = [try StrategyConstraint(parsing: stage == 1 ? "head=column" : "embedding=vocab", isForbidden: false)]
    for meshes in [nil, [[1], [2]], [[2], [1]]] as [[[Int]]?] {
      (request.stageMeshes, request.mayHaveSubMeshes) = (meshes, meshes == nil)
      request.pipelineDegree = 2
      let plan = try Planner.search(request).plan
      #expect((plan == nil) == (meshes.map { $0[stage] == [1] } ?? false), "\(String(describing: meshes))")
      if let plan, meshes != nil { #expect(plan.decision.stageMeshes[stage] == [2]) }
    }
  }

  @Test("meshes that are all one are a mesh and a number of stages") func equalMeshes() throws {
    let hardware = TinyHardware(devices: 4)
    var request = SearchRequest(
      graph: try TinyModel(layers: 3).graph(), cluster: try hardware.cluster(), batch: 4, sequence: nil, precision: .fp32, mode: .train,
      optimizer: .adamw)
    request.stageMeshes = [[2], [2]]
    let given = try #require(try Planner.search(request).plan)
    (request.stageMeshes, request.mesh, request.pipelineDegree) = (nil, [2], 2)
    #expect(try #require(try Planner.search(request).plan).decision == given.decision)
    #expect(given.decision.stageMeshes.isEmpty)
  }

  @Test(
    "impossible meshes are refused, with what is wrong",
    arguments: [
      ([[2], [4]], "the stages have more than 4 together; there are 4"), ([[2], [1]], "the stages have 3 devices together; there are 4"),
      ([[5], [1]], "expected a mesh for each stage, of 1 to 6 extents of 1 to 4"),
      ([[1], [1], [1], [1]], "4 stages are more than the model's 3 layers"),
      ([], "expected a mesh for each stage"), ([[]], "expected a mesh for each stage"),
    ])
  func impossible(meshes: [[Int]], message: String) throws {
    var request = SearchRequest(
      graph: try TinyModel(layers: 3).graph(), cluster: try TinyHardware(devices: 4).cluster(), batch: 4, sequence: nil, precision: .fp32,
      mode: .train, optimizer: .adamw)
    request.stageMeshes = meshes
    do {
      _ = try Planner.search(request)
      Issue.record("it was planned")
    } catch PlannerError.usage(let text) {
      #expect(text.contains(message), "\(text)")
    }
  }

  @Test("so are choices beside them that contradict them") func contradictions() throws {
    let request = SearchRequest(
      graph: try TinyModel(layers: 3).graph(), cluster: try TinyHardware(devices: 4).cluster(), batch: 4, sequence: nil, precision: .fp32,
      mode: .train, optimizer: .adamw)
    let changes: [(String, (inout SearchRequest) -> Void)] = [
      ("names 2 stages and --pp 3", { $0.pipelineDegree = 3 }), ("--mesh is that of all stages", { $0.mesh = [2] }),
      ("have one chunk of the model each", { $0.chunks = 2 }), ("names 2 stages and --stages 3", { $0.stageLayers = [1, 1, 1] }),
      ("--recompute-layers makes the layers", { ($0.recompute, $0.recomputedLayers) = (.full, 1) }),
      ("--sub-meshes: --stage-meshes gives them", { $0.mayHaveSubMeshes = true }),
    ]
    for (message, change) in changes {
      var request = request
      request.stageMeshes = [[3], [1]]
      change(&request)
      do {
        _ = try Planner.search(request)
        Issue.record("it was planned: \(message)")
      } catch PlannerError.usage(let text) {
        #expect(text.contains(message), "\(text)")
      }
    }
  }
}
