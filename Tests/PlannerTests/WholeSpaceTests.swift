// SPDX-License-Identifier: GPL-3.0-or-later
import Foundation
import Plans
import Quantities
import Strategies
import TestSupport
import Testing

@testable import Planner

/// Differential, with every dimension of the space at once: splits, ZeRO stages, recompute, layers of two kinds, pipeline degrees, meshes, uneven cuts,
/// micro-batches, all schedules with any number of chunks, idle devices and devices of two kinds. `make differential` runs more seeds.
extension ExactnessTests {
  /// So many, or from one to another: `1000`, `760-770`.
  static let seeds: Range<Int> = {
    let bounds = ProcessInfo.processInfo.environment["TPPLAN_SEEDS"]?.split(separator: "-").compactMap { Int($0) } ?? [6]
    return bounds.count == 2 ? bounds[0]..<bounds[1] + 1 : 0..<(bounds.first ?? 6)
  }()

  @Test(arguments: seeds) func searchFindsTheCheapestDecisionOfTheWholeSpace(seed: Int) throws {
    var random = SeededGenerator(seed: seed + 1000)
    var hardware = TinyHardware()
    // What is enumerated grows with the power of the operators: few of them, so that nothing need be fixed.
    let block = random.pick([TinyModel.Block.single, .single, .linear])
    hardware.devices = block == .single ? random.pick([2, 3, 3, 4]) : 2
    var model = TinyModel(block: block, layers: hardware.devices == 4 ? random.pick([1, 2]) : random.pick([1, 2, 3, 4]))
    if block == .linear { model.layers = min(model.layers, 3) }
    model.batch = random.pick(hardware.devices == 4 ? [2, 3] : [1, 2, 3, 4, 6])
    (model.hidden, model.inner, model.vocabulary) = (random.pick([4, 5, 8]), random.pick([4, 7, 16]), random.pick([4, 9, 40]))
    hardware.devicesPerNode = random.pick([1, 2, 4])
    hardware.peak = random.pick([1e7, 1e8, 1e9])
    hardware.innerBandwidth = random.pick([1e7, 1e8, 1e9])
    hardware.outerBandwidth = hardware.innerBandwidth * random.pick([0.1, 1])
    hardware.latency = random.pick([1e-8, 1e-6, 1e-5])
    if random.pick([false, false, true]), hardware.devices > hardware.devicesPerNode {
      (hardware.firstNodes, hardware.peakShare, hardware.memoryShare) = (1, random.pick([0.25, 0.5, 2]), random.pick([0.5, 0.75, 1]))
    }
    var request = SearchRequest(
      graph: try model.graph(), cluster: try hardware.cluster(), batch: model.batch, sequence: nil, precision: random.pick([.fp32, .bf16]),
      mode: random.pick([.train, .train, .train, .forward]), optimizer: random.pick([.adamw, .sgd]))
    request.mayLeaveIdle = true
    if random.pick([false, true]) {
      request.software.attention = random.pick(AttentionKernel.allCases)
      request.software.crossEntropy = random.pick(CrossEntropyKernel.allCases)
      request.software.gradients = random.pick(GradientStorage.allCases)
      request.software.boundaries = random.pick(BoundaryMessages.allCases)
      request.software.overlap = random.pick(Overlap.allCases)
      request.software.updates = random.pick(WeightUpdates.allCases)
      if request.mode == .train, random.pick([false, false, true]) { request.recompute = .elementwise }
    }
    let all = try Enumeration(request)
    let sizes = all.entries.map(\.memory).sorted()
    for limit in [Bytes(1e9)] + [3, 20, 100].map({ sizes[sizes.count / $0] }) + [sizes[0], Bytes(sizes[0].value - 1)] {
      try expectSame(request, hardware, all, limit: limit)
    }
  }
}
