// SPDX-License-Identifier: GPL-3.0-or-later
import Hardware
import Quantities
import Testing

@testable import Planner

/// Which numbers of devices a plan may use, and what that leads to.
@Suite struct DeviceCountsTests {
  private func counts(_ hardware: String, _ devices: Int) throws -> [Int] {
    DeviceCounts.useful(of: try Shipped.hardware(hardware).cluster(devices: devices))
  }

  @Test("Few devices: every number. Many: whole nodes, in numbers that can be cut in more ways than all larger ones, and powers of two")
  func usefulNumbers() throws {
    #expect(try counts("dgx-a100", 13) == Array(1...13))
    // 125 nodes are 5 · 5 · 5, 120 have four times the divisors, 108 no factor above 3.
    #expect(try counts("dgx-a100", 1000).filter { $0 > 512 } == [864, 960, 1000])
    // Of a power of two nothing is gained by leaving nodes idle, short of the next power.
    #expect(try counts("dgx-a100", 1024).filter { $0 > 128 } == [256, 512, 1024])
    #expect(try counts("dgx-a100", 56) == Array(1...16) + [24, 32, 40, 48, 56])
    // Not whole nodes: all devices, and whole nodes of them.
    #expect(try counts("dgx-a100", 20) == Array(1...16) + [20])
    // Up to where the second kind begins.
    #expect(try counts("mixed-a100-v100", 32).contains(16))
    // All cores are one node.
    #expect(try counts("local", 23) == Array(1...16) + [18, 20, 21, 22, 23])
  }

  @Test("A given number of stages, mesh, or both: multiples")
  func givenChoices() throws {
    var request = try Shipped.request("gpt2", on: Shipped.hardware("dgx-a100"), devices: 50, batch: 8, sequence: 64)
    #expect(DeviceCounts.possible(request) == [50])
    request.mayLeaveIdle = true
    request.pipelineDegree = 12
    #expect(DeviceCounts.possible(request) == [12, 24, 36, 48])
    request.mesh = [3]
    #expect(DeviceCounts.possible(request) == [36])
    request.pipelineDegree = nil
    #expect(DeviceCounts.possible(request) == (1...16).map { 3 * $0 })
    #expect(try Space(request).pipelineDegrees == Array(1...12))
    request.pipelineDegree = 12
    request.mesh = [5]
    #expect(throws: PlannerError.self) { try Space(request) }
  }

  /// Of two orders of the kinds the better one is found, and its plan is for the hardware in that order.
  @Test(arguments: [0.25, 4.0]) func eitherKindMayComeFirst(peakShare: Double) throws {
    var model = TinyModel(block: .single, layers: 4, batch: 4)
    (model.hidden, model.vocabulary, model.hasProjection) = (8, 64, true)
    var hardware = TinyHardware(devices: 3, devicesPerNode: 1, peak: 1e7)
    (hardware.firstNodes, hardware.peakShare) = (1, peakShare)
    let file = try #require(try hardware.file().reversed(devices: 3))
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: .fp32, mode: .train, optimizer: .adamw)
    (request.mayLeaveIdle, request.layersMayDiffer) = (true, false)
    let given = try #require(try Planner.search(request).plan)
    let turned = try file.cluster(devices: 3)
    #expect(turned.kindOfDevice == request.cluster.kindOfDevice.reversed())
    var other = request
    other.cluster = turned
    let contrary = try #require(try Planner.search(other).plan)
    #expect(given.prediction.step != contrary.prediction.step)
    request.reversed = turned
    let both = try #require(try Planner.search(request).plan)
    #expect(both.prediction.step == min(given.prediction.step, contrary.prediction.step) && both.certificate.status == .optimal)
    #expect(both.isReversed == (contrary.prediction.step < given.prediction.step))
    #expect(
      try Planner.predict(both.decision, on: (both.isReversed ? turned : request.cluster).taking(devices: both.decision.ranks)) == both.prediction)
  }

  /// Seven devices cannot share twelve heads and twelve layers as six can.
  @Test func oneOfSevenDevicesStaysIdle() throws {
    var request = try Shipped.request("gpt2", on: Shipped.hardware("dgx-a100"), devices: 7, batch: 8, sequence: 256)
    request.layersMayDiffer = false
    let full = try #require(try Planner.search(request).plan)
    request.mayLeaveIdle = true
    let best = try #require(try Planner.search(request).plan)
    #expect(full.decision.ranks == 7 && best.decision.ranks == 6)
    #expect(best.prediction.step < full.prediction.step && best.certificate.status == .optimal)
    var six = try Shipped.request("gpt2", on: Shipped.hardware("dgx-a100"), devices: 6, batch: 8, sequence: 256)
    six.layersMayDiffer = false
    #expect(try Planner.search(six).plan?.prediction.step == best.prediction.step)
  }
}
