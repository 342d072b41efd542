// SPDX-License-Identifier: GPL-3.0-or-later
import Quantities
import Search
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Properties: what can only help never makes the optimum worse.
@Suite struct MonotonicityTests {
  /// Nil where nothing fits.
  private func step(_ request: SearchRequest) throws -> Double? { try Planner.search(request).plan?.prediction.step.value }

  /// Each search is exact to 10^-6 of its objective, or a picosecond.
  private func expectNoWorse(_ after: Double?, than before: Double?, _ what: String) {
    guard let before else { return }
    guard let after else {
      Issue.record("\(what): \(before) became infeasible")
      return
    }
    #expect(after <= before * (1 + 2e-6) + 2e-12, "\(what)")
  }

  @Test(arguments: 0..<16) func moreMemoryIsNoWorse(seed: Int) throws {
    var hardware = TinyHardware()
    var request = try tinyRequest(seed: seed + 500, hardware: &hardware)
    let roomy = try #require(try Planner.search(request).plan)
    var last: Double?
    var kinds: Set<Double> = []
    for share in [0.3, 0.5, 0.7, 0.85, 1, 2] {
      hardware.memory = roomy.prediction.memory.value * share
      request.cluster = try hardware.cluster()
      let step = try step(request)
      expectNoWorse(step, than: last, "memory \(hardware.memory)")
      if let step { kinds.insert(step) }
      last = step ?? last
    }
    // With what the unlimited optimum needs, it is the optimum again.
    #expect(kinds.contains { abs($0 - roomy.prediction.step.value) <= 2e-6 * $0 })
  }

  /// Half of the seeds under a limit that binds.
  private func halfBound(seed: Int, _ series: Int) throws -> (request: SearchRequest, hardware: TinyHardware) {
    var hardware = TinyHardware()
    var request = try tinyRequest(seed: seed + series, hardware: &hardware)
    if seed % 2 == 1 {
      hardware.memory = try #require(try Planner.search(request).plan).prediction.memory.value * 0.7
      request.cluster = try hardware.cluster()
    }
    return (request, hardware)
  }

  @Test(arguments: 0..<16) func fasterHardwareIsNoWorse(seed: Int) throws {
    let (request, hardware) = try halfBound(seed: seed, 600)
    let before = try step(request)
    for (name, change) in [
      ("inner", \TinyHardware.innerBandwidth), ("outer", \.outerBandwidth), ("memory bandwidth", \.memoryBandwidth), ("peak", \.peak),
    ] as [(String, WritableKeyPath<TinyHardware, Double>)] {
      var faster = hardware
      faster[keyPath: change] *= 3
      var changed = request
      changed.cluster = try faster.cluster()
      expectNoWorse(try step(changed), than: before, name)
    }
  }

  @Test(arguments: 0..<16) func aWiderSpaceIsNoWorse(seed: Int) throws {
    var (request, _) = try halfBound(seed: seed, 700)
    request.constraints = [StrategyConstraint(pattern: "*", words: ["data"], isForbidden: true)]
    let widenings: [(String, (inout SearchRequest) -> Void)] = [
      ("no forbidden split", { $0.constraints = [] }), ("any micro-batches", { $0.microBatches = nil }), ("any ZeRO stage", { $0.zero = nil }),
      ("any recompute", { $0.recompute = nil }), ("layers of two kinds", { $0.layersMayDiffer = true }), ("any mesh", { $0.mesh = nil }),
    ]
    var last = try step(request)
    for (name, widen) in widenings {
      widen(&request)
      let next = try step(request)
      expectNoWorse(next, than: last, name)
      last = next ?? last
    }
  }
}
