// SPDX-License-Identifier: GPL-3.0-or-later
import CostModel
import Foundation
import Hardware
import ModelGraph
import Plans
import Quantities
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Batches that devices of two kinds share out unevenly.
struct SharesTests {
  /// Times of two kinds are as their peaks where nothing but products takes time.
  private func request(
    devices: Int, first: Int, perNode: Int = 1, share: Double, memoryShare: Double = 1, batch: Int, bandwidth: Double = 1e12
  ) throws -> SearchRequest {
    var model = TinyModel(block: .linear, layers: 1, batch: batch)
    (model.hidden, model.inner) = (16, 16)
    var hardware = TinyHardware(devices: devices, devicesPerNode: perNode, innerBandwidth: bandwidth, outerBandwidth: bandwidth, latency: 1e-12)
    (hardware.firstNodes, hardware.peak, hardware.peakShare, hardware.memoryBandwidth) = (first, 1e6, share, 1e12)
    hardware.memoryShare = memoryShare
    return SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: batch, sequence: nil, precision: .fp32, mode: .train, optimizer: .adamw)
  }

  @Test func sharesAreInProportionToTheRatesAndBesideThat() throws {
    func shares(_ request: SearchRequest, _ mesh: [Int], stages: Int = 1, microBatches: Int = 1) throws -> [[Int]] {
      try Space(request).shares(.init(stages: stages, mesh: mesh, microBatches: microBatches))
    }
    // One device is three times as fast as the other, but for what starts a kernel: of 12 samples a little less than 9.
    let two = try request(devices: 2, first: 1, share: 1.0 / 3, batch: 12)
    #expect(try shares(two, [2]) == [[7, 5], [8, 4], [9, 3], [10, 2]])
    #expect(try shares(two, [2], microBatches: 2) == [[4, 2], [5, 1]])
    // On two stages each has devices of one kind.
    #expect(try shares(two, [1], stages: 2) == [])
    // The faster ones last. x = 16 · 4 / 10 = 6.4 each; the rest is shared out evenly among the others.
    let four = try request(devices: 4, first: 2, share: 4, batch: 16)
    #expect(try shares(four, [4]) == [[3, 3, 5, 5], [2, 2, 6, 6], [1, 1, 7, 7]])
    // Of 16 samples for two rows of two: x = 12.8, and the multiples of 2 beside it.
    #expect(try shares(four, [2, 2]) == [[5, 11], [4, 12], [3, 13], [2, 14]])
    // A row waits for its slowest device: of both kinds it is no faster than one of the slower.
    #expect(try shares(request(devices: 4, first: 1, share: 0.5, batch: 12), [2, 2]) == [])
    #expect(try shares(request(devices: 4, first: 3, share: 0.5, batch: 12), [2, 2]) == [[7, 5], [8, 4], [9, 3]])
    #expect(try shares(request(devices: 2, first: 1, share: 1, batch: 12), [2]) == [])
  }

  /// Three times as fast, three times the samples: the step takes what one device of the faster kind takes for its nine of twelve.
  @Test func fasterDevicesHaveMoreSamples() throws {
    var request = try request(devices: 2, first: 1, share: 1.0 / 3, batch: 12)
    (request.mesh, request.pipelineDegree, request.microBatches) = ([2], 1, 1)
    request.constraints = [try StrategyConstraint(parsing: "*=data", isForbidden: false)]
    guard case .planned(let plan) = try Planner.search(request) else { return #expect(Bool(false)) }
    #expect(plan.decision.shares?.samples == [9, 3])
    #expect(plan.certificate.status == .optimal)
    request.shares = []
    guard case .planned(let even) = try Planner.search(request) else { return #expect(Bool(false)) }
    // 6 samples at a third of the rate take as long as 18 at the full one.
    #expect(abs(even.prediction.step.value / plan.prediction.step.value - 2) < 0.01)
    #expect(even.decision.shares == nil)
  }

  /// The fast device has little memory: it is given what fits.
  @Test func eachKindHasItsOwnLimit() throws {
    var request = try request(devices: 2, first: 1, share: 4, memoryShare: 0.5, batch: 20)
    (request.mesh, request.pipelineDegree, request.microBatches, request.recompute) = ([2], 1, 1, Recompute.none)
    request.constraints = [try StrategyConstraint(parsing: "*=data", isForbidden: false)]
    request.layersMayDiffer = false
    guard case .planned(let free) = try Planner.search(request) else { return #expect(Bool(false)) }
    #expect(free.decision.shares?.samples == [4, 16])
    for samples in [[5, 15], [3, 17]] {
      request.shares = samples
      guard case .planned(let given) = try Planner.search(request) else { return #expect(Bool(false)) }
      #expect(given.decision.shares?.samples == samples && given.prediction.step > free.prediction.step)
      #expect(given.certificate.space.contains { $0.name == "samples of a rank" && $0.values.hasPrefix("given: ") })
    }
  }

  /// An operator takes what it takes on the slower of two meshes of one kind, each with the samples that its ranks have.
  @Test(arguments: 0..<6) func anOperatorTakesAsLongAsOnItsSlowestKind(seed: Int) throws {
    var random = SeededGenerator(seed: seed)
    let (a, b) = (random.pick([3, 5, 8]), random.pick([1, 2, 6]))
    var request = try request(devices: 4, first: 2, share: random.pick([0.2, 0.5, 3]), batch: 2 * (a + b))
    request.mode = random.pick([.train, .forward])
    let space = try Space(request)
    let frame = Space.Frame(stages: 1, mesh: [4], microBatches: 1).sharing([a, a, b, b])
    let uneven = try space.pricing(frame, on: space.placed(stages: 1, mesh: [4]))
    let alone = try [(0, a), (1, b)].map { kind, samples in
      Pricing(
        model: .init(request.graph.sized(batch: 4 * samples, sequence: nil), request.mode), mesh: [4],
        rates: try DeviceRates(request.cluster.kinds[kind], .fp32), job: uneven.job, placements: uneven.placements)
    }
    for (op, rule) in uneven.rules.enumerated() {
      for strategy in Strategy.all(for: rule, mesh: [4]) where strategy.words(rule) == ["data"] {
        let costs = alone.map { $0.cost(op, strategy) }
        #expect(uneven.cost(op, strategy).forward == costs.map(\.forward).max())
        #expect(uneven.cost(op, strategy).backward == costs.map(\.backward).max())
        #expect(uneven.cost(op, strategy).transient == costs.map(\.transient).max())
        for (kind, cost) in zip(uneven.kinds, costs.sorted { $0.extras > $1.extras }) { #expect(kind.cost(op, strategy).extras == cost.extras) }
      }
    }
  }

  static let seeds = ProcessInfo.processInfo.environment["TPPLAN_SEEDS"].flatMap(Int.init) ?? 6

  /// The search finds the best of the shares, the splits and all around them, under each kind's own limit, and proves it.
  @Test(arguments: 0..<seeds) func searchFindsTheCheapestShares(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 600)
    var model = TinyModel(block: random.pick([.linear, .tanhAtEnd, .mlp]), layers: random.pick([1, 2]), batch: random.pick([4, 6, 8]))
    (model.hidden, model.inner, model.vocabulary) = (random.pick([4, 8]), random.pick([8, 16]), random.pick([4, 8, 40]))
    var hardware = TinyHardware(
      devices: random.pick([2, 3]), devicesPerNode: 1, innerBandwidth: 1e9, outerBandwidth: random.pick([1e8, 1e9, 1e10]),
      latency: random.pick([1e-8, 1e-6]))
    (hardware.firstNodes, hardware.peak) = (1, random.pick([1e6, 1e7]))
    (hardware.peakShare, hardware.memoryShare) = (random.pick([0.25, 0.5, 3]), random.pick([0.5, 0.75, 1]))
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32,
      mode: random.pick([.train, .train, .forward]), optimizer: random.pick([.adamw, .sgd]))
    (request.layersMayDiffer, request.mayLeaveIdle) = (seed % 3 == 0 && model.layers == 2, random.pick([false, true]))
    request.zero = random.pick([ZeROStage.none, .optimizer])
    request.recompute = request.layersMayDiffer ? nil : random.pick([Recompute.none, .full])
    request.microBatches = random.pick([1, 2])
    if request.layersMayDiffer { request.pipelineDegree = 1 }
    let all = try Enumeration(request)
    let samples = model.batch / request.microBatches!
    #expect(all.entries.contains { $0.decision.shares != nil } || samples < 4 || hardware.devices > 2)
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9)] + [3, 8, 20, 80].map({ sizes[sizes.count / $0] }) + [sizes[0], Bytes(sizes[0].value - 4)] {
      // Whole bytes, of which the other kind has a share in whole bytes too.
      try ExactnessTests().expectSame(request, hardware, all, limit: Bytes((limit.value / 4).rounded(.up) * 4))
    }
  }
}
