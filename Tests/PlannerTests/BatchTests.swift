// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities
import Strategies
import TestSupport
import Testing

@testable import Planner

/// The batch with the most samples per second.
@Suite struct BatchTests {
  private func request(_ model: TinyModel, _ hardware: TinyHardware, change: (inout SearchRequest) -> Void = { _ in }) throws -> SearchRequest {
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32, mode: .train,
      optimizer: .adamw)
    (request.zero, request.recompute, request.layersMayDiffer) = (ZeROStage.none, Recompute.none, false)
    change(&request)
    return request
  }

  @Test func theSetIsPowersOfTwoTimesOddDivisors() throws {
    var request = try request(TinyModel(batch: 12), TinyHardware())
    #expect(try BatchSet(request).batches(1...13) == [1, 2, 3, 4, 6, 8, 12])
    #expect(try BatchSet(request).start(usual: 12) == 12)
    (request.microBatches, request.microBatchSize) = (2, 3)
    #expect(try BatchSet(request).batches(1...40) == [6, 12, 18, 24, 36])
    #expect(try BatchSet(request).start(usual: 4) == 6)
    (request.batch, request.microBatches, request.microBatchSize) = (45, nil, nil)
    #expect(try BatchSet(request).batches(16...64) == [16, 18, 20, 24, 30, 32, 36, 40, 45, 48, 60, 64])
    request.microBatches = .max / 2
    #expect(throws: PlannerError.self) { try Planner.searchBatches(request) }
  }

  @Test("Differential: searched one by one, no batch that was compared is better, nor is the next octave by more than its share", arguments: 0..<8)
  func mostSamplesPerSecond(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 300)
    var model = TinyModel(block: random.pick([.linear, .mlp, .single]), layers: random.pick([1, 2]), batch: random.pick([1, 3, 6, 8]))
    model.hidden = random.pick([4, 8])
    var hardware = TinyHardware(devices: random.pick([1, 2, 4]), innerBandwidth: random.pick([1e7, 1e9]))
    hardware.memory = random.pick([3e3, 1e4, 1e5])
    let request = try request(model, hardware) { $0.microBatches = random.pick([nil, 1, 2]) }
    let found = try Planner.searchBatches(request)
    func rate(_ batch: Int) throws -> Double? {
      var one = request
      one.batch = batch
      return try Planner.search(one).plan.map { Double(batch) / $0.prediction.step.value }
    }
    let rates = try found.compared.map(rate)
    guard let plan = found.outcome.plan else {
      #expect(rates.allSatisfy { $0 == nil } && found.batch == found.compared[0])
      return
    }
    #expect(plan.decision.job.batch == found.batch && plan.certificate.status == .optimal)
    let best = Double(found.batch) / plan.prediction.step.value
    // Each search is exact to 10^-6.
    #expect(best >= rates.compactMap { $0 }.max()! * (1 - 2e-6))
    #expect(try #require(try rate(found.batch)) <= best * (1 + 2e-6))
    #expect(plan.certificate.lowerBound <= plan.prediction.step)
    // The smallest batch's bound is exact to a picosecond, which its rate multiplies.
    let tick = 2e-12 * Double(found.batch) / Double(found.compared[0])
    #expect(plan.certificate.lowerBound.value >= plan.prediction.step.value * (1 - 2e-6) - tick)
    for batch in try BatchSet(request).batches(found.compared.last! + 1...2 * found.compared.last!) {
      #expect(try rate(batch).map { $0 <= best * 1.01 } ?? true, "\(batch) of \(found.compared)")
    }
  }

  /// With the number of micro-batches given, activations bind; the largest batch that fits shares out what is done once per step the most.
  @Test func memoryEndsTheSetWhereMicroBatchesCannot() throws {
    var hardware = TinyHardware(devices: 2)
    hardware.memory = 2e4
    let request = try request(TinyModel(layers: 2), hardware) { $0.microBatches = 1 }
    let found = try Planner.searchBatches(request)
    let plan = try #require(found.outcome.plan)
    var larger = request
    larger.batch = 2 * found.batch
    #expect(try Planner.search(larger).plan == nil)
    #expect(found.compared.contains(larger.batch) && found.compared.first == 1)
    #expect(plan.certificate.space.last?.name == "batches")
    // Twice the memory, a larger batch.
    hardware.memory *= 2
    larger.cluster = try hardware.cluster()
    #expect(try Planner.searchBatches(larger).batch > found.batch)
  }

  @Test func whereNoBatchFitsTheSmallestSaysByHowMuch() throws {
    var hardware = TinyHardware(devices: 2)
    hardware.memory = 100
    let found = try Planner.searchBatches(try request(TinyModel(layers: 2, batch: 8), hardware))
    guard case .infeasible(let why) = found.outcome else {
      Issue.record("100 bytes are enough")
      return
    }
    #expect(found.batch == 1 && why.memory?.limit == Bytes(100))
  }

  @Test func withoutTimeThereIsNoProof() throws {
    let found = try Planner.searchBatches(try request(TinyModel(layers: 4), TinyHardware()) { $0.timeLimit = 0 })
    switch found.outcome {
    case .timeLimit: break
    case .planned(let plan): #expect(plan.certificate.status == .timeLimit)
    case .infeasible: Issue.record("there is a plan")
    }
    #expect(found.compared == [4])
  }
}
